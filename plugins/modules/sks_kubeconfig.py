#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sks_kubeconfig
short_description: Keep a kubeconfig of an Exoscale SKS cluster, renewed in time
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Has SKS issue a client certificate for a user and groups, and writes the kubeconfig with it to a file of mode 0600.
  - The file is left alone while its certificate is for this user, these groups and this cluster, and not near its end. A
    cluster that was made anew under the same name is another one.
  - A certificate cannot be revoked. Whoever has a copy can use it until it expires.
  - The kubeconfig appears in no result, diff or log; a diff shows whose it is and until when.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
attributes:
  idempotent:
    support: partial
    details: A certificate near its end is renewed.
options:
  cluster:
    description: Name or id of the cluster.
    type: str
    required: true
  user:
    description: The user's name in the cluster.
    type: str
    required: true
  groups:
    description: The user's groups in the cluster. V(system:masters) may do everything.
    type: list
    elements: str
    required: true
  ttl:
    description: How long the certificate is valid, in seconds.
    type: int
    default: 2592000
  renew_before:
    description: How long before its end the certificate is renewed, in seconds. A third of O(ttl) where not given.
    type: int
  dest:
    description: The file. Missing directories are made, for this user only.
    type: path
    required: true
  merge:
    description:
      - Whether the file may hold other clusters, users and contexts, as C(~/.kube/config) does. All in it stays but
        comments, and the cluster, the user and the context that are called O(context). Its C(current-context) is set
        only where it has none. A file that is no kubeconfig is refused.
      - Otherwise the file has this context alone, and one that holds anything else is replaced.
      - Tasks that merge into one file at the same time may undo one another's changes. Set C(throttle) to 1 where
        several hosts do.
    type: bool
    version_added: 0.2.0
    default: false
  context:
    description:
      - What the cluster, the user and the context are called in the file. O(user), C(@) and O(cluster) where not given,
        such as V(alice@llm), so that several users and clusters have room in one file.
      - Needed where clusters of one name in several zones are merged into one file.
    type: str
    version_added: 0.2.0
requirements:
  - cryptography
  - PyYAML
seealso:
  - module: selfhosted.llm.sks_cluster
"""

EXAMPLES = r"""
- name: Keep the admin's kubeconfig
  selfhosted.llm.sks_kubeconfig:
    zone: de-fra-1
    cluster: llm
    user: admin
    groups: ["system:masters"]
    dest: ~/.kube/selfhosted-llm/llm-admin.yml

- name: Give Alice two weeks, and two more whenever fewer than three days are left
  selfhosted.llm.sks_kubeconfig:
    zone: de-fra-1
    cluster: llm
    user: alice
    groups: ["llm:alice"]
    ttl: 1209600
    renew_before: 259200
    dest: ~/.kube/selfhosted-llm/alice.yml

- name: Add it to the clusters that kubectl knows, for kubectl --context llm
  selfhosted.llm.sks_kubeconfig:
    zone: de-fra-1
    cluster: llm
    user: alice
    groups: ["llm:alice"]
    dest: ~/.kube/config
    merge: true
    context: llm
"""

RETURN = r"""
context:
  description: What the context is called in the file.
  returned: always
  type: str
  sample: alice@llm
dest:
  description: The file, with O(dest)'s C(~) and variables expanded.
  returned: always
  type: str
  sample: /home/admin/.kube/selfhosted-llm/alice.yml
expires:
  description: When the certificate in the file ends, in UTC.
  returned: when the file has one
  type: str
  sample: '2026-11-25T16:20:00Z'
"""

import base64
import os
import re
import stat
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import library
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Answer
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import ExoscaleModule
from ansible_collections.selfhosted.llm.plugins.module_utils.files import write_private

# Clocks may differ by this much.
SLACK = timedelta(minutes=5)
# Name of the extension in the kubeconfig's cluster entry that has the cluster's id: a cluster that is made anew may have
# the same name and address.
NAME = "selfhosted.llm"
EMPTY = {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}


class Kubeconfig(ExoscaleModule):
    """The kubeconfig file that the module's options describe."""

    def present(self) -> dict:
        """Write the file where it is not as the options ask for; return the module's result."""
        now, ttl = datetime.now(UTC), timedelta(seconds=self.options["ttl"])
        renew_before = ttl / 3 if self.options["renew_before"] is None else timedelta(seconds=self.options["renew_before"])
        if not timedelta() <= renew_before < ttl:
            raise ExoscaleError(f"renew_before is {renew_before}, which is not between 0 and the ttl of {ttl}.")
        user, groups = self.options["user"], sorted(set(self.options["groups"]))
        name = self.options["context"] or f"{user}@{self.options['cluster']}"
        held, cluster = self._read(name), self.cluster()
        wanted = {"context": name, "user": user, "groups": groups, "mode": "0600"}
        if cluster:
            wanted |= {"cluster": cluster["id"], "server": _address(cluster["endpoint"])}
        result, in_file = {"changed": False}, held
        if not (cluster and wanted.items() <= held.items() and renew_before < held["expires"] - now < ttl + SLACK):
            after = wanted | {"expires": now + ttl}
            if not self.module.check_mode:
                self._write(cluster, name)
                after = in_file = self._read(name)
            result = self.changed(f"kubeconfig {self.options['dest']}", _shown(held), _shown(after))
        result |= {"dest": self.options["dest"], "context": name}
        return result | ({"expires": _shown(in_file)["expires"]} if in_file else {})

    def _read(self, name: str) -> dict:
        """What the file holds in its only context, or where it is merged in that of this name.

        That is: context, user, groups, server, the cluster's id, mode, and when it expires. Empty where there is no
        such context, or one without a client certificate.
        """
        x509 = library("cryptography.x509")
        config, mode = self._load()
        try:
            [context] = [entry for entry in config["contexts"] if not self.options["merge"] or entry["name"] == name]
            cluster, user = (
                [entry[kind] for entry in config[f"{kind}s"] if entry["name"] == context["context"][kind]][0]
                for kind in ("cluster", "user")
            )
            certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
            users, groups = (
                sorted(entry.value for entry in certificate.subject.get_attributes_for_oid(oid))
                for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME)
            )
            return {
                "context": context["name"],
                "user": users[0],
                "groups": groups,
                "mode": mode,
                "cluster": cluster["extensions"][0]["extension"]["cluster"],
                "server": _address(cluster["server"]),
                "expires": certificate.not_valid_after_utc,
            }
        except (AttributeError, LookupError, TypeError, ValueError):
            return {}

    def _load(self) -> tuple[dict, str]:
        """The kubeconfig in the file, and the file's mode. EMPTY where there is none, or no kubeconfig.

        Raises:
            ExoscaleError: it cannot be read, or is no kubeconfig and shall be merged into.
        """
        yaml, dest = library("yaml", "PyYAML"), self.options["dest"]
        try:
            with open(dest, encoding="utf-8") as file:
                mode, config = f"{stat.S_IMODE(os.fstat(file.fileno()).st_mode):04o}", yaml.safe_load(file)
            config = EMPTY if config is None else config  # as kubectl has it
            if config["kind"] == "Config":
                # Made anew, which is a TypeError or KeyError where an entry is none or has no name.
                entries = {
                    kind: [{**entry, "name": entry["name"]} for entry in config.get(kind) or []]
                    for kind in ("clusters", "users", "contexts")
                }
                return config | entries, mode
        except FileNotFoundError:
            return EMPTY, ""
        except OSError as error:
            raise ExoscaleError(f"{dest} cannot be read: {error.strerror}.") from None
        except (LookupError, TypeError, ValueError, yaml.YAMLError):  # whose text might show a key
            pass
        if self.options["merge"]:
            raise ExoscaleError(f"{dest} is no kubeconfig to merge into: correct it, or name another dest.")
        return EMPTY, ""

    def _write(self, cluster: Answer, name: str) -> None:
        """Have a certificate issued, and write the file with it under this name."""
        yaml = library("yaml", "PyYAML")
        request = {option: self.options[option] for option in ("user", "groups", "ttl")}
        answer = self.api.call("generate-sks-cluster-kubeconfig", request, id=cluster["id"])
        try:
            issued = yaml.safe_load(base64.b64decode(answer["kubeconfig"]))
            identity = [{"name": NAME, "extension": {"cluster": cluster["id"]}}]
            own = {
                "cluster": issued["clusters"][0]["cluster"] | {"extensions": identity},
                "user": issued["users"][0]["user"],
                "context": {"cluster": name, "user": name},
            }
        except (LookupError, TypeError, ValueError, yaml.YAMLError):  # whose text would show the key
            raise ExoscaleError(f"What SKS sent for {self.options['user']} in {self.api.zone} is no kubeconfig.") from None
        config, path = EMPTY, self.options["dest"]
        if self.options["merge"]:
            config, path = self._load()[0], os.path.realpath(path)  # a link of the user's stays one
        config = config | {"current-context": config.get("current-context") or name}
        for kind, entry in own.items():
            others = [other for other in config[f"{kind}s"] if other["name"] != name]
            config[f"{kind}s"] = [*others, {"name": name, kind: entry}]
        # kubectl's parser takes text such as y, n and 1e3 for something else where it is not quoted; PyYAML does not.
        dumper = type("Dumper", (yaml.SafeDumper,), {})
        dumper.add_implicit_resolver("other", re.compile(r"[yYnN]$|[-+.\d]"), list("yYnN-+.0123456789"))
        try:
            write_private(path, yaml.dump(config, Dumper=dumper, sort_keys=False))
        except OSError as error:
            raise ExoscaleError(f"{self.options['dest']} cannot be written: {error.strerror}.") from None


def _address(url: str) -> str:
    """Host and port of a Kubernetes API, however they are written."""
    return urlsplit(url).netloc.removesuffix(":443")


def _shown(held: dict) -> dict:
    """What a file holds, as users see it."""
    return held | ({"expires": f"{held['expires']:%Y-%m-%dT%H:%M:%SZ}"} if held else {})


def main() -> None:
    """Run the module."""
    Kubeconfig.run(
        {
            "cluster": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "groups": {"type": "list", "elements": "str", "required": True},
            "ttl": {"type": "int", "default": 2592000},
            "renew_before": {"type": "int"},
            "dest": {"type": "path", "required": True},
            "merge": {"type": "bool", "default": False},
            "context": {"type": "str"},
        }
    )


if __name__ == "__main__":
    main()
