# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of a Kubernetes cluster, signed by its own authority."""
from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SLACK = timedelta(minutes=1)  # clocks may differ


class Authority:
    """A cluster's certificate authority: that of the files ca.crt and ca.key, or where they are not, one of its own."""

    def __init__(self, folder: Path | None):
        if folder and (folder / "ca.key").exists():
            self.certificate = (folder / "ca.crt").read_bytes()
            self._key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
            lasting = _certificate(name, timedelta(days=3650), self._key.public_key(), name).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True)
            self.certificate = lasting.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def issue(self, user: str, groups: list[str], ttl: int) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) of a client that is `user` in `groups` for `ttl` seconds."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user),
                             *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups)])
        issuer = x509.load_pem_x509_certificate(self.certificate).subject
        certificate = _certificate(subject, timedelta(seconds=ttl), key.public_key(), issuer).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False).sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def kubeconfig(self, cluster: str, server: str, user: str, groups: list[str], ttl: int) -> str:
        """A kubeconfig (YAML) for one user."""
        certificate, key = self.issue(user, groups, ttl)
        return yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": cluster,
            "clusters": [{"name": cluster, "cluster": {
                "certificate-authority-data": _base64(self.certificate), "server": server}}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
            "users": [{"name": user, "user": {
                "client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}}],
        })


def _certificate(subject: x509.Name, lifetime: timedelta, key: ec.EllipticCurvePublicKey,
                 issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), now - SLACK, now + lifetime)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
