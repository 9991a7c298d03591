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
"""

RETURN = r"""
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


class Kubeconfig(ExoscaleModule):
    """The kubeconfig file that the module's options describe."""

    def present(self) -> dict:
        """Write the file where it is not as the options ask for; return the module's result."""
        now, ttl = datetime.now(UTC), timedelta(seconds=self.options["ttl"])
        renew_before = ttl / 3 if self.options["renew_before"] is None else timedelta(seconds=self.options["renew_before"])
        if not timedelta() <= renew_before < ttl:
            raise ExoscaleError(f"renew_before is {renew_before}, which is not between 0 and the ttl of {ttl}.")
        held, cluster = self._read(), self.cluster()
        wanted = {"user": self.options["user"], "groups": sorted(set(self.options["groups"])), "mode": "0600"}
        if cluster:
            wanted |= {"cluster": cluster["id"], "server": _address(cluster["endpoint"])}
        result, in_file = {"changed": False}, held
        if not (cluster and wanted.items() <= held.items() and renew_before < held["expires"] - now < ttl + SLACK):
            after = wanted | {"expires": now + ttl}
            if not self.module.check_mode:
                self._write(cluster)
                after = in_file = self._read()
            result = self.changed(f"kubeconfig {self.options['dest']}", _shown(held), _shown(after))
        return result | {"dest": self.options["dest"]} | ({"expires": _shown(in_file)["expires"]} if in_file else {})

    def _read(self) -> dict:
        """What the file holds: user, groups, server, the cluster's id, mode, and when it expires.

        Empty where there is no file, or one that is no kubeconfig with a client certificate.
        """
        yaml, x509 = library("yaml", "PyYAML"), library("cryptography.x509")
        try:
            with open(self.options["dest"], encoding="utf-8") as file:
                mode, config = os.fstat(file.fileno()).st_mode, yaml.safe_load(file)
            cluster = config["clusters"][0]["cluster"]
            certificate = x509.load_pem_x509_certificate(base64.b64decode(config["users"][0]["user"]["client-certificate-data"]))
            user, groups = (
                sorted(entry.value for entry in certificate.subject.get_attributes_for_oid(oid))
                for oid in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME)
            )
            return {
                "user": user[0],
                "groups": groups,
                "mode": f"{stat.S_IMODE(mode):04o}",
                "cluster": cluster["extensions"][0]["extension"]["cluster"],
                "server": _address(cluster["server"]),
                "expires": certificate.not_valid_after_utc,
            }
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ExoscaleError(f"{self.options['dest']} cannot be read: {error.strerror}.") from None
        except (LookupError, TypeError, ValueError, yaml.YAMLError):
            return {}

    def _write(self, cluster: Answer) -> None:
        """Have a certificate issued, and write the file."""
        yaml = library("yaml", "PyYAML")
        request = {name: self.options[name] for name in ("user", "groups", "ttl")}
        answer = self.api.call("generate-sks-cluster-kubeconfig", request, id=cluster["id"])
        try:
            config = yaml.safe_load(base64.b64decode(answer["kubeconfig"]))
            config["clusters"][0]["cluster"]["extensions"] = [{"name": NAME, "extension": {"cluster": cluster["id"]}}]
        except (LookupError, TypeError, ValueError, yaml.YAMLError):  # whose text would show the key
            raise ExoscaleError(f"What SKS sent for {self.options['user']} in {self.api.zone} is no kubeconfig.") from None
        try:
            write_private(self.options["dest"], yaml.safe_dump(config, sort_keys=False))
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
        }
    )


if __name__ == "__main__":
    main()
