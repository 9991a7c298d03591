# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small Kubernetes API client on the standard library.

The official client costs 0.7 s to import, as much as a whole no-op run may take for one deployment; this one costs a
few milliseconds and keeps one TLS connection open. Users with an ``exec`` or ``auth-provider`` entry in their
kubeconfig are handed to the official client's loader, which knows those.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from ..errors import UserError, library

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
# The official client's files are those of the whole process.
_official = threading.Lock()


class KubeError(UserError):
    """A request or kubeconfig that failed, as a sentence.

    Attributes:
        status: HTTP status, or None when no answer came.
        reason: Kubernetes' own reason, for example ``NotFound``; empty without an answer.
        details: the ``details`` of Kubernetes' Status object; empty without an answer.
    """

    def __init__(self, message: str, status: int | None = None, reason: str = "", details: dict | None = None):
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.details = details or {}


class Kube:
    """One cluster as one user sees it.

    Args:
        kubeconfig: path of the kubeconfig file; ``~`` is expanded.
        context: name of a context in it; the current one by default.

    Raises:
        KubeError: the file, its context or its credentials cannot be used.
    """

    def __init__(self, kubeconfig: str, context: str | None = None):
        self.kubeconfig = os.path.expanduser(kubeconfig)
        self.context, cluster, self._user = _read(self.kubeconfig, context)
        self.server = cluster["server"].rstrip("/")
        self._cluster = cluster
        self._connection: http.client.HTTPConnection | None = None
        self._headers: dict[str, str] = {}

    def request(
        self,
        method: str,
        path: str,
        body: dict | None = None,
        query: dict | None = None,
        content_type: str = "application/json",
        timeout: float = 30,
    ) -> dict:
        """Send one request and return the decoded JSON answer.

        Raises:
            KubeError: with the status and the API server's own message, or without a status if none answered.
        """
        if query:
            path = f"{path}?{urllib.parse.urlencode(query)}"
        payload = None if body is None else json.dumps(body).encode()
        status, text = self._send(method, path, payload, content_type, timeout)
        if status < 300:
            return json.loads(text)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = {"message": text.decode(errors="replace").strip()[:500]}
        if status == 401:
            raise KubeError(self._refused(), status, "Unauthorized")
        raise KubeError(
            answer.get("message") or f"HTTP {status}", status, answer.get("reason", ""), answer.get("details")
        )

    def text(self, path: str, query: dict | None = None, timeout: float = 30) -> str:
        """Return a plain text answer, such as a pod's log."""
        if query:
            path = f"{path}?{urllib.parse.urlencode(query)}"
        status, text = self._send("GET", path, None, "", timeout)
        if status >= 300:
            raise KubeError(text.decode(errors="replace").strip()[:500], status)
        return text.decode(errors="replace")

    def certificate_expiry(self) -> datetime | None:
        """When the client certificate expires (UTC), or None where another kind of credential is used."""
        pem = _material(self._user, "client-certificate", self.kubeconfig)
        if not pem:
            return None
        return library("cryptography.x509").load_pem_x509_certificate(pem).not_valid_after_utc

    def check_expiry(self) -> None:
        """Raise a sentence if the kubeconfig's certificate has expired, before any request is spent on it."""
        expiry = self.certificate_expiry()
        if expiry and expiry < datetime.now(UTC):
            raise KubeError(self._refused())

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, payload: bytes | None, content_type: str, timeout: float) -> tuple[int, bytes]:
        # A kept connection may have been closed by the server; only what can be repeated safely is sent twice.
        for fresh in (self._connection is None, True):
            try:
                if self._connection is None:
                    self._connection = self._connect(timeout)
                elif self._connection.sock:
                    self._connection.sock.settimeout(timeout)
                headers = {"Accept": "application/json", **self._headers}
                if payload is not None:
                    headers["Content-Type"] = content_type
                self._connection.request(method, path, payload, headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if fresh or method in ("POST", "DELETE"):
                    raise KubeError(
                        f"The cluster at {self.server} does not answer ({error or type(error).__name__}). Is it running, and "
                        f"is the server in {self.kubeconfig} the right one?"
                    ) from None
        raise AssertionError("unreachable: the second round returns or raises")

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        url = urllib.parse.urlsplit(self.server)
        if url.path:
            raise KubeError(f"The server {self.server} in {self.kubeconfig} has a path, which is not supported.")
        if url.scheme == "http":
            return http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif authority := _material(self._cluster, "certificate-authority", self.kubeconfig):
            context.load_verify_locations(cadata=authority.decode())
        else:
            context.load_default_certs()
        self._headers = self._authenticate(context)
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=timeout, context=context)

    def _authenticate(self, context: ssl.SSLContext) -> dict[str, str]:
        """Load the client certificate into the TLS context, or return the header that a token needs."""
        user = self._user
        if "exec" in user or "auth-provider" in user:
            return _borrowed_login(self.kubeconfig, self.context, context)
        certificate = _material(user, "client-certificate", self.kubeconfig)
        key = _material(user, "client-key", self.kubeconfig)
        if certificate and key:
            _load_pair(context, certificate, key)
            return {}
        token = user.get("token")
        if not token and user.get("tokenFile"):
            with open(_beside(self.kubeconfig, user["tokenFile"]), encoding="utf-8") as file:
                token = file.read().strip()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _refused(self) -> str:
        expiry = self.certificate_expiry()
        if expiry and expiry < datetime.now(UTC):
            return (
                f"The kubeconfig {self.kubeconfig} expired on {expiry:%Y-%m-%d %H:%M} UTC. Ask the platform's admin for a "
                "new one (playbooks/platform.yml renews it), or point llm_kubeconfig at a valid file."
            )
        return f"The cluster at {self.server} refuses the credentials in {self.kubeconfig}."


def _read(path: str, wanted: str | None) -> tuple[str, dict, dict]:
    """Return context name, cluster and user of a kubeconfig."""
    yaml = library("yaml", "PyYAML")
    try:
        with open(path, encoding="utf-8") as file:
            config = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except FileNotFoundError:
        raise KubeError(
            f"The kubeconfig {path} does not exist. Ask the platform's admin for yours, or set llm_kubeconfig."
        ) from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise KubeError(f"The kubeconfig {path} cannot be read: {error}") from None

    def named(kind: str, name: str) -> dict:
        for entry in config.get(f"{kind}s") or []:
            if entry.get("name") == name:
                return entry.get(kind) or {}
        raise KubeError(f"The kubeconfig {path} has no {kind} named {name!r}.")

    if not isinstance(config, dict):
        raise KubeError(f"The file {path} is not a kubeconfig.")
    name = wanted or config.get("current-context")
    if not name:
        raise KubeError(f"The kubeconfig {path} has no current context; name one.")
    context = named("context", name)
    cluster = named("cluster", context.get("cluster", ""))
    if not cluster.get("server"):
        raise KubeError(f"The cluster of context {name!r} in {path} has no server.")
    return name, cluster, named("user", context["user"]) if context.get("user") else {}


def _beside(kubeconfig: str, path: str) -> str:
    """Resolve a path in a kubeconfig, which is relative to the kubeconfig itself."""
    return os.path.join(os.path.dirname(os.path.abspath(kubeconfig)), path)


def _material(entry: dict, key: str, kubeconfig: str) -> bytes | None:
    """Return PEM bytes of a kubeconfig entry given inline (``KEY-data``) or as a file (``KEY``)."""
    try:
        if entry.get(f"{key}-data"):
            return base64.b64decode(entry[f"{key}-data"])
        if entry.get(key):
            with open(_beside(kubeconfig, entry[key]), "rb") as file:
                return file.read()
    except (OSError, ValueError) as error:
        raise KubeError(f"The {key} in {kubeconfig} cannot be read: {error}") from None
    return None


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    # OpenSSL's Python binding takes client certificates from files only; mkstemp makes them 0600.
    handle, path = tempfile.mkstemp(prefix="selfhosted-llm-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(path)
    except ssl.SSLError as error:
        raise KubeError(f"The client certificate and key of the kubeconfig do not work: {error}") from None
    finally:
        os.unlink(path)


def _borrowed_login(kubeconfig: str, name: str, context: ssl.SSLContext) -> dict[str, str]:
    """Log in through the official client, which runs exec plugins and refreshes tokens."""
    with official_login(kubeconfig, name) as login:
        if login.cert_file:
            context.load_cert_chain(login.cert_file, login.key_file)
        token = login.get_api_key_with_prefix("authorization")
        return {"Authorization": token} if token else {}


@contextmanager
def official_login(kubeconfig: str, name: str) -> Iterator[Any]:
    """The official client's configuration (kubernetes.client.Configuration), for connections made within the context.

    That client writes the private key to a file, which it removes when the process exits; Ansible's workers never exit that way.

    Raises:
        KubeError: the login plugin failed.
    """
    config = library("kubernetes.config.kube_config")
    login = library("kubernetes.client").Configuration()
    with _official:
        try:
            try:
                config.load_kube_config(kubeconfig, name, login)
            except (config.ConfigException, OSError) as error:
                raise KubeError(f"The login plugin of {kubeconfig} failed: {error}") from None
            yield login
        finally:
            config._cleanup_temp_files()
