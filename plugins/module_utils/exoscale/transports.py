# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two ways to Exoscale's API, which know the same operations by the same names: the exo CLI and PyPI exoscale.

Each sends one request a call, signed; it repeats nothing and follows no operation. That is the client's part.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from typing import Any, Protocol

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.credentials import Credentials
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError, Refusal

# Seconds after which an answer counts as lost. The API starts its long work as operations, and answers at once.
TIMEOUT = 30


class Transport(Protocol):
    """What both transports do."""

    def send(self, operation: str, ids: dict[str, str], body: dict[str, Any] | None) -> dict:
        """Send one request and return the decoded answer.

        Args:
            operation: its id in Exoscale's OpenAPI document, such as ``scale-sks-nodepool``.
            ids: the path's parameters by name, in the path's order, with underscores.
            body: the request's JSON object.

        Raises:
            Refusal: the API answered with an error, or not at all.
            ExoscaleError: the transport itself cannot be used.
        """


def find_transport(program: str | None, endpoint: str, credentials: Credentials) -> Transport:
    """The exo CLI where there is one, else the library.

    Args:
        program: path of exo.
        endpoint: URL of the API in the zone, with its version.

    Raises:
        ExoscaleError: there is neither.
    """
    return Exo(program, endpoint, credentials) if program else Library(endpoint, credentials)


class Exo:
    """The exo CLI, whose command ``x`` has a subcommand for each operation.

    It is told the zone's address rather than the zone, whose address it would ask for again with every call.
    """

    def __init__(self, program: str, endpoint: str, credentials: Credentials):
        self._program = program
        self._endpoint = endpoint
        self._environment = os.environ | {
            "EXOSCALE_API_KEY": credentials.key,
            "EXOSCALE_API_SECRET": credentials.secret,
        }
        self._environment.pop("EXOSCALE_TRACE", None)  # it would print the signature

    def send(self, operation: str, ids: dict[str, str], body: dict[str, Any] | None) -> dict:
        """See Transport."""
        command = [self._program, "x", operation, *ids.values(), "--server", self._endpoint, "--raw"]
        given = {"stdin": subprocess.DEVNULL} if body is None else {"input": json.dumps(body)}
        try:  # in the root directory, since exo reads an exoscale.toml where it stands
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no module here to call run_command of
                command, **given, cwd="/", env=self._environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise Refusal(None, f"no answer within {TIMEOUT} s") from None
        except OSError as error:
            raise ExoscaleError(f"{self._program} cannot be run: {error}.") from None
        if done.returncode:
            raise self._refusal(done.stderr)
        try:
            answer = json.loads(done.stdout)
        except ValueError:  # for an unknown command, exo shows its help and is content
            raise ExoscaleError(
                f"{self._program} does not know the operation {operation}: install a newer version of exo."
            ) from None
        return answer

    def _refusal(self, stderr: str) -> Exception:
        """What exo's error output means: ``... Error calling operation error="HTTP 404: {...}"``, or no such thing."""
        called = re.search(r"Error calling operation.*", stderr, re.DOTALL)
        if not called:
            return ExoscaleError(f"{self._program} says: {' '.join(stderr.split())[-500:]}")
        said = called[0].removeprefix("Error calling operation").strip()
        if answered := re.search(r"HTTP (\d{3}): (.*)", said, re.DOTALL):
            return Refusal(int(answered[1]), message(answered[2]))
        return Refusal(None, said)


class Library:
    """PyPI exoscale, whose client has a method for each operation."""

    def __init__(self, endpoint: str, credentials: Credentials):
        try:
            from exoscale.api.exceptions import ExoscaleAPIException
            from exoscale.api.v2 import Client
            from requests import RequestException
        except ImportError:
            raise ExoscaleError(
                f"There is neither the program exo on PATH nor the Python library exoscale in {sys.executable}: install "
                f"exo, or run `{sys.executable} -m pip install exoscale`."
            ) from None
        self._refused, self._lost = ExoscaleAPIException, RequestException
        self._client = Client(credentials.key, credentials.secret, url=endpoint)
        session = self._client.http_client
        session.request = functools.partial(session.request, timeout=TIMEOUT)

    def send(self, operation: str, ids: dict[str, str], body: dict[str, Any] | None) -> dict:
        """See Transport."""
        arguments = ids | {name.replace("-", "_"): value for name, value in (body or {}).items()}
        try:
            return getattr(self._client, operation.replace("-", "_"))(**arguments)
        except self._refused as error:
            raise Refusal(error.response.status_code, message(error.response.text)) from None
        except self._lost as error:
            raise Refusal(None, str(error) or type(error).__name__) from None
        except (AttributeError, TypeError) as error:
            raise ExoscaleError(
                f"The Python library exoscale does not know the operation {operation} as it is used here ({error}): run "
                f"`{sys.executable} -m pip install --upgrade exoscale`."
            ) from None


def message(text: str) -> str:
    """What an error answer says: the message in its JSON, or its text."""
    try:
        answer = json.loads(text)
        return str(answer.get("message") or answer.get("detail") or answer)
    except (ValueError, AttributeError):
        return " ".join(text.split())[:500]
