# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is refused of the variables that all engines share: what would be open to others, never work, or break the collection itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Labels and annotations of the collection's own.
OWN = re.compile(r"selfhosted\.llm/.*|app\.kubernetes\.io/(name|instance|managed-by)|prometheus\.io/(scrape|port)")


def problems(deployments: dict[str, dict[str, Any]], engineers: list[str]) -> list[str]:
    """All that is wrong, a sentence each.

    Args:
        deployments: the validated variables of each, with ``engineer``.
        engineers: whom the platform knows.
    """
    found: dict[str, list[str]] = {}
    hostnames: dict[str, str] = {}
    for host, values in deployments.items():
        found[host] = _metadata(values) + _shared(values, engineers) + _download(values)
        if values["llm_expose"] != "none":
            found[host] += _exposed(values)
            if (other := hostnames.setdefault(values.get("llm_hostname") or host, host)) != host:
                found[host].append(f"llm_hostname: {values['llm_hostname']} is {other}'s already: each deployment needs a name of its own.")
    return [f"{host}: {problem}" for host, mine in found.items() for problem in mine]


def _metadata(values: dict[str, Any]) -> list[str]:
    return [
        f"{variable}: {name} is the collection's own: choose another name."
        for variable in ("llm_labels", "llm_annotations")
        for name in values[variable]
        if OWN.fullmatch(name)
    ]


def _shared(values: dict[str, Any], engineers: list[str]) -> list[str]:
    own, known = values["engineer"], ", ".join(engineers) or "none"
    found = [f"llm_shared_with: {own} is the owner and needs no sharing: leave it out."] if own in values["llm_shared_with"] else []
    return found + [
        f"llm_shared_with: this platform has no engineer {name}, but {known}. The platform's admin adds engineers to engineer_accounts "
        "and runs playbooks/platform.yml."
        for name in values["llm_shared_with"]
        if name not in (own, *engineers)
    ]


def _exposed(values: dict[str, Any]) -> list[str]:
    found = []
    if not values["llm_api_key"]:
        found.append("llm_expose: without a key everybody who finds the name could use the model: leave llm_api_key at true.")
    needed = {
        "llm_hostname": "the name under which clients reach the endpoint",
        "llm_ingress_namespace": "the namespace whose pods bring the requests, which is let in",
    }
    if values["llm_expose"] == "ingress":
        needed["llm_tls_issuer"] = "the ClusterIssuer of the certificate, as keys must not travel in the clear"
    else:
        needed["llm_gateway"] = "the Gateway (name, namespace, listener)"
    return found + [f"llm_expose: set {name}, {meaning}." for name, meaning in needed.items() if not values.get(name)]


def _download(values: dict[str, Any]) -> list[str]:
    found = []
    if "@" in urlsplit(values.get("llm_proxy") or "").netloc:
        found.append(
            "llm_proxy: a user or password in the address could be read by all who may read pods: "
            "let the proxy know the cluster by its address."
        )
    if file := values.get("llm_ca_file"):
        try:
            content = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            return [*found, f"llm_ca_file: {file} cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})."]
        if "PRIVATE KEY" in content:
            found.append(f"llm_ca_file: {file} has a private key, which must not get into the cluster: give the certificates alone.")
        elif "-----BEGIN CERTIFICATE-----" not in content:
            found.append(f"llm_ca_file: {file} has no certificate in the format PEM.")
    return found
