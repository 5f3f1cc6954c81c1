"""Schemathesis against the running service: no answer that openapi.yaml does not document.

Statuses, media types, header fields and bodies of thousands of generated requests, right and wrong
ones, and sequences of them. `schemathesis.toml` says what counts as expected.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import yaml

import contract
from schemathesis_run import MORE, generated, run
from service import Service

LEAST_CASES = 3000 * MORE
EXAMPLES_PER_OPERATION = 200 * MORE

# One line a request would be the larger part of the log.
SETTINGS = {"STORAGE_LOG": "warn"}


def test_every_answer_is_documented(start: Callable[..., Service], figures: Callable[[str], None]) -> None:
    service = start(**SETTINGS)
    done = run(service, contract.PATH, "--max-examples", str(EXAMPLES_PER_OPERATION))
    assert done.returncode == 0, done.stdout + done.stderr
    cases = generated(done)
    figures(f"{cases} requests of Schemathesis, every answer as documented")
    assert cases >= LEAST_CASES, done.stdout
    assert service.process is not None and service.process.poll() is None
    assert "panic" not in service.log_text()


def broken(tmp_path: Path, change: Callable[[dict], None]) -> Path:
    document = copy.deepcopy(contract.load())
    change(document)
    path = tmp_path / "broken.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def fails_with(service: Service, document: Path, operation: str, finding: str) -> bool:
    done = run(service, document, "--include-operation-id", operation, "--max-examples", "20")
    return done.returncode == 1 and finding in done.stdout


def test_control_undocumented_status_is_found(start: Callable[..., Service], tmp_path: Path) -> None:
    def change(document: dict) -> None:
        del document["paths"]["/v1/metadata/{key}"]["get"]["responses"]["404"]

    document = broken(tmp_path, change)
    assert fails_with(start(**SETTINGS), document, "getMetadata", "Undocumented status code")


def test_control_undocumented_field_is_found(start: Callable[..., Service], tmp_path: Path) -> None:
    def change(document: dict) -> None:
        schema = document["components"]["schemas"]["Stats"]
        del schema["properties"]["exact"]
        schema["required"].remove("exact")

    document = broken(tmp_path, change)
    assert fails_with(start(**SETTINGS), document, "getStats", "Response violates schema")


def test_control_missing_header_is_found(start: Callable[..., Service], tmp_path: Path) -> None:
    def change(document: dict) -> None:
        response = document["paths"]["/health"]["get"]["responses"]["200"]
        response["headers"]["X-Never-Sent"] = {"required": True, "schema": {"type": "string"}}

    document = broken(tmp_path, change)
    assert fails_with(start(**SETTINGS), document, "getHealth", "Missing required response headers")
