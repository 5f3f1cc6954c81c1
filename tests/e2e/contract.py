"""openapi.yaml as the tests use it: loaded once, with validators for its parts.

`violations` is the one question every suite asks: does this value fit that schema?
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "openapi.yaml"
METHODS = ("get", "head", "put", "post", "delete", "patch", "options", "trace")


def load() -> dict[str, Any]:
    """The document as plain values."""
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


def resolve(document: dict[str, Any], node: Any) -> Any:
    """Follows `$ref` until the node itself is at hand."""
    while isinstance(node, dict) and "$ref" in node:
        target: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def violations(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value under a schema of the document; empty where nothing is."""
    rooted = {**schema, "components": document["components"]}
    checker = Draft202012Validator(rooted, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(value)]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every (path, method, operation)."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def examples(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every (place, schema, example): of parameters, headers, media types and schemas."""
    yield from _examples_below(document, document, "#")


def _examples_below(
    document: dict[str, Any], node: Any, place: str
) -> Iterator[tuple[str, dict[str, Any], Any]]:
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _examples_below(document, item, f"{place}/{index}")
    if not isinstance(node, dict):
        return
    schema = node.get("schema")
    if isinstance(schema, dict):
        if "example" in node:
            yield f"{place}/example", schema, node["example"]
        for name, example in (node.get("examples") or {}).items():
            yield f"{place}/examples/{name}", schema, resolve(document, example)["value"]
    elif isinstance(node.get("examples"), list):
        for index, value in enumerate(node["examples"]):
            yield f"{place}/examples/{index}", node, value
    for name, child in node.items():
        if name not in ("example", "examples", "value"):
            yield from _examples_below(document, child, f"{place}/{name}")
