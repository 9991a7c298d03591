# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of Exoscale's API in one zone: one ``call`` for every operation, whichever transport there is below it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ansible.module_utils.urls import open_url

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.credentials import find_credentials
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError, Refusal
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.shared import SharedLists
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.transports import (
    TIMEOUT,
    find_transport,
    message,
)

# Any zone tells the addresses of all.
ENDPOINT = "https://api-ch-gva-2.exoscale.com/v2"
# How the names of operations begin that leave nothing behind.
READS = ("list-", "get-", "generate-")
# Seconds before a read that failed is repeated.
PAUSES = (0.5, 1.0, 2.0)


T = TypeVar("T")


class Answer(dict):
    """A JSON object of an answer, in which a field that is missing or null is a sentence instead of a KeyError."""

    def __init__(self, fields: dict[str, Any]):
        super().__init__((name, value) for name, value in fields.items() if value is not None)

    def __missing__(self, name: str):
        raise ExoscaleError(
            f"Exoscale's answer lacks the field {name} (it has {', '.join(self) or 'none'}): run again, and if it stays so, "
            "look for a newer version of this collection."
        )


class Exoscale:
    """Exoscale's API in one zone.

    Args:
        zone: name of the zone.
        key: API key, with its ``secret``; where not given, as find_credentials finds them.
        timeout: seconds that all waiting through this client may take together.
        shared_lists: folder of what the modules of a run share, see SharedLists.

    Raises:
        ExoscaleError: no such zone, no credentials, or no transport.
    """

    def __init__(
        self,
        zone: str,
        key: str | None = None,
        secret: str | None = None,
        timeout: float = 1200,
        shared_lists: str | None = None,
    ):
        self.zone = zone
        self.timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._credentials = find_credentials(key, secret)
        self._endpoint = (os.environ.get("EXOSCALE_API_ENDPOINT") or ENDPOINT).rstrip("/")
        self._shared = SharedLists(shared_lists, self._endpoint, zone, self._credentials.key)
        self._endpoint = self._endpoint_of(zone)
        self._transport = find_transport(shutil.which("exo"), self._endpoint, self._credentials)

    def call(self, operation: str, body: dict[str, Any] | None = None, **ids: str) -> Answer:
        """Send one request and return its answer.

        A read is repeated a few times where no answer comes or the API is overloaded. A write never is: after a transient
        error look what is there, and decide anew.

        Args:
            operation: its id in Exoscale's OpenAPI document, such as ``scale-sks-nodepool``.
            body: the request's JSON object.
            ids: the path's parameters, in the path's order, with underscores for hyphens.

        Raises:
            ExoscaleError: there is no good answer.
        """
        is_read = operation.startswith(READS)
        if not is_read:
            self.forget()
        return self._answer(operation, lambda: self._transport.send(operation, ids, body), repeat=is_read)

    def write(self, operation: str, body: dict[str, Any] | None = None, **ids: str) -> Answer:
        """Send a write, and follow what it starts to its end.

        Args:
            operation: as in ``call``, also the others.

        Returns:
            The operation at Exoscale, which has the id of what was written in its ``reference``.

        Raises:
            ExoscaleError: it is refused, it fails, or it takes longer than the client's timeout.
        """
        started = self.call(operation, body, **ids)
        for answer in self.poll(lambda: self.call("get-operation", id=started["id"]), started):
            if answer["state"] == "success":
                return answer
            if answer["state"] != "pending":
                said = ", ".join(filter(None, (answer.get("reason"), answer.get("message")))) or "no reason given"
                raise ExoscaleError(
                    f"{operation} in {self.zone} ended at Exoscale in the state {answer['state']} ({said}).{_cure(said)}"
                )
        raise ExoscaleError(
            f"{operation} in {self.zone} still goes on at Exoscale after {self.timeout:.0f} s (operation {started['id']}). "
            "Nothing stops it: run again later, or with a longer timeout."
        )

    def poll(self, read: Callable[[], T], first: T) -> Iterator[T]:
        """Yield ``first``, then what ``read`` returns with pauses of 0.5 to 5 s, until the client's time is over."""
        pause = 0.5
        yield first
        while (left := self._deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 5.0)
            yield read()

    def forget(self) -> bool:
        """Ask Exoscale itself from now on, as all later modules do; return whether an answer was another module's."""
        return self._shared.forget()

    def _endpoint_of(self, zone: str) -> str:
        """Address of the API in a zone. Asked without credentials, as exo does: not every key may list zones."""
        zones = {entry["name"]: entry for entry in self._answer("list-zones", self._list_zones, repeat=True)["zones"]}
        if zone not in zones:
            raise ExoscaleError(f"Exoscale has no zone {zone}; it has {', '.join(sorted(zones))}.")
        return zones[zone]["api-endpoint"]

    def _list_zones(self) -> dict:
        try:
            with open_url(f"{self._endpoint}/zone", timeout=TIMEOUT) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refusal(error.code, message(error.read().decode(errors="replace"))) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Refusal(None, str(getattr(error, "reason", error)) or type(error).__name__) from None

    def _answer(self, operation: str, send: Callable[[], dict], repeat: bool) -> Answer:
        for pause in (*PAUSES, None) if repeat else (None,):
            try:
                taken = self._shared.take(operation)
                answer = json.loads(json.dumps(taken or send()), object_hook=Answer)
                if isinstance(answer, Answer):
                    if not taken:
                        self._shared.put(operation, answer)
                    return answer
                raise ExoscaleError(f"Exoscale's answer to {operation} in {self.zone} is {answer!r}, which makes no sense.")
            except Refusal as refusal:
                if pause is None or not refusal.passing:
                    raise self._sentence(operation, refusal) from None
            time.sleep(pause)
        raise AssertionError("unreachable: the last round returns or raises")

    def _sentence(self, operation: str, refusal: Refusal) -> ExoscaleError:
        status, said = refusal.status, refusal.said
        if status is None:
            return ExoscaleError(
                f"Exoscale's API at {self._endpoint} gave no answer to {operation} ({said}). Is the network, or "
                "EXOSCALE_API_ENDPOINT, right?",
                transient=True,
            )
        refused = f"Exoscale refuses {operation} in {self.zone} (HTTP {status}: {said})."
        if cure := _cure(said):
            return ExoscaleError(refused + cure)
        if status in (401, 403):
            return ExoscaleError(
                f"{refused} It was asked with {self._credentials.source}: are they right, and does the IAM role of that key "
                "allow it?"
            )
        if status == 404:
            return ExoscaleError(f"{refused} What it is about is gone.", transient=True)
        if status == 409:
            return ExoscaleError(f"{refused} Something else changes it at the same time: run again.", transient=True)
        if status == 429 or status >= 500:
            return ExoscaleError(f"{refused} Try again later.", transient=True)
        return ExoscaleError(refused)


def _cure(said: str) -> str:
    """What to do where a quota is the obstacle; else empty."""
    if "quota" not in said.lower() and "limit exceeded" not in said.lower():
        return ""
    return " Ask Exoscale's support to raise that quota of your organisation (GPU families start at 0), or make it smaller."
