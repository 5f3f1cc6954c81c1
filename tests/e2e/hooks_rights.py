"""What Schemathesis is told where the service asks who calls: keys that matter, and whose they are.

The caller's token is for keys below `mine/`. Of the keys that are generated a good part is put below it, or
is one that somebody else has stored. The check is of objects (OWASP API1:2023): whoever names a key that is
not theirs gets neither what is there nor whether anything is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import requests
import schemathesis

MINE = "mine/"
KEYS = ("mine/stored", "mine/new", "theirs/stored", "theirs/new", "mine", "minestored", "mine/../theirs/stored")
FIELDS = ("key", "source", "destination")
# Of what a refusal may be. Not 404, 409, 412 or 416: they tell what is there.
REFUSALS = {400, 401, 403, 405, 408, 411, 413, 415, 429, 431, 501, 503}


def chosen(text: str, *, of: int) -> int:
    """By the input alone, so that a run with the same seed does the same."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % of


def keys(case: schemathesis.Case) -> Iterator[str]:
    """All that a request names."""
    named: list[Any] = [(case.path_parameters or {}).get("key")]
    if isinstance(case.body, dict):
        named += [case.body.get(field) for field in FIELDS]
        batch = case.body.get("keys")
        named += batch if isinstance(batch, list) else []
    yield from (key for key in named if isinstance(key, str))


@schemathesis.hook
def before_call(ctx: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Three of four keys are such that it matters whose they are."""

    def better(key: Any) -> Any:
        number = chosen(key, of=4 * len(KEYS) // 3) if isinstance(key, str) else len(KEYS)
        return KEYS[number] if number < len(KEYS) else key

    if case.path_parameters and "key" in case.path_parameters:
        case.path_parameters["key"] = better(case.path_parameters["key"])
    if isinstance(case.body, dict):
        for field in FIELDS:
            if field in case.body:
                case.body[field] = better(case.body[field])
        if isinstance(case.body.get("keys"), list):
            case.body["keys"] = [better(key) for key in case.body["keys"]]


@schemathesis.check
def object_level(ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> None:
    # What CORS answers is of the resource's kind, and not of what is there.
    if case.method.upper() == "OPTIONS":
        return
    strangers = [key for key in keys(case) if not key.startswith(MINE)]
    if case.path == "/v1/proofs" and case.method.upper() == "GET" and response.status_code == 200:
        items = [item["key"] for item in response.json()["items"]]
        assert all(key.startswith(MINE) for key in items), f"listed what is not theirs: {items}"
    if not strangers:
        return
    if case.path == "/v1/batch-delete" and response.status_code == 200:
        deleted = set(response.json()["deleted"]) & set(strangers)
        assert not deleted, f"deleted what is not theirs: {deleted}"
        return
    status = response.status_code
    assert status in REFUSALS, f"{status} where {strangers} are not theirs"


def fill(url: str, token: str | None) -> None:
    """What belongs to the caller and what does not, by whoever may store both."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for key in ("mine/stored", "theirs/stored"):
        requests.put(f"{url}/v1/proofs/{key}", data=b"stored", headers=headers, timeout=10).raise_for_status()
