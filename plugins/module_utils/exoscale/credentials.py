# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an API key for Exoscale comes from: what is given, the environment, or the configuration of the exo CLI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError


class Credentials(NamedTuple):
    """An API key, its secret, and where they were found, as a noun."""

    key: str
    secret: str
    source: str


def find_credentials(key: str | None, secret: str | None) -> Credentials:
    """The key and secret given, else EXOSCALE_API_KEY and EXOSCALE_API_SECRET, else those of exo's account.

    The account is the one that EXOSCALE_ACCOUNT names, else exo's default, in the file of EXOSCALE_CONFIG, else exo's own.

    Raises:
        ExoscaleError: there are none.
    """
    if key and secret:
        return Credentials(key, secret, "api_key and api_secret")
    key, secret = os.environ.get("EXOSCALE_API_KEY"), os.environ.get("EXOSCALE_API_SECRET")
    if key and secret:
        return Credentials(key, secret, "EXOSCALE_API_KEY and EXOSCALE_API_SECRET")
    for path in _config_files():
        if path.is_file():
            return _account(path)
    raise ExoscaleError(
        "There are no credentials for Exoscale: set EXOSCALE_API_KEY and EXOSCALE_API_SECRET, give api_key and api_secret, "
        "or run `exo config`."
    )


def _config_files() -> list[Path]:
    """Where exo looks for its configuration."""
    if given := os.environ.get("EXOSCALE_CONFIG"):
        return [Path(given)]
    home = Path.home()
    usual = home / ("Library/Application Support" if sys.platform == "darwin" else ".config")
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or usual)
    return [folder / "exoscale/exoscale.toml", home / ".exoscale/exoscale.toml", home / "exoscale.toml"]


def _account(path: Path) -> Credentials:
    import tomllib

    try:
        config = _lowercase(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ExoscaleError(f"exo's configuration {path} cannot be read: {error}.") from None
    accounts = {account.get("name"): account for account in config.get("accounts", [])}
    name = os.environ.get("EXOSCALE_ACCOUNT") or config.get("defaultaccount")
    if name not in accounts:
        problem = f"has no account {name}" if name else "names no default account"
        listed = ", ".join(map(str, accounts)) or "none"
        raise ExoscaleError(f"exo's configuration {path} {problem}: set EXOSCALE_ACCOUNT to one of its accounts ({listed}).")
    account = accounts[name]
    source = f"the account {name} in {path}"
    secret = account.get("secret")
    if command := account.get("secretcommand"):
        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no module here to call run_command of
                command, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise ExoscaleError(f"The secretCommand of {source} fails: {error}.") from None
        secret = done.stdout.rstrip("\n")
    if not (account.get("key") and secret):
        raise ExoscaleError(f"There is no key, or no secret, in {source}: run `exo config`.")
    return Credentials(account["key"], secret, source)


def _lowercase(value: object) -> object:
    """The same configuration with names in lowercase, as exo takes them in any case."""
    if isinstance(value, dict):
        return {name.lower(): _lowercase(inner) for name, inner in value.items()}
    return [_lowercase(inner) for inner in value] if isinstance(value, list) else value
