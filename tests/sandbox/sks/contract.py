# SPDX-License-Identifier: GPL-3.0-or-later
"""Exoscale's OpenAPI document, as PyPI `exoscale` ships it: which operation a request is, and whether it is a valid one."""
from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match


class Operation(NamedTuple):
    """One operation: its id, parameters of its path in order, and its description in the document."""

    name: str
    path: re.Pattern
    described: dict


class Contract:
    """The document. Problems are sentences; None is none."""

    def __init__(self) -> None:
        document = json.loads(distribution("exoscale").locate_file("exoscale/openapi.json").read_text())
        self._schemas = document["components"]["schemas"]
        self._operations: dict[str, list[Operation]] = {}
        self._validators: dict[int, Draft202012Validator] = {}  # by the identity of a schema in the document
        for path, methods in document["paths"].items():
            pattern = re.compile(re.sub(r"\\\{[^}]+\\\}", "([^/:]+)", re.escape(path)))
            for method, described in methods.items():
                self._operations.setdefault(method.upper(), []).append(
                    Operation(described["operationId"], pattern, described))

    def find(self, method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
        """The operation of a request and its path's parameters by name."""
        for operation in self._operations.get(method, ()):
            if found := operation.path.fullmatch(path):
                names = [name for name, place, _ in _parameters(operation) if place == "path"]
                return operation, dict(zip(names, found.groups(), strict=True))
        return None

    def problem_of_request(self, operation: Operation, given: dict[str, str], body: Any) -> str | None:
        """What is wrong with a request's parameters or body (None: it has none)."""
        known = {name: schema for name, _, schema in _parameters(operation)}
        for name, value in given.items():
            if name not in known:
                return f"{name}: no such parameter"
            if problem := self._problem(known[name], value):
                return f"{name}: {problem}"
        if "requestBody" not in operation.described:
            return None if body in (None, {}) else f"{operation.name} takes no body"
        if body is None:
            return f"{operation.name} needs a body"
        return self._problem(_content(operation.described["requestBody"]), body, open_references=True)

    def problem_of_answer(self, operation: Operation, answer: Any) -> str | None:
        """What is wrong with an answer to a good request."""
        return self._problem(_content(operation.described["responses"]["200"]), answer)

    def _problem(self, schema: dict, value: Any, open_references: bool = False) -> str | None:
        if id(schema) not in self._validators:
            self._validators[id(schema)] = Draft202012Validator(
                self._converted(schema, open_references), format_checker=FormatChecker())
        error = best_match(self._validators[id(schema)].iter_errors(value))
        return error and f"{'.'.join(map(str, error.absolute_path)) or 'body'}: {error.message}"

    def _converted(self, schema: dict, open_references: bool) -> dict:
        """OpenAPI 3.0's dialect as JSON Schema; an object has the listed properties only, if some are listed.

        In requests, references may have more: exo sends the whole object where the document has its id alone.
        """
        schema = dict(schema)
        if name := schema.pop("$ref", "").rpartition("/")[2]:
            schema = self._schemas[name] | schema
        for bound in ("minimum", "maximum"):
            exclusive = f"exclusive{bound.capitalize()}"
            if schema.pop(exclusive, False):
                schema[exclusive] = schema.pop(bound)
        if "properties" in schema:
            schema["properties"] = {
                inner: self._converted(described, open_references) for inner, described in schema["properties"].items()}
            schema.setdefault("additionalProperties", open_references and name.endswith("-ref"))
        for keyword in ("items", "additionalProperties"):
            if isinstance(schema.get(keyword), dict):
                schema[keyword] = self._converted(schema[keyword], open_references)
        return {"anyOf": [schema, {"type": "null"}]} if schema.pop("nullable", False) else schema


def _parameters(operation: Operation) -> list[tuple[str, str, dict]]:
    """Name, place and schema of an operation's parameters."""
    return [(entry["name"], entry["in"], entry["schema"]) for entry in operation.described.get("parameters", ())]


def _content(described: dict) -> dict:
    return described["content"]["application/json"]["schema"]
