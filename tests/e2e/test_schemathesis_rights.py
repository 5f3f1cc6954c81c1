"""Schemathesis against a service that asks who calls: nothing without a credential, and to nobody what is not theirs.

`ignored_auth` is Schemathesis' own check: each call again without the token and with a wrong one. `object_level`
is ours, in `hooks_rights.py`. The control is the same run over a service that asks nobody: both find it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import contract
import hooks_rights
import schemathesis_run
from service import Service, binary

EXAMPLES_PER_OPERATION = 60
LEAST_CASES = 1000
CHECKS = "ignored_auth,object_level,not_a_server_error,status_code_conformance"


def make_token(file: Path, name: str, *prefixes: str) -> str:
    """A token for these prefixes, or for every key; its entry goes into the file."""
    words = [binary(), "token", "create", "--name", name, "--scope", "read,write,delete,list,sign"]
    words += [word for prefix in prefixes for word in ("--prefix", prefix)]
    made = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    with file.open("a", encoding="utf-8") as entries:
        entries.write(made.stdout + "\n")
    found = re.search(r"pst_[0-9a-f]+", made.stderr)
    assert found, made.stderr
    return found[0]


def play(service: Service, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    header = f"Authorization: Bearer {token}"
    options = ("--checks", CHECKS, "--header", header, *options)
    return schemathesis_run.run(service, contract.PATH, *options, config="schemathesis-rights.toml")


def test_nobody_gets_what_is_not_theirs(start: Callable[..., Service], tmp_path: Path, figures: Callable[[str], None]) -> None:
    tokens = tmp_path / "tokens.toml"
    mine, everything = make_token(tokens, "mine", hooks_rights.MINE), make_token(tokens, "everything")
    service = start(STORAGE_LOG="warn", STORAGE_TOKENS_FILE=str(tokens))
    hooks_rights.fill(service.url, everything)
    done = play(service, mine, "--max-examples", str(EXAMPLES_PER_OPERATION))
    assert done.returncode == 0, done.stdout + done.stderr
    generated = schemathesis_run.generated(done)
    figures(f"{generated} requests of Schemathesis with a token for some keys, ignored_auth and object_level checked")
    assert generated >= LEAST_CASES, done.stdout
    assert service.process is not None and service.process.poll() is None
    assert "panic" not in service.log_text()


def test_control_a_service_that_asks_nobody_is_found(start: Callable[..., Service], figures: Callable[[str], None]) -> None:
    service = start(STORAGE_LOG="warn")
    hooks_rights.fill(service.url, None)
    for operation, finding in (("listProofs", "API accepts requests without authentication"), ("headProof", "are not theirs")):
        done = play(service, "pst_nobody", "--include-operation-id", operation, "--max-examples", "40")
        assert done.returncode == 1 and finding in done.stdout, done.stdout
    figures("control: a service that asks nobody who they are is found by both checks")
