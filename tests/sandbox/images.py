# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images from layer tars: OCI archives for containerd, a `docker load` stream for the node image."""
from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

OCI = "application/vnd.oci.image"


@dataclass(frozen=True)
class Image:
    """An image: full name, names of its layers from the bottom up, and OCI config fields (Entrypoint, User, ...)."""
    name: str
    layers: tuple[str, ...]
    config: dict


def pack(root: Path, out: Path, exclude: Iterable[str]) -> None:
    """Write the tree `root` as a reproducible layer: sorted, times zero; the paths in `exclude` are left empty."""
    dropped = tuple(path.rstrip("/") + "/" for path in exclude)

    def clean(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        info.mtime = 0
        return None if info.name.startswith(dropped) else info

    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(os.listdir(root)):
            archive.add(root / name, arcname=name, filter=clean)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _config(image: Image, digests: list[str]) -> bytes:
    settings = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **image.config}
    return json.dumps({"architecture": "amd64", "os": "linux", "config": settings,
                       "rootfs": {"type": "layers", "diff_ids": [f"sha256:{d}" for d in digests]}}).encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    if isinstance(data, bytes):
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    else:
        info.size = data.stat().st_size
        with data.open("rb") as file:
            archive.addfile(info, file)


def oci_archive(out: Path, images: Iterable[Image], layers: dict[str, Path]) -> None:
    """Write one OCI archive with all `images`; a layer that several of them share is stored once."""
    images = list(images)
    digests = {name: _sha256(layers[name]) for name in {n for image in images for n in image.layers}}
    blobs: dict[str, bytes | Path] = {digests[name]: layers[name] for name in digests}

    def blob(kind: str, data: bytes | Path) -> dict:
        digest = _sha256(data) if isinstance(data, Path) else hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    manifests = []
    for image in images:
        content = [{"mediaType": f"{OCI}.layer.v1.tar", "digest": f"sha256:{digests[n]}",
                    "size": layers[n].stat().st_size} for n in image.layers]
        config = blob("config.v1+json", _config(image, [digests[n] for n in image.layers]))
        manifest = blob("manifest.v1+json", json.dumps({
            "schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": config, "layers": content}).encode())
        manifests.append({**manifest, "annotations": {"io.containerd.image.name": image.name,
                                                      "org.opencontainers.image.ref.name": image.name}})
    with tarfile.open(out, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())
        for digest, data in blobs.items():
            _add(archive, f"blobs/sha256/{digest}", data)


def docker_archive(stream: BinaryIO, image: Image, layers: dict[str, Path]) -> None:
    """Write `image` to `stream` in the format of `docker save`."""
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add(archive, "config.json", _config(image, [_sha256(layers[n]) for n in image.layers]))
        for name in image.layers:
            _add(archive, f"{name}.tar", layers[name])
        _add(archive, "manifest.json", json.dumps([{
            "Config": "config.json", "RepoTags": [image.name], "Layers": [f"{n}.tar" for n in image.layers]}]).encode())
