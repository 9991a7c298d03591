# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests share: the hub stand-in with small repositories of real bytes."""

from __future__ import annotations

import threading

import pytest

# The hub's repositories: a public one, a gated one and a private one, as tests/sandbox/hub.py tells them by name.
GGUF, GATED, PRIVATE = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct", "alice/private-model"
FILES = {
    f"{GGUF}/README.md": b"# chat\n",
    f"{GGUF}/chat-Q4_K_M.gguf": b"GGUF" + bytes(range(256)) * 4000,
    f"{GGUF}/chat-Q8_0-00001-of-00002.gguf": b"GGUF" + b"\1" * 3000,
    f"{GGUF}/chat-Q8_0-00002-of-00002.gguf": b"GGUF" + b"\2" * 2000,
    f"{GGUF}/F16/chat-f16.gguf": b"GGUF" + b"\3" * 9000,
    f"{GATED}/config.json": b'{"model_type": "llama"}\n',
    f"{GATED}/model.safetensors": b"\4" * 5000,
    f"{GATED}/original/consolidated.00.pth": b"\5" * 5000,
    f"{PRIVATE}/model.safetensors": b"\6" * 10,
}


@pytest.fixture
def hub_server(hub_module, tmp_path, monkeypatch):
    """A running hub stand-in; nothing of the machine's own hub settings is seen."""
    for name, content in FILES.items():
        place = tmp_path / "hub" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    server = hub_module.Hub(("127.0.0.1", 0), tmp_path / "hub")
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
