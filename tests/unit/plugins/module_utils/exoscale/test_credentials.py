# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.credentials import find_credentials
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError

# As `exo config` writes it: https://github.com/exoscale/cli reads the names in any case.
CONFIG = """
defaultAccount = "work"

[[accounts]]
name = "work"
key = "EXOwork"
secret = "secret-of-work"
defaultZone = "ch-gva-2"

[[accounts]]
name = "vault"
key = "EXOvault"
secretCommand = ["sh", "-c", "echo secret-of-$0", "vault"]

[[accounts]]
name = "broken"
key = "EXObroken"
secretCommand = ["false"]

[[accounts]]
name = "empty"
key = "EXOempty"
"""


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home directory in which nothing is configured, and no setting of the machine's own."""
    for name in ("API_KEY", "API_SECRET", "CONFIG", "ACCOUNT"):
        monkeypatch.delenv(f"EXOSCALE_{name}", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def configure(path, text=CONFIG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_what_is_given_comes_before_the_environment_and_that_before_exo(home, monkeypatch):
    configure(home / ".config/exoscale/exoscale.toml")
    assert find_credentials(None, None)[:2] == ("EXOwork", "secret-of-work")
    monkeypatch.setenv("EXOSCALE_API_KEY", "EXOenv")
    assert find_credentials(None, None).key == "EXOwork"  # half a pair is none
    monkeypatch.setenv("EXOSCALE_API_SECRET", "secret-of-env")
    assert find_credentials(None, None)[:2] == ("EXOenv", "secret-of-env")
    assert find_credentials("EXOgiven", "secret")[:2] == ("EXOgiven", "secret")


@pytest.mark.parametrize("place", [".config/exoscale/exoscale.toml", ".exoscale/exoscale.toml", "exoscale.toml"])
def test_the_configuration_is_where_exo_has_it(home, monkeypatch, place):
    monkeypatch.setattr("sys.platform", "linux")
    configure(home / place)
    assert find_credentials(None, None).key == "EXOwork"


def test_the_environment_names_the_configuration_and_the_account(home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    configure(home / "xdg/exoscale/exoscale.toml")
    assert find_credentials(None, None).key == "EXOwork"
    monkeypatch.setenv("EXOSCALE_CONFIG", configure(home / "other.toml", CONFIG.replace("EXO", "OTHER")))
    assert find_credentials(None, None).key == "OTHERwork"
    monkeypatch.setenv("EXOSCALE_ACCOUNT", "vault")
    assert find_credentials(None, None)[:2] == ("OTHERvault", "secret-of-vault")


@pytest.mark.parametrize(
    ("account", "text", "sentence"),
    [
        (None, None, "run `exo config`"),
        ("gone", CONFIG, "has no account gone: set EXOSCALE_ACCOUNT to one of its accounts (work, vault, broken, empty)"),
        (None, "", "names no default account"),
        (None, "defaultAccount = ", "cannot be read"),
        ("broken", CONFIG, "secretCommand of the account broken"),
        ("empty", CONFIG, "no key, or no secret, in the account empty"),
    ],
)
def test_no_credentials_is_a_sentence(home, monkeypatch, account, text, sentence):
    if account:
        monkeypatch.setenv("EXOSCALE_ACCOUNT", account)
    if text is not None:
        configure(home / ".config/exoscale/exoscale.toml", text)
    with pytest.raises(ExoscaleError) as error:
        find_credentials(None, None)
    assert sentence in str(error.value)
