"""Every row of the HTTP contract, over the embedded store, Garage, moto and what simulates AWS, R2 and Garage."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

import contract
import rows
from places import Place
from service import Service

#: Documented, and no matter of the store, or not to be provoked where it is well, or because one store
#: lacks what another has; `test_problems.py`, `test_limits.py`, the faults of `cargo test` and `test_servers.py` do
#: that.
ELSEWHERE = {307, 408, 429, 431, 500, 501, 502, 503, 504, 507}

#: Off by default: `test_retention.py`, over the same stores.
RETENTION = "/v1/retention/{key}"


def unencrypted(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As if the store did not encrypt everything by itself and say so, as AWS and R2 do. No row asks for it."""
    text = json.dumps(answers).replace('"encryption": "AES256"', '"encryption": "none"')
    return json.loads(text)


def play(service: Service, name: str) -> list[dict[str, Any]]:
    return rows.play(service.port, rows.ROWS[name], uuid.uuid4().hex)


@pytest.mark.parametrize("name", rows.ROWS)
def test_all_stores_answer_alike(
    service: Service, garage: Place, moto: Place, simulated: list[Place], name: str
) -> None:
    embedded = play(service, name)
    for place in (garage, moto):
        assert play(place.service, name) == embedded, place.name
    for place in simulated:
        assert unencrypted(play(place.service, name)) == embedded, place.name


def test_the_table_has_every_operation_and_every_answer() -> None:
    asked: dict[str, set[int]] = {}
    for operation, status in rows.requests():
        asked.setdefault(operation, set()).add(status)
    for path, method, described in contract.operations(rows.DOCUMENT):
        if path == RETENTION:
            continue
        documented = {int(status) for status in described["responses"]} - ELSEWHERE
        answered = asked.get(f"{method.upper()} {path}", set())
        missing = documented - answered
        # The service asks nobody here. Who may do what: `tests/it/authorisation.rs`.
        missing -= {401}
        if "{token}" not in path:
            missing -= {403}
        # A write of the same key under way at the backend: scripted in `tests/it/s3/faults.rs`.
        if method == "delete":
            missing -= {409}
        assert not missing, f"{method.upper()} {path}: {missing}"


def test_control_another_status_is_found(start: Callable[..., Service]) -> None:
    """A store that overwrites."""
    with pytest.raises(AssertionError, match="PUT .*: 200"):
        play(start(STORAGE_WRITE_MODE="overwrite"), "PUT: written once")


def test_control_another_answer_is_found(service: Service, start: Callable[..., Service]) -> None:
    """The same statuses, and one header more."""
    name = "GET: in either form"
    other = play(start(STORAGE_DEFAULT_CACHE_CONTROL="no-cache"), name)
    assert other != play(service, name) == play(service, name)
