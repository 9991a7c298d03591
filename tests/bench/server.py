# SPDX-License-Identifier: GPL-3.0-or-later
"""A real etcd and API server without any controller: threads only say that Jobs are complete and Deployments observed.

So nothing runs, no volume is bound and no pod is made: what is measured is the way from an inventory to the API server.
"""
from __future__ import annotations

import datetime
import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import path_of
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import MERGE_PATCH, Kube, KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from tests.sandbox.progress import fail

ADDRESS = "127.0.0.1"
# Only what the contestants ask is written down, not the threads of this file.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": ["contestant"]}, {"level": "None"}],
}
READS = {"get", "list", "watch"}


class Counts(NamedTuple):
    """Requests to the API server, and how many of them could write (dry runs cannot)."""

    requests: int
    writes: int


class Server:
    """The API server while the context lasts.

    Args:
        work: a directory for its state, which does not exist yet.
        kubernetes: the multi-call binary with etcd and kube-apiserver.

    Attributes:
        kubeconfig: full rights; what uses it is counted.
        kube: full rights, not counted.
    """

    def __init__(self, work: Path, kubernetes: Path):
        work.mkdir()
        self.work = work
        self.kubernetes = kubernetes
        self.kubeconfig = work / "contestant.kubeconfig"
        self._stack = ExitStack()

    def __enter__(self) -> Server:
        with ExitStack() as stack:
            etcd, peer, port = (_free_port() for _ in range(3))
            self.port = port
            _certificates(self.work)
            for user in ("contestant", "controllers"):
                self._write_kubeconfig(user)
            self._start(stack, "etcd", f"--data-dir={self.work}/etcd", *(
                f"--{kind}-urls=http://{ADDRESS}:{number}" for kind, number in (
                    ("listen-client", etcd), ("advertise-client", etcd),
                    ("listen-peer", peer), ("initial-advertise-peer", peer))
            ), f"--initial-cluster=default=http://{ADDRESS}:{peer}")
            (self.work / "audit.yaml").write_text(json.dumps(AUDIT_POLICY))
            self.audit = self.work / "audit.log"
            server = self._start(
                stack, "kube-apiserver", f"--etcd-servers=http://{ADDRESS}:{etcd}", f"--bind-address={ADDRESS}",
                f"--secure-port={port}", "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
                f"--client-ca-file={self.work}/ca.crt", f"--tls-cert-file={self.work}/server.crt",
                f"--tls-private-key-file={self.work}/server.key", "--service-account-issuer=https://bench",
                f"--service-account-key-file={self.work}/server.key",
                f"--service-account-signing-key-file={self.work}/server.key",
                f"--audit-policy-file={self.work}/audit.yaml", f"--audit-log-path={self.audit}")
            self.kube = Kube(str(self.work / "controllers.kubeconfig"))
            self._await_ready(server)
            for kind in ("Job", "Deployment"):
                threading.Thread(target=self._control, args=(kind,), daemon=True).start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def position(self) -> int:
        """Where the record of requests ends now; for `counts`."""
        time.sleep(0.1)  # a request is written down just after its answer
        return self.audit.stat().st_size if self.audit.exists() else 0

    def counts(self, since: int) -> Counts:
        """What the contestants asked since `position` said `since`."""
        self.position()
        with self.audit.open("rb") as file:
            file.seek(since)
            events = [json.loads(line) for line in file]
        writes = sum(event["verb"] not in READS and "dryRun=All" not in event["requestURI"] for event in events)
        return Counts(len(events), writes)

    def _write_kubeconfig(self, user: str) -> None:
        named = {
            "cluster": {"server": f"https://{ADDRESS}:{self.port}", "certificate-authority": f"{self.work}/ca.crt"},
            "user": {"client-certificate": f"{self.work}/{user}.crt", "client-key": f"{self.work}/{user}.key"},
            "context": {"cluster": "bench", "user": "bench"},
        }
        config = {f"{kind}s": [{"name": "bench", kind: entry}] for kind, entry in named.items()}
        (self.work / f"{user}.kubeconfig").write_text(
            yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "bench", **config}))

    def _start(self, stack: ExitStack, program: str, *arguments: str) -> subprocess.Popen:
        with (self.work / f"{program}.log").open("wb") as log:
            process = subprocess.Popen([self.kubernetes, program, *arguments], stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log, start_new_session=True)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        return process

    def _await_ready(self, server: subprocess.Popen) -> None:
        for _ in range(300):
            try:
                if self.kube.text("/readyz") == "ok":
                    return
            except KubeError:
                if server.poll() is not None:
                    break
                time.sleep(0.2)
        fail("The API server is not ready", self.work / "kube-apiserver.log")

    def _control(self, kind: str) -> None:
        """Write the status that controllers would, for the kinds that the collection waits for."""
        kube = Kube(str(self.work / "controllers.kubeconfig"))
        for live in self._watch(BY_NAME[kind].path()):
            if status := _complete(live) if kind == "Job" else _observed(live):
                kube.request("PATCH", path_of({"kind": kind, **live}) + "/status", {"status": status}, None, MERGE_PATCH)

    def _watch(self, path: str) -> Iterator[dict]:
        """Every state of every object of a kind in the collection's namespaces, until the API server ends."""
        context = ssl.create_default_context(cafile=str(self.work / "ca.crt"))
        context.load_cert_chain(self.work / "controllers.crt", self.work / "controllers.key")
        while True:
            connection = http.client.HTTPSConnection(ADDRESS, self.port, context=context)
            try:
                connection.request("GET", f"{path}?watch=true")
                for line in connection.getresponse():
                    live = json.loads(line)["object"]
                    if live["metadata"].get("namespace", "").startswith("llm-"):
                        yield live
            except (OSError, http.client.HTTPException):
                return


def _complete(job: dict) -> dict | None:
    if job.get("status", {}).get("completionTime"):
        return None
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    return {"startTime": now, "completionTime": now, "succeeded": 1,
            "conditions": [{"type": type_, **entry} for type_ in ("SuccessCriteriaMet", "Complete")]}


def _observed(deployment: dict) -> dict | None:
    generation = deployment["metadata"]["generation"]
    return None if deployment.get("status", {}).get("observedGeneration") == generation else {"observedGeneration": generation}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def _certificates(work: Path) -> None:
    """Write NAME.crt and NAME.key of a CA, the server, and the two users, who are masters."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = None
    masters = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters")
    now = datetime.datetime.now(datetime.UTC)
    for name in ("ca", "server", "contestant", "controllers"):
        key = authority_key if name == "ca" else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([masters, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(authority.subject if authority else subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(ADDRESS))]), critical=False)
        )
        if name == "ca":
            usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                                   "encipher_only", "decipher_only"), False)
            builder = builder.add_extension(
                x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True)
        certificate = builder.sign(authority_key, hashes.SHA256())
        authority = authority or certificate
        (work / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (work / f"{name}.key").write_bytes(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
