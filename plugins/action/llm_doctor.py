# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.llm_doctor; its documentation is in plugins/modules/llm_doctor.py."""

from __future__ import annotations

import json
import os

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.causes import diagnose
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.files import now, write_atomically
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.examine import Patient, Ward
from ansible_collections.selfhosted.llm.plugins.module_utils.platform import read_record
from ansible_collections.selfhosted.llm.plugins.plugin_utils.fleet import Engineer, engineers
from ansible_collections.selfhosted.llm.plugins.plugin_utils.models import Wanted
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table
from ansible_collections.selfhosted.llm.plugins.plugin_utils.variables import Variables


class ActionModule(ActionBase):
    """Name for each deployment the one cause why it does not answer, or that it is healthy."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        _checked, args = self.validate_argument_spec({"data": {"type": "path"}})
        self._variables = Variables(self, task_vars)
        try:
            fleet = engineers(self._variables, task_vars["ansible_play_hosts_all"], may_be_missing=False)
            findings = [finding for engineer in fleet for finding in self._findings(engineer)]
        except UserError as error:
            raise AnsibleActionFail(str(error)) from None
        for line in _lines(findings):
            Display().display(line)
        if args["data"]:
            report = {"made": now(), "deployments": findings}
            write_atomically(os.path.expanduser(args["data"]), json.dumps(report, indent=1) + "\n", 0o644)
        if ill := [f"{finding['deployment']} ({finding['cause']})" for finding in findings if not finding["well"]]:
            raise AnsibleActionFail(f"Not all deployments are well: {', '.join(ill)}. The lines above say why.")
        return result | {"changed": False, "deployments": findings}

    def _findings(self, engineer: Engineer) -> list[dict]:
        record = read_record(engineer.kube)
        ward = Ward(engineer.kube, engineer.namespace, record.asleep if record else "")
        return [_finding(engineer, ward, self._patient(host)) for host in engineer.hosts]

    def _patient(self, host: str) -> Patient:
        engine = self._variables.engine(host) or "<engine>"
        try:
            values = self._variables.evaluate(host, ["llm_model", "llm_revision", "llm_shared_cache", "llm_gate_gpu"], ("llm",))
        except ValueError as error:
            raise UserError(f"{host}: {error}") from None
        shared = boolean(values["llm_shared_cache"]) and "llm_model" in values
        return Patient(host, engine, Wanted(host, engine, values).asked if shared else "", boolean(values["llm_gate_gpu"]))


def _finding(engineer: Engineer, ward: Ward, patient: Patient) -> dict:
    cause, proof, change = diagnose(ward.examine(patient))
    return {
        "deployment": patient.host,
        "engineer": engineer.name,
        "cause": cause.name,
        "well": cause.well,
        "means": cause.means,
        "evidence": proof,
        "change": change,
        "cure": cause.cure,
    }


def _lines(findings: list[dict]) -> list[str]:
    """The table, and a few lines for each deployment that is not healthy."""
    rows = [{key: finding[key] or "-" for key in ("deployment", "engineer", "cause", "change")} for finding in findings]
    details = [
        f"{finding['deployment']}: {finding['means']} {finding['cure']}\n  {finding['evidence']}"
        for finding in findings
        if finding["cause"] != "healthy"
    ]
    return [*table(rows), *details]
