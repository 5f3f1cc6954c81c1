"""openapi.yaml is valid OpenAPI 3.1, whole, and every example in it fits its schema."""

from __future__ import annotations

import copy
import re

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import contract

DOCUMENT = contract.load()
EXAMPLES = list(contract.examples(DOCUMENT))

# The table of the HTTP contract, and the three signed routes.
ROUTES = {
    "PUT /v1/proofs/{key}",
    "POST /v1/proofs",
    "GET /v1/proofs/{key}",
    "HEAD /v1/proofs/{key}",
    "DELETE /v1/proofs/{key}",
    "GET /v1/metadata/{key}",
    "GET /v1/proofs",
    "POST /v1/copy",
    "POST /v1/move",
    "POST /v1/batch-delete",
    "POST /v1/signed-urls",
    "GET /v1/signed/{token}/{key}",
    "HEAD /v1/signed/{token}/{key}",
    "PUT /v1/signed/{token}/{key}",
    "GET /v1/stats",
    "GET /v1/backends",
    "GET /health",
    "GET /health/ready",
    "GET /metrics",
    "GET /openapi.yaml",
    "GET /docs",
    # Holds came later.
    "PUT /v1/retention/{key}",
    # Not of the contract: a browser that asks for nothing gets the page.
    "GET /",
}


def test_is_valid_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    errors = [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()]
    assert errors == []


def test_validator_sees_a_broken_document() -> None:
    broken = copy.deepcopy(DOCUMENT)
    del broken["paths"]["/health"]["get"]["responses"]["200"]["description"]
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_has_exactly_the_routes_of_the_contract() -> None:
    found = {f"{method.upper()} {path}" for path, method, _ in contract.operations(DOCUMENT)}
    assert found == ROUTES


@pytest.mark.parametrize(("place", "schema", "value"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_example_fits_its_schema(place: str, schema: dict, value: object) -> None:
    assert contract.violations(DOCUMENT, schema, value) == []


def test_validator_sees_a_wrong_example() -> None:
    schema = {"$ref": "#/components/schemas/StoreResult"}
    value = copy.deepcopy(DOCUMENT["components"]["examples"]["StoreResult"]["value"])
    assert contract.violations(DOCUMENT, schema, value) == []
    assert contract.violations(DOCUMENT, schema, value | {"surprise": 1})
    assert contract.violations(DOCUMENT, schema, value | {"timestamp": "yesterday"})
    del value["sha256"]
    assert contract.violations(DOCUMENT, schema, value)


def test_every_typed_body_has_an_example() -> None:
    bare = []
    for path, method, operation in contract.operations(DOCUMENT):
        bodies = {"request": contract.resolve(DOCUMENT, operation.get("requestBody", {}))}
        for status, response in operation["responses"].items():
            bodies[status] = contract.resolve(DOCUMENT, response)
        for name, body in bodies.items():
            for media_type, content in body.get("content", {}).items():
                if "schema" in content and not content.get("examples"):
                    bare.append(f"{method} {path} {name} {media_type}")
    assert bare == []


def test_operations_are_named_once_and_grouped() -> None:
    named = [operation["operationId"] for _, _, operation in contract.operations(DOCUMENT)]
    assert len(named) == len(set(named))
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for path, method, operation in contract.operations(DOCUMENT):
        assert operation["summary"], f"{method} {path}"
        assert set(operation["tags"]) <= tags, f"{method} {path}"


def test_every_problem_code_is_explained_and_used() -> None:
    code = DOCUMENT["components"]["schemas"]["ProblemCode"]
    explained = dict(re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", code["description"], re.MULTILINE))
    assert list(explained) == code["enum"]
    shown = {}
    for _, schema, value in EXAMPLES:
        if isinstance(value, dict) and "code" in value and "status" in value:
            shown[value["code"]] = str(value["status"])
            slug = value["code"].lower().replace("_", "-")
            assert value["type"] == f"urn:proof-storage:problem:{slug}"
    assert shown == explained


def test_key_pattern_follows_the_rules_of_keys() -> None:
    schema = {"$ref": "#/components/schemas/Key"}
    good = ["a/b.json", "urn:c2pa:5f1f6a2e-0000", "ü.c2pa", "a b?c#d%", "...", "a/.b", "..a/b.."]
    good += [".proof-storage-not", "a/.proof-storage/b", "k" * 1017]
    bad = ["", "/a", "a/", "a//b", "a/./b", "..", ".", "a/..", "a\0b", "a\x85b", "a\x7f"]
    bad += [".proof-storage", ".proof-storage/x", "k" * 1018]
    assert [key for key in good if contract.violations(DOCUMENT, schema, key)] == []
    assert [key for key in bad if not contract.violations(DOCUMENT, schema, key)] == []
