# SPDX-License-Identifier: GPL-3.0-or-later
"""Chromium, driven by its own protocol (DevTools) over a pair of pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

# Seconds within which Chromium must answer.
PATIENCE = 15


class Tab:
    """A page in a Chromium of its own.

    Attributes:
        events: what Chromium has told unasked, as it came.
    """

    def __init__(self, profile: Path):
        # Chromium reads requests from file descriptor 3 and writes answers to 4: both ends are kept clear of these.
        there, self._requests = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        self._answers, back = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        self._process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={profile}"],
            preexec_fn=lambda: (os.dup2(there, 3), os.dup2(back, 4)),
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self.events: list[dict] = []
        self._messages: deque[bytes] = deque()
        self._rest, self._number, self._session = b"", 0, {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._session = {}
        self.call("Browser.close")
        self._process.wait(PATIENCE)
        os.close(self._requests)
        os.close(self._answers)

    def call(self, method: str, **parameters) -> dict:
        """What Chromium answers; a RuntimeError where it refuses."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters, **self._session}
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        while (message := self._read()).get("id") != self._number:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def open(self, url: str) -> None:
        """Open the page, and wait until it is complete."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _read(self) -> dict:
        end = time.monotonic() + PATIENCE
        while not self._messages:
            if not select.select([self._answers], [], [], max(0, end - time.monotonic()))[0]:
                self._process.kill()
                raise TimeoutError("Chromium does not answer.")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise RuntimeError(f"Chromium ended with status {self._process.wait()}.")
            *complete, self._rest = (self._rest + data).split(b"\0")
            self._messages.extend(complete)
        return json.loads(self._messages.popleft())


@pytest.fixture(scope="session")
def tab(tmp_path_factory):
    tab = Tab(tmp_path_factory.mktemp("chromium"))
    yield tab
    tab.close()
