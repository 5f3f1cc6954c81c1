"""docker-compose.yml tells each program only what that program knows. The containers themselves are not run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import garage
from service import ROOT, binary


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """With the defaults of all variables in place."""
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return filled(document["services"])


def filled(value: Any) -> Any:
    """As compose does it: in texts, once the document is read."""
    if isinstance(value, dict):
        return {name: filled(member) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) if isinstance(value, str) else value


def mistakes(settings: dict[str, str], folder: Path) -> str:
    """What the service says of its settings."""
    environment = settings | {"STORAGE_DATA_DIR": str(folder)}
    done = subprocess.run([binary(), "check-config"], env=environment, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 and "STORAGE" not in done.stderr else done.stdout + done.stderr


@pytest.mark.parametrize("name", ["proof-storage", "proof-storage-cluster"])
def test_the_service_knows_its_settings(services: dict[str, Any], tmp_path: Path, name: str) -> None:
    settings = services[name]["environment"]
    assert mistakes(settings, tmp_path) == ""
    # Negative control.
    assert "STORAGE_DRAIN_DELY" in mistakes(settings | {"STORAGE_DRAIN_DELY": "2000"}, tmp_path)


def test_garage_knows_its_variables(services: dict[str, Any]) -> None:
    shown = subprocess.run([garage.binary(), "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"\[env: (\w+)", shown))
    nodes = [services[f"garage-{number}"] for number in (1, 2, 3)]
    for node in nodes:
        assert set(node["environment"]) <= known
    assert "GARAGE_NO_SUCH_VARIABLE" not in known


def test_the_set_up_is_told_all_that_it_reads(services: dict[str, Any]) -> None:
    script = (ROOT / "config" / "garage" / "setup.sh").read_text(encoding="utf-8")
    described = set(re.findall(r"^#   ([A-Z_]+) ", script, re.MULTILINE))
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", script))
    assert set(services["garage-setup"]["environment"]) == described == used
    # Who makes the key and who uses it are told the same.
    told, used_by = services["garage-setup"]["environment"], services["proof-storage-cluster"]["environment"]
    for theirs, ours in [
        ("BUCKET", "STORAGE_BUCKET"),
        ("ACCESS_KEY_ID", "STORAGE_ACCESS_KEY_ID"),
        ("SECRET_ACCESS_KEY", "STORAGE_SECRET_ACCESS_KEY"),
    ]:
        assert told[theirs] == used_by[ours]
    token = services["garage-1"]["environment"]["GARAGE_ADMIN_TOKEN"]
    assert told["ADMIN_TOKEN"] == token
