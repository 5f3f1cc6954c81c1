"""What Schemathesis must be told about this API.

How to make bodies of media types that it does not know; and, for some of the calls that would
otherwise meet nothing but 403 and 404, a real token or a proof that is there.
"""

from __future__ import annotations

import zlib
from typing import Any

import requests
import schemathesis
from hypothesis import strategies as st

# The coin that decides whether a call is helped: depends on the input alone, so that a run with the
# same seed does the same.
HELPED_OF_FOUR = 3

# Header fields that nearly always refuse a request made at random: a digest that is not the body's, a
# coding that it has not, a capability that the embedded store lacks, a tag that nothing has.
HINDRANCES = (
    "Repr-Digest",
    "Content-Digest",
    "Content-Encoding",
    "Proof-Storage-Class",
    "Proof-Encryption",
    "If-Match",
)

schemathesis.openapi.media_type("application/c2pa", st.binary(max_size=4096))


@schemathesis.serializer("application/c2pa")
def as_it_is(ctx: schemathesis.SerializationContext, value: Any) -> Any:
    return value


def is_helped(text: str) -> bool:
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % 4 < HELPED_OF_FOUR


@schemathesis.hook
def before_load_schema(ctx: schemathesis.HookContext, schema: dict[str, Any]) -> None:
    """The service that is tested asks nobody who they are, so no call lacks what it need not have."""
    schema.pop("security", None)
    for operations in schema["paths"].values():
        for operation in operations.values():
            if isinstance(operation, dict):
                operation.pop("security", None)


@schemathesis.hook
def before_call(ctx: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Only for requests that are meant to fit the schema: those that are not stay as they are."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.headers and is_helped(str(sorted(case.headers.items()))):
        for name in HINDRANCES:
            case.headers.pop(name, None)
    base = kwargs.get("base_url") or case.operation.base_url
    if case.path == "/v1/signed/{token}/{key}":
        _sign(base, case)
    elif case.path in ("/v1/copy", "/v1/move") and isinstance(case.body, dict):
        _store(base, case.body.get("source"))


def _sign(base: str, case: schemathesis.Case) -> None:
    key = case.path_parameters.get("key")
    if not isinstance(key, str) or not is_helped(key):
        return
    wanted = {"key": key, "method": case.method.upper()}
    answer = requests.post(f"{base}/v1/signed-urls", json=wanted, timeout=10)
    if answer.status_code == 201:
        case.path_parameters["token"] = answer.json()["url"].split("/v1/signed/")[1].split("/")[0]


def _store(base: str, key: object) -> None:
    if isinstance(key, str) and is_helped(key):
        encoded = requests.utils.quote(key.encode("utf-8", "surrogatepass"), safe="")
        requests.put(f"{base}/v1/proofs/{encoded}", data=key.encode("utf-8", "surrogatepass"), timeout=10)
