# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules for Exoscale have in common: a class for each is all that a module adds."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Answer, Exoscale
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError

ARGUMENTS = {
    "zone": {"type": "str", "required": True},
    "api_key": {"type": "str", "no_log": True},
    "api_secret": {"type": "str", "no_log": True},
    "timeout": {"type": "int", "default": 1200},
    "shared_lists": {"type": "path"},
}
STATE = {"state": {"type": "str", "choices": ["present", "absent"], "default": "present"}}
# States that nothing changes by itself. An object in any other state, known here or not, is waited for.
STEADY = ("running", "degraded", "error")
# Seconds after which a creation is looked for again whose answer was lost. A request that is still under way then would
# be a second object, paid for twice, if it were repeated; together this is longer than a transport waits for an answer.
LATE = (10.0, 20.0)
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ExoscaleModule:
    """What a module does with the API of its zone. A subclass implements ``present`` and, if it has STATE, ``absent``."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.options = module.params
        self.api = Exoscale(*(module.params[name] for name in ARGUMENTS))

    @classmethod
    def run(cls, argument_spec: dict, **rules: Any) -> None:
        """Run the module to its end; its own options are given, and what AnsibleModule shall check of them."""
        module = AnsibleModule(
            argument_spec=ARGUMENTS | argument_spec,
            required_together=[("api_key", "api_secret")],
            supports_check_mode=True,
            **rules,
        )
        try:
            this = cls(module)
            act = this.absent if module.params.get("state") == "absent" else this.present
            try:
                result = act()
            except UserError:
                if not this.api.forget():
                    raise
                result = act()  # what another module was told may be out of date
            module.exit_json(**result)
        except UserError as error:
            module.fail_json(msg=str(error))

    def present(self) -> dict:
        """Bring about what the options ask for; return the module's result."""
        raise NotImplementedError

    def absent(self) -> dict:
        """Take it away; return the module's result."""
        raise NotImplementedError

    def clusters(self) -> list[Answer]:
        """All clusters in the zone, each with its node pools."""
        return self.api.call("list-sks-clusters")["sks-clusters"]

    def cluster(self) -> Answer | None:
        """The cluster that the option ``cluster`` names.

        None where there is none and that is no error: nothing is left to remove, or in check mode this run would make it.

        Raises:
            ExoscaleError: there is no such cluster.
        """
        may_lack = self.module.check_mode or self.options.get("state") == "absent"
        return (find if may_lack else need)("cluster", self.options["cluster"], self.api.zone, self.clusters())

    @staticmethod
    def changed(title: str, before: dict, after: dict) -> dict:
        """The result of a module that changes something from one description to another."""
        return {
            "changed": True,
            "diff": {"before_header": title, "after_header": title, "before": before, "after": after},
        }


class Resource(ExoscaleModule):
    """An object at Exoscale. Subclasses say what it is; this brings it to what the options ask for.

    A description of it is a dict of fields, named and valued like the options; an empty one means that it does not exist.
    """

    kind = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.options['name']} in {self.api.zone}"

    def read(self) -> Answer | None:
        """The live object as the API gives it, at the cost of one list; None where there is none."""
        raise NotImplementedError

    def describe(self, live: Answer) -> dict:
        """The description of the live object."""
        raise NotImplementedError

    def desired(self, live: Answer | None) -> dict:
        """The description that the options ask for. What no option names stays as it is.

        Raises:
            ExoscaleError: it cannot be had, or not from what is there.
        """
        raise NotImplementedError

    def preflight(self, live: Answer | None, wanted: dict) -> None:
        """Look, before the first write and in check mode too, whether Exoscale will allow what differs.

        Raises:
            ExoscaleError: it will not.
        """

    def create(self, wanted: dict) -> None:
        """Make the object, and wait until it is made."""
        raise NotImplementedError

    def update(self, live: Answer, changes: dict) -> None:
        """Change these fields of the live object, and wait until that is done."""
        raise NotImplementedError

    def delete(self, live: Answer) -> None:
        """Remove the live object, and wait until it is gone."""
        raise NotImplementedError

    def facts(self, live: Answer) -> dict:
        """What the module returns of a live object."""
        raise NotImplementedError

    def present(self) -> dict:
        """See ExoscaleModule."""
        return self.converge(self._desired)

    def absent(self) -> dict:
        """See ExoscaleModule."""
        return self.converge(lambda live: {})

    def converge(self, desired: Callable[[Answer | None], dict]) -> dict:
        """Bring the object to a description, which depends on what is there; return the module's result."""
        live = self.read() if self.module.check_mode else self._settled()
        before, after = self._describe(live), desired(live)
        if before != after and self.api.forget():  # from what another module was told, only "unchanged" is concluded
            return self.converge(desired)
        if before != after:
            self.preflight(live, after)
            if not self.module.check_mode:
                live = self._bring(live, after, desired)
        result = {"changed": False} if before == after else self.changed(str(self), before, after)
        return result | (self.facts(live) if live else {})

    def _describe(self, live: Answer | None) -> dict:
        return self.describe(live) if live else {}

    def _desired(self, live: Answer | None) -> dict:
        if live and live["state"] == "error":
            raise ExoscaleError(
                f"The {self} is in the state error (id {live['id']}): remove it with state absent and run again, or ask "
                "Exoscale's support."
            )
        if not live and ID.fullmatch(self.options["name"]):
            raise ExoscaleError(f"There is no {self}, and a new one needs a name instead of an id.")
        return self.desired(live)

    def _bring(self, live: Answer | None, wanted: dict, desired: Callable[[Answer | None], dict]) -> Answer | None:
        """Write, and look whether it came about.

        After a lost answer a write may have taken effect: the object is read again before anything is written again.
        """
        for pauses in ((1.0, *LATE), (3.0, *LATE), None):
            try:
                self._write(live, wanted)
                break
            except ExoscaleError as error:
                if pauses is None or not error.transient:
                    raise error if live else self._tidied(error) from None
            for pause in pauses[:1] if live else pauses:
                time.sleep(pause)
                if live := self._settled():
                    break
            wanted = desired(live)
            if self._describe(live) == wanted:
                return live
        for pause in (0.5, 1.0, 3.0, 0.0):  # what was written may be shown only a moment later
            live = self._settled()
            if bool(live) == bool(wanted):
                # Exoscale may have added to what was asked for: it is as desired if nothing more would be asked for.
                shown, wanted = self._describe(live), desired(live)
                if shown == wanted:
                    return live
            time.sleep(pause)
        shown = self._describe(live)
        fields = ", ".join(name for name in shown | wanted if shown.get(name) != wanted.get(name))
        raise ExoscaleError(f"Exoscale accepted the change of the {self}, but shows another {fields}: run again.")

    def _tidied(self, error: ExoscaleError) -> ExoscaleError:
        """The error of a creation, after what it left is removed: that would be in the way, and might be billed."""
        try:
            left = self.read()
            if not left or left["state"] != "error":
                return error
            self.delete(left)
        except ExoscaleError as other:
            return ExoscaleError(f"{error} What it left could not be removed: {other} Set state absent to remove it.")
        return ExoscaleError(f"{error} What it left was removed.")

    def _write(self, live: Answer | None, wanted: dict) -> None:
        if not wanted:
            self.delete(live)
        elif not live:
            self.create(wanted)
        else:
            shown = self.describe(live)
            self.update(live, {name: value for name, value in wanted.items() if value != shown[name]})

    def _settled(self) -> Answer | None:
        """The live object, once nothing changes it any more."""
        for live in self.api.poll(self.read, self.read()):
            if live is None or live["state"] in STEADY:
                return live
        raise ExoscaleError(
            f"The {self} is still in the state {live['state']} after {self.api.timeout} s: run again later, or with a "
            "longer timeout."
        )


def find(kind: str, name: str, place: str, entries: list[Answer]) -> Answer | None:
    """The entry of this name or id, or None.

    Args:
        kind: what the entries are, as a singular noun.
        place: where they are.

    Raises:
        ExoscaleError: there are several, and no telling which one is meant.
    """
    found = [entry for entry in entries if name in (entry["name"], entry["id"])]
    if len(found) > 1:
        ids = ", ".join(entry["id"] for entry in found)
        raise ExoscaleError(
            f"There are {len(found)} {kind}s named {name} in {place}: name one by its id ({ids}), or delete all others."
        )
    return found[0] if found else None


def need(kind: str, name: str, place: str, entries: list[Answer]) -> Answer:
    """As ``find``, where there must be one.

    Raises:
        ExoscaleError: there is none, or there are several.
    """
    if found := find(kind, name, place, entries):
        return found
    raise ExoscaleError(f"There is no {kind} {name} in {place}. {hint(name, [entry['name'] for entry in entries])}")


def body(fields: dict) -> dict:
    """Fields of a description as the API names them."""
    return {name.replace("_", "-"): value for name, value in fields.items()}


def described(answer: dict) -> dict:
    """An object of the API's with its fields named as in a description."""
    return {name.replace("-", "_"): value for name, value in answer.items()}


def text(value: object) -> str:
    """A value as text, where YAML has made a number or a truth value of it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def merged(shown: dict, given: dict | None) -> dict:
    """What a live object shows, with the suboptions that are given in its place; an empty one takes its field away."""
    given = {name: value for name, value in (given or {}).items() if value is not None}
    return {name: value for name, value in (shown | given).items() if value not in ("", {})}


def hint(name: str, names: list[str]) -> str:
    """What a user may have meant by a name that does not exist; where nothing is like it, what there is."""
    near = [other for other in names if other.endswith(f".{name}")] or difflib.get_close_matches(name, names, n=1)
    if near:
        return f"Is {' or '.join(sorted(near))} meant?"
    return f"There are {', '.join(sorted(names)) or 'none'}."
