# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for secrets where they must not be.

A place is a function that yields (where, bytes); `scan` looks through what it yields for each secret in each of ENCODINGS.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

Place = Iterable[tuple[str, bytes]]

# How each encoding writes a text that has the secret in it.
ENCODINGS = {
    "raw": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, second alignment": lambda text: base64.b64encode(f"1{text}".encode()).decode(),
    "base64, third alignment": lambda text: base64.b64encode(f"12{text}".encode()).decode(),
    "URL-safe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "URL-encoded": lambda text: quote(text, safe=""),
    "every byte URL-encoded": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "hex": lambda text: text.encode().hex(),
}
# Faster on large files than urllib.parse.unquote_to_bytes.
ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


class Hit(NamedTuple):
    """Where which secret was found."""

    where: str
    secret: str


def scan(place: Place, secrets: dict[str, str]) -> set[Hit]:
    """Look through a place for secrets, given by name.

    Raises:
        AssertionError: the place has no bytes at all, which would prove nothing.
    """
    literals = [(name, literal) for name, secret in secrets.items() for literal in _literals(secret.encode())]
    hits, size = set(), 0
    for where, data in place:
        size += len(data)
        versions = data, ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), data)
        hits |= {Hit(where, name) for name, literal in literals if any(literal in version for version in versions)}
    assert size, "there was nothing to look through"
    return hits


def _literals(secret: bytes) -> set[bytes]:
    """What any longer text has in it that has the secret in it, as it is or in hex or base64."""
    literals = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        # Less the characters that also hold bits of what stands before or after.
        text = base64.b64encode(bytes(before) + secret)[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        literals |= {text, text.translate(bytes.maketrans(b"+/", b"-_"))}
    return literals


def files(*directories: Path) -> Iterator[tuple[str, bytes]]:
    """Names and content of all that is below directories of this machine."""
    for directory in directories:
        for path in directory.rglob("*"):
            yield str(path), path.name.encode() + (b"\n" + path.read_bytes() if path.is_file() else b"")


def process_tree(pid: int) -> Iterator[tuple[str, bytes]]:
    """The command lines of a process of this machine and of all its descendants, as they are now."""
    process = Path(f"/proc/{pid}")
    with suppress(FileNotFoundError, ProcessLookupError):  # it ended
        yield str(process), (process / "cmdline").read_bytes()
        for child in (process / f"task/{pid}/children").read_text().split():
            yield from process_tree(int(child))


class Cluster:
    """The places in a kind cluster, of one namespace where a place has these.

    Args:
        environment: of a shell that has kubectl, and docker with the nodes.
    """

    def __init__(self, environment: dict[str, str], namespace: str):
        self._environment, self._namespace = environment, namespace
        self.nodes = self.kubectl("get", "nodes", "-o", "name").replace("node/", "").split()

    def kubectl(self, *arguments: str) -> str:
        """What kubectl prints."""
        return subprocess.run(["kubectl", *arguments], env=self._environment, check=True, capture_output=True, text=True).stdout

    def on_node(self, node: str, script: str) -> bytes:
        """What a shell script prints on a node; its exit status does not count, as files and processes go while they are read."""
        return subprocess.run(["docker", "exec", node, "sh", "-c", script], env=self._environment, capture_output=True).stdout

    def processes(self, file: str) -> Iterator[tuple[str, bytes]]:
        """/proc/*/cmdline or /proc/*/environ of all containers, a process each; where is the host name that the process was given."""
        for node in self.nodes:
            read = defaultdict(dict)
            for line in self.on_node(node, 'grep -azH "" /proc/[0-9]*/cmdline /proc/[0-9]*/environ').split(b"\0"):
                path, _colon, text = line.decode(errors="replace").partition(":")
                read[path.rpartition("/")[0]].setdefault(path.rpartition("/")[2], []).append(text)
            for process, texts in read.items():
                host = [text.removeprefix("HOSTNAME=") for text in texts.get("environ", ()) if text.startswith("HOSTNAME=")]
                yield (host or [node + process])[0], "\0".join(texts.get(file, ())).encode()

    def container_logs(self) -> Iterator[tuple[str, bytes]]:
        """The logs of the namespace's and the monitoring's containers, those of earlier starts included."""
        return self._node_files(f"/var/log/pods/{self._namespace}_*", "/var/log/pods/monitoring_*")

    def journals(self) -> Iterator[tuple[str, bytes]]:
        """The nodes' journals, in which kubelet and containerd write."""
        return ((node, self.on_node(node, "journalctl --no-pager -o cat")) for node in self.nodes)

    def volumes(self) -> Iterator[tuple[str, bytes]]:
        """The files on the namespace's persistent volumes, and those mounted into its pods from elsewhere."""
        claimed = [
            (item["spec"].get("hostPath") or item["spec"]["local"])["path"]
            for item in json.loads(self.kubectl("get", "pv", "-o", "json"))["items"]
            if item["spec"].get("claimRef", {}).get("namespace") == self._namespace
        ]
        pods = json.loads(self.kubectl("get", "pods", "-n", self._namespace, "-o", "json"))["items"]
        return self._node_files(*claimed, *(f"/var/lib/kubelet/pods/{pod['metadata']['uid']}/volumes" for pod in pods))

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """All objects of the namespace, of every kind: pods, Secrets and events too; where is kind/name."""
        kinds = self.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
        listed = self.kubectl("get", ",".join(kinds), "-n", self._namespace, "-o", "json", "--show-managed-fields")
        for item in json.loads(listed)["items"]:
            yield f"{item['kind']}/{item['metadata']['name']}", json.dumps(item).encode()

    def etcd(self) -> Iterator[tuple[str, bytes]]:
        """All that etcd holds, as it holds it; where is the key."""
        (node,) = self.kubectl("get", "nodes", "-l", "node-role.kubernetes.io/control-plane", "-o", "name").split()
        everything = json.dumps({"key": "AA==", "range_end": "AA=="})
        login = "--cacert ca.crt --cert server.crt --key server.key"
        script = f"cd /etc/kubernetes/pki/etcd && curl -sf {login} https://127.0.0.1:2379/v3/kv/range -d '{everything}'"
        for entry in json.loads(self.on_node(node.removeprefix("node/"), script))["kvs"]:
            yield base64.b64decode(entry["key"]).decode(), base64.b64decode(entry["value"])

    def _node_files(self, *patterns: str) -> Iterator[tuple[str, bytes]]:
        for node in self.nodes:
            command = ["docker", "exec", node, "sh", "-c", f"ls -d {' '.join(patterns)} | tar -cP -T -"]
            with (
                subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
                tarfile.open(fileobj=process.stdout, mode="r|") as archive,
            ):
                for member in archive:
                    if member.isfile():
                        yield node + member.name, archive.extractfile(member).read()
