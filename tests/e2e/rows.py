"""The HTTP contract as a table: requests, and the statuses and problems that answer them.

`play` runs a row against any service and gives a transcript of the answers, without what must differ
between two stores (times, names of versions and providers, latencies). The same row gives the same
transcript, whatever keeps the proofs.

In paths, header values and JSON `@` stands for a folder of the row's own, and `{name}` for what an
earlier step of the row kept.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import contract
from wire import Answer, Connection

DOCUMENT = contract.load()
PROBLEM = "application/problem+json"

MANIFEST = json.dumps({"claim": [{"n": n, "label": "c2pa.hash.data"} for n in range(400)]}).encode()
PACKED = gzip.compress(MANIFEST, mtime=0)
STORE = bytes(range(256)) * 40
#: Beyond what is held in memory: it is spooled, and goes to S3 in parts.
LARGE = hashlib.shake_256(b"large").digest(9_000_000)
NONE = '"0000"'
PAST = "Mon, 01 Jan 2024 00:00:00 GMT"
FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT"

#: What two stores rightly say otherwise, wherever it stands in a JSON document.
VARYING = {
    "provider",
    "timestamp",
    "last_modified",
    "version_id",
    "expires_at",
    "instance",
    "detail",
    "next_cursor",
}
#: The same of headers; all others are compared.
VARYING_HEADERS = {"date", "last-modified", "x-request-id"}


@dataclass(frozen=True)
class Step:
    """One request and what answers it."""

    method: str
    path: str
    status: int
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    #: Name under which the row goes on with something of the answer, and the JSON field that it is.
    keep: tuple[str, str] | None = None
    #: Compares no values of the answer's JSON, or only the members of these names.
    only: tuple[str, ...] | None = None


def put(name: str, body: bytes, status: int, code: str | None = None, **headers: str) -> Step:
    keep = ("etag", "etag") if status in (200, 201) else None
    return Step("PUT", f"/v1/proofs/@/{name}", status, code, _fields(headers), body, keep)


def get(name: str, status: int, code: str | None = None, **headers: str) -> Step:
    return Step("GET", f"/v1/proofs/@/{name}", status, code, _fields(headers))


def head(name: str, status: int, **headers: str) -> Step:
    return Step("HEAD", f"/v1/proofs/@/{name}", status, headers=_fields(headers))


def delete(name: str, status: int, code: str | None = None, **headers: str) -> Step:
    return Step("DELETE", f"/v1/proofs/@/{name}", status, code, _fields(headers))


def post(path: str, document: Any, status: int, code: str | None = None, **more: Any) -> Step:
    body = json.dumps(document).encode()
    return Step("POST", f"/v1/{path}", status, code, {"Content-Type": "application/json"}, body, **more)


def look(path: str, status: int = 200, code: str | None = None, **more: Any) -> Step:
    return Step("GET", path, status, code, **more)


def _fields(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def digest(body: bytes) -> str:
    return f"sha-256=:{b64encode(hashlib.sha256(body).digest()).decode()}:"


def announced(method: str, path: str, **headers: str) -> Step:
    """A body that is too large, by its length alone."""
    length = {"Content-Length": "999999999999", "Expect": "100-continue"}
    return Step(method, path, 413, "TOO_LARGE", length | _fields(headers))


GZIP = {"accept_encoding": "gzip"}
#: A listing of S3 does not say what only the object's own metadata has.
LISTED = ("items", "key", "stored_size", "common_prefixes")

ROWS: dict[str, list[Step]] = {
    "PUT: written once": [
        put("k.json", MANIFEST, 201),
        put("k.json", MANIFEST, 200),
        put("k.json", b"{}", 409, "ALREADY_EXISTS"),
        put("k.json", MANIFEST, 412, "PRECONDITION_FAILED", if_none_match="*"),
        get("k.json", 200),
        put("new.json", b"{}", 201, if_none_match="*"),
    ],
    "PUT: replaced by name": [
        put("k.c2pa", STORE, 201),
        put("k.c2pa", b"wrong", 412, "PRECONDITION_FAILED", if_match=NONE),
        get("k.c2pa", 200),
        put("k.c2pa", b"second", 200, if_match="{etag}"),
        get("k.c2pa", 200),
        put("absent", b"x", 412, "PRECONDITION_FAILED", if_match=NONE),
        get("absent", 404, "NOT_FOUND"),
    ],
    "PUT: conditions that make no sense": [
        put("k", b"x", 400, "INVALID_REQUEST", if_match="*"),
        put("k", b"x", 400, "INVALID_REQUEST", if_none_match=NONE),
        put("k", b"x", 400, "INVALID_REQUEST", if_match=NONE, if_none_match="*"),
        get("k", 404, "NOT_FOUND"),
    ],
    "PUT: what comes with a proof": [
        put(
            "k",
            b"text",
            201,
            content_type="text/plain; charset=utf-8",
            cache_control="public, max-age=60",
            proof_meta_signer="Zoë",
            proof_meta_empty="",
            proof_tags="type=proof&version=1.0",
        ),
        get("k", 200),
        head("k", 200),
        look("/v1/metadata/@/k"),
    ],
    "PUT: digests": [
        put("r", b"abc", 201, repr_digest=digest(b"abc"), content_digest=digest(b"abc")),
        put("w", b"abd", 400, "DIGEST_MISMATCH", repr_digest=digest(b"abc")),
        put("w", b"abd", 400, "DIGEST_MISMATCH", content_digest=digest(b"abc")),
        put("w", b"abd", 400, "INVALID_REQUEST", repr_digest="sha-256=:abc:"),
        get("w", 404, "NOT_FOUND"),
    ],
    "PUT: gzip is a coding": [
        put("k.json", PACKED, 201, content_encoding="gzip"),
        put("k.json", MANIFEST, 200),
        get("k.json", 200),
        get("k.json", 200, **GZIP),
        put("n.json", b"plain", 400, "INVALID_REQUEST", content_encoding="gzip"),
        put("n.json", PACKED[:-1], 400, "INVALID_REQUEST", content_encoding="gzip"),
        put("n.json", MANIFEST, 415, "UNSUPPORTED_MEDIA_TYPE", content_encoding="br"),
        get("n.json", 404, "NOT_FOUND"),
    ],
    "PUT: the form at rest": [
        put("i.json", MANIFEST, 201, proof_compression="identity"),
        get("i.json", 200, **GZIP),
        put("g.png", MANIFEST, 201, proof_compression="gzip"),
        get("g.png", 200, **GZIP),
        get("g.png", 200),
        put("p.png", MANIFEST, 201),
        get("p.png", 200, **GZIP),
        put("c.c2pa", MANIFEST, 400, "INVALID_REQUEST", proof_compression="gzip"),
        put("c.json", MANIFEST, 400, "INVALID_REQUEST", proof_compression="zstd"),
    ],
    "PUT: what is too much or unknown": [
        announced("PUT", "/v1/proofs/@/k"),
        put("k", b"x", 400, "INVALID_REQUEST", proof_tag="a=b"),
        put("k", b"x", 400, "INVALID_REQUEST", proof_tags="&".join(f"t{n}=v" for n in range(11))),
        put("k", b"x", 400, "INVALID_REQUEST", proof_encryption="rot13"),
        put("k", b"x", 501, "UNSUPPORTED", proof_encryption="envelope"),
        get("k", 404, "NOT_FOUND"),
    ],
    "PUT: a proof of no bytes": [
        put("k", b"", 201),
        get("k", 200),
        head("k", 200),
        get("k", 416, "RANGE_NOT_SATISFIABLE", range="bytes=0-"),
    ],
    "PUT: a large proof": [
        put("k.c2pa", LARGE, 201),
        put("k.c2pa", LARGE, 200),
        put("k.c2pa", LARGE[:-1], 409, "ALREADY_EXISTS"),
        get("k.c2pa", 200),
        get("k.c2pa", 206, range="bytes=8388600-8388620"),
        head("k.c2pa", 200),
    ],
    "keys: decoded once and never normalised": [
        put("urn%3Ac2pa%3A1", b"urn", 201),
        get("urn:c2pa:1", 200),
        put("x%2Fy", b"slash", 201),
        get("x/y", 200),
        put("a%252Fb", b"literal", 201),
        get("a%252Fb", 200),
        get("a/b", 404, "NOT_FOUND"),
        put("%C3%A9", b"composed", 201),
        get("e%CC%81", 404, "NOT_FOUND"),
        put("a%20b%2B%25%23%3F%26.json", b"{}", 201),
        get("a%20b+%25%23%3F%26.json", 200),
        look("/v1/proofs?prefix=@/", only=LISTED),
    ],
    "keys: refused": [
        *(
            step
            for path in ("a//b", "a/..", "a/%2e%2e/b", "a/", "a%00b", "%FF", "%zz", "a%C2%85", "k" * 1018)
            for step in (
                put(path, b"x", 400, "INVALID_KEY"),
                get(path, 400, "INVALID_KEY"),
                head(path, 400),
                delete(path, 400, "INVALID_KEY"),
            )
        ),
        look("/v1/proofs/.proof-storage/inventory", 400, "INVALID_KEY"),
        Step("PUT", "/v1/proofs/.proof-storage/x", 400, "INVALID_KEY", body=b"x"),
        look("/v1/metadata/.proof-storage/x", 400, "INVALID_KEY"),
    ],
    "POST: a key of the service's making": [
        Step(
            "POST",
            "/v1/proofs",
            201,
            headers={"Content-Type": "application/c2pa"},
            body=STORE,
            keep=("key", "key"),
        ),
        look("/v1/proofs/{key}"),
        Step("DELETE", "/v1/proofs/{key}", 204),
        Step("POST", "/v1/proofs", 400, "DIGEST_MISMATCH", {"Repr-Digest": digest(b"abc")}, b"abd"),
        Step("POST", "/v1/proofs", 415, "UNSUPPORTED_MEDIA_TYPE", {"Content-Encoding": "br"}, b"x"),
        Step("POST", "/v1/proofs", 501, "UNSUPPORTED", {"Proof-Encryption": "envelope"}, b"x"),
        announced("POST", "/v1/proofs"),
    ],
    "GET: in either form": [
        put("k.json", MANIFEST, 201),
        get("k.json", 200),
        get("k.json", 200, **GZIP),
        get("k.json", 200, accept_encoding="gzip;q=0, identity"),
        get("k.json", 200, accept_encoding="br"),
        head("k.json", 200),
        head("k.json", 200, **GZIP),
        get("absent", 404, "NOT_FOUND"),
        head("absent", 404),
    ],
    "GET: C2PA stores are never coded": [
        put("k.c2pa", MANIFEST, 201),
        get("k.c2pa", 200, **GZIP),
        get("k.c2pa", 200, content_length="0"),
        put("u", MANIFEST, 201, content_type="application/c2pa"),
        get("u", 200, **GZIP),
    ],
    "GET: conditions": [
        put("k.json", MANIFEST, 201),
        *(
            step
            for status, headers in [
                (304, {"if_none_match": "{etag}"}),
                (304, {"if_none_match": "W/{etag}"}),
                (304, {"if_none_match": f"{NONE}, " + "{etag}"}),
                (304, {"if_none_match": "*"}),
                (200, {"if_none_match": NONE}),
                (200, {"if_none_match": "{etag}", **GZIP}),
                (200, {"if_match": "{etag}"}),
                (200, {"if_match": "*"}),
                (412, {"if_match": NONE}),
                (412, {"if_match": "W/{etag}"}),
                (304, {"if_modified_since": FUTURE}),
                (200, {"if_modified_since": PAST}),
                (412, {"if_unmodified_since": PAST}),
                (200, {"if_unmodified_since": FUTURE}),
                (304, {"if_match": "{etag}", "if_none_match": "{etag}"}),
            ]
            for step in (
                get("k.json", status, "PRECONDITION_FAILED" if status == 412 else None, **headers),
                head("k.json", status, **headers),
            )
        ),
        get("absent", 404, "NOT_FOUND", if_match="*"),
        get("absent", 404, "NOT_FOUND", if_none_match="*"),
    ],
    "GET: ranges": [
        put("k.json", MANIFEST, 201),
        put("k.c2pa", STORE, 201),
        *(
            get(name, 206, range=part, **more)
            for name in ("k.json", "k.c2pa")
            for part in ("bytes=0-0", "bytes=100-199", "bytes=9000-", "bytes=-5", "bytes=-9999999")
            for more in ({}, GZIP)
        ),
        # A range is a matter of GET (RFC 9110 §14.2).
        head("k.c2pa", 200, range="bytes=5-9"),
        head("k.c2pa", 200, range="bytes=10240-"),
        get("k.c2pa", 206, range="bytes=5-9", if_range="{etag}"),
        get("k.c2pa", 200, range="bytes=5-9", if_range=NONE),
        get("k.c2pa", 200, range="bytes=0-0,5-6"),
        get("k.c2pa", 200, range="lines=1-2"),
        get("k.c2pa", 416, "RANGE_NOT_SATISFIABLE", range="bytes=10240-"),
        get("k.c2pa", 412, "PRECONDITION_FAILED", range="bytes=0-0", if_match=NONE),
        get("k.c2pa", 304, range="bytes=0-0", if_none_match="{etag}"),
    ],
    "DELETE": [
        delete("absent", 204),
        put("k", b"one", 201),
        delete("k", 412, "PRECONDITION_FAILED", if_match=NONE),
        get("k", 200),
        delete("k", 400, "INVALID_REQUEST", if_none_match="*"),
        delete("k", 204, if_match="{etag}"),
        get("k", 404, "NOT_FOUND"),
        head("k", 404),
        delete("k", 412, "PRECONDITION_FAILED", if_match="{etag}"),
        delete("k", 204),
        put("k", b"two", 201),
        get("k", 200),
    ],
    "metadata": [
        put("k.json", MANIFEST, 201, proof_meta_a="b", proof_tags="t=v"),
        look("/v1/metadata/@/k.json"),
        look("/v1/metadata/@/absent", 404, "NOT_FOUND"),
        look("/v1/metadata/@/a//b", 400, "INVALID_KEY"),
    ],
    "list": [
        *(put(name, b"x", 201) for name in ("b/2", "a", "b/1", "c/x/1", "b/10", "%C3%A9", "Z")),
        look("/v1/proofs?prefix=@/", only=LISTED),
        look("/v1/proofs?prefix=@/b", only=LISTED),
        look("/v1/proofs?prefix=@/&delimiter=/", only=LISTED),
        look("/v1/proofs?prefix=@/c&delimiter=%2F", only=LISTED),
        look("/v1/proofs?prefix=@/&limit=3", only=LISTED, keep=("cursor", "next_cursor")),
        look("/v1/proofs?prefix=@/&limit=3&cursor={cursor}", only=LISTED, keep=("cursor", "next_cursor")),
        look("/v1/proofs?prefix=@/&limit=3&cursor={cursor}", only=LISTED),
        look("/v1/proofs?prefix=@/nothing", only=LISTED),
        *(
            look(f"/v1/proofs?{query}", 400, "INVALID_REQUEST")
            for query in ("limit=0", "limit=1001", "limit=x", "cursor=%21", "limti=1", "limit=1&limit=2")
        ),
    ],
    "copy": [
        put("s.json", MANIFEST, 201, proof_meta_a="b", cache_control="no-cache", proof_tags="t=v"),
        post("copy", {"source": "@/s.json", "destination": "@/c ü+%.json"}, 201),
        get("c%20%C3%BC%2B%25.json", 200),
        look("/v1/metadata/@/c%20%C3%BC%2B%25.json"),
        get("s.json", 200),
        put("taken", b"other", 201),
        post("copy", {"source": "@/s.json", "destination": "@/taken"}, 409, "ALREADY_EXISTS"),
        post("copy", {"source": "@/s.json", "destination": "@/taken", "overwrite": True}, 409, "ALREADY_EXISTS"),
        get("taken", 200),
        post("copy", {"source": "@/absent", "destination": "@/x"}, 404, "NOT_FOUND"),
        post("copy", {"source": "@/s.json", "destination": "@/s.json"}, 400, "INVALID_REQUEST"),
        post("copy", {"source": "@/s.json", "destination": ".proof-storage/x"}, 400, "INVALID_KEY"),
        post("copy", {"source": "@/s.json"}, 400, "INVALID_REQUEST"),
        post("copy", {"source": "@/s.json", "destination": "@/x", "force": 1}, 400, "INVALID_REQUEST"),
    ],
    "bodies of calls": [
        step
        for path in ("/v1/copy", "/v1/move", "/v1/batch-delete", "/v1/signed-urls")
        for step in (
            Step("POST", path, 415, "UNSUPPORTED_MEDIA_TYPE", body=b"{}"),
            Step("POST", path, 400, "INVALID_REQUEST", {"Content-Type": "application/json"}, b"{"),
            announced("POST", path, content_type="application/json"),
        )
    ],
    "move": [
        put("s.c2pa", STORE, 201, proof_meta_a="b", proof_tags="t=v"),
        post("move", {"source": "@/s.c2pa", "destination": "@/m.c2pa"}, 201),
        get("s.c2pa", 404, "NOT_FOUND"),
        get("m.c2pa", 200),
        look("/v1/metadata/@/m.c2pa"),
        put("taken", b"other", 201),
        post("move", {"source": "@/m.c2pa", "destination": "@/taken"}, 409, "ALREADY_EXISTS"),
        get("m.c2pa", 200),
        get("taken", 200),
        post("move", {"source": "@/s.c2pa", "destination": "@/x"}, 404, "NOT_FOUND"),
        post("move", {"source": "@/m.c2pa", "destination": "@/m.c2pa"}, 400, "INVALID_REQUEST"),
        put("large.c2pa", LARGE, 201),
        post("move", {"source": "@/large.c2pa", "destination": "@/moved.c2pa"}, 201),
        get("moved.c2pa", 200),
    ],
    "batch-delete": [
        put("a", b"1", 201),
        put("b%20b", b"2", 201),
        post("batch-delete", {"keys": ["@/a", "@/never", "/bad", "@/b b", "@/a"]}, 200),
        get("a", 404, "NOT_FOUND"),
        get("b%20b", 404, "NOT_FOUND"),
        post("batch-delete", {"keys": []}, 400, "INVALID_REQUEST"),
        post("batch-delete", {"keys": ["@/n"] * 10_001}, 400, "INVALID_REQUEST"),
        post("batch-delete", {"keys": [f"@/{n}" for n in range(1001)]}, 200),
    ],
    "signed URLs of the service": [
        put("k.json", MANIFEST, 201),
        post(
            "signed-urls",
            {"key": "@/k.json", "method": "GET", "via": "service"},
            201,
            keep=("url", "url"),
            only=("method", "headers", "via"),
        ),
        look("{url}"),
        Step("GET", "{url}", 200, headers={"Accept-Encoding": "gzip"}),
        Step("GET", "{url}", 206, headers={"Range": "bytes=100-199"}),
        Step("GET", "{url}", 416, "RANGE_NOT_SATISFIABLE", {"Range": "bytes=999999-"}),
        Step("GET", "{url}", 304, headers={"If-None-Match": "{etag}"}),
        Step("GET", "{url}", 412, "PRECONDITION_FAILED", {"If-Match": NONE}),
        Step("HEAD", "{url}", 403),
        Step("PUT", "{url}", 403, "ACCESS_DENIED", body=b"x"),
        look("{url}x", 403, "ACCESS_DENIED"),
        look("{url}//x", 400, "INVALID_KEY"),
        post(
            "signed-urls",
            {"key": "@/k.json", "method": "HEAD", "via": "service"},
            201,
            keep=("url", "url"),
            only=("method", "headers", "via"),
        ),
        Step("HEAD", "{url}", 200),
        Step("HEAD", "{url}", 304, headers={"If-None-Match": "{etag}"}),
        Step("HEAD", "{url}", 412, headers={"If-Match": NONE}),
        Step("HEAD", "{url}//x", 400),
        delete("k.json", 204),
        Step("HEAD", "{url}", 404),
        post(
            "signed-urls",
            {"key": "@/k.json", "method": "GET", "via": "service"},
            201,
            keep=("url", "url"),
            only=("method", "headers", "via"),
        ),
        look("{url}", 404, "NOT_FOUND"),
        post(
            "signed-urls",
            {"key": "@/up.c2pa", "method": "PUT", "via": "service", "max_bytes": 20_000},
            201,
            keep=("url", "url"),
            only=("method", "headers", "via"),
        ),
        Step("PUT", "{url}", 413, "TOO_LARGE", body=b"x" * 20_001),
        Step("PUT", "{url}", 400, "DIGEST_MISMATCH", {"Repr-Digest": digest(b"other")}, STORE),
        Step("PUT", "{url}", 415, "UNSUPPORTED_MEDIA_TYPE", {"Content-Encoding": "br"}, STORE),
        Step("PUT", "{url}", 201, body=STORE),
        Step("PUT", "{url}", 200, body=STORE),
        Step("PUT", "{url}", 409, "ALREADY_EXISTS", body=b"other"),
        Step("PUT", "{url}", 412, "PRECONDITION_FAILED", {"If-None-Match": "*"}, STORE),
        get("up.c2pa", 200),
        post("signed-urls", {"key": "@/k", "method": "GET", "expires_in": 0}, 400, "INVALID_REQUEST"),
        post("signed-urls", {"key": "@/k", "method": "GET", "expires_in": 604_801}, 400, "INVALID_REQUEST"),
        post("signed-urls", {"key": "@/k", "method": "DELETE"}, 400, "INVALID_REQUEST"),
        post("signed-urls", {"key": ".proof-storage/x", "method": "GET"}, 400, "INVALID_KEY"),
    ],
    "watching": [
        look("/v1/stats", only=()),
        look("/v1/backends", only=()),
        look("/health", only=()),
        look("/health/ready"),
        look("/metrics", only=()),
        look("/openapi.yaml"),
        look("/docs"),
        look("/", 303),
        *(
            look(f"{path}?surprise=1", 400, "INVALID_REQUEST")
            for path in (
                "/v1/stats",
                "/v1/backends",
                "/health",
                "/health/ready",
                "/metrics",
                "/openapi.yaml",
                "/docs",
                "/",
            )
        ),
    ],
    "what is not there": [
        look("/v2/proofs", 404, "NOT_FOUND"),
        Step("PATCH", "/v1/proofs/@/k", 405, "METHOD_NOT_ALLOWED"),
        Step("DELETE", "/v1/stats", 405, "METHOD_NOT_ALLOWED"),
    ],
}


def play(port: int, row: list[Step], folder: str) -> list[dict[str, Any]]:
    """Plays a row in a folder that is still empty; gives what was answered.

    Fails at the first answer with another status or problem, or one that openapi.yaml has not.
    """
    kept = {"@": folder}
    transcript = []
    for step in row:
        answer = _send(port, _filled(step, kept))
        told = f"{step.method} {step.path} {step.headers}: {answer.status} {answer.body[:500]!r}"
        assert answer.status == step.status, told
        is_head = step.method == "HEAD"
        if step.code and not is_head:
            assert answer.headers["content-type"] == PROBLEM, told
            assert answer.json()["code"] == step.code, told
        path = urlsplit(_filled(step, kept).path).path
        assert _violations(step.method, path, answer) == [], told
        if step.keep and step.status < 300:
            name, member = step.keep
            value = answer.json()[member]
            kept["{" + name + "}"] = urlsplit(value).path if member == "url" else value
        transcript.append(_seen(step, path, answer, kept))
    return transcript


def _filled(step: Step, kept: dict[str, str]) -> Step:
    def fill(text: str) -> str:
        for name, value in kept.items():
            text = text.replace(name, value)
        return text

    body = step.body
    if step.headers.get("Content-Type") == "application/json" and body is not None:
        body = fill(body.decode()).encode()
    headers = {name: fill(value) for name, value in step.headers.items()}
    return replace(step, path=fill(step.path), headers=headers, body=body)


def _send(port: int, step: Step) -> Answer:
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "close"}
    if step.body is not None:
        fields["Content-Length"] = str(len(step.body))
    lines = [f"{step.method} {step.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (fields | step.headers).items()]
    with Connection(port) as connection:
        connection.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (step.body or b""))
        answer = connection.answer(to_head=step.method == "HEAD")
    assert answer is not None, f"{step.method} {step.path}: closed without an answer"
    return answer


def operation(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    """The operation of openapi.yaml that a request is for, with its path there."""
    for template, documented, described in contract.operations(DOCUMENT):
        pattern = re.escape(template).replace(r"\{token\}", "[^/]+").replace(r"\{key\}", ".+")
        if documented.upper() == method and re.fullmatch(pattern, path, re.DOTALL):
            return template, described
    return None


def _violations(method: str, path: str, answer: Answer) -> list[str]:
    """What openapi.yaml does not say of an answer."""
    found = operation(method, path)
    if found is None or answer.status == 405:
        return []
    _, described = found
    if str(answer.status) not in described["responses"]:
        return [f"{answer.status} is not documented"]
    response = contract.resolve(DOCUMENT, described["responses"][str(answer.status)])
    missing = [
        name
        for name, header in response.get("headers", {}).items()
        if contract.resolve(DOCUMENT, header).get("required") and name.lower() not in answer.headers
    ]
    media_type = answer.headers.get("content-type", "").split(";")[0]
    schema = response.get("content", {}).get(media_type, {}).get("schema")
    if missing or method == "HEAD" or schema is None or not media_type.endswith("json"):
        return [f"no {name}" for name in missing]
    # A proof may have any bytes, whatever its media type.
    return [] if _is_proof(path, answer) else contract.violations(DOCUMENT, schema, answer.json())


def _is_proof(path: str, answer: Answer) -> bool:
    return answer.status < 300 and path.startswith(("/v1/proofs/", "/v1/signed/")) and "etag" in answer.headers


def _seen(step: Step, path: str, answer: Answer, kept: dict[str, str]) -> dict[str, Any]:
    """What is compared of an answer."""
    headers = {name: value for name, value in answer.headers.items() if name not in VARYING_HEADERS}
    media_type = headers.get("content-type", "")
    is_document = media_type.endswith("json") and not (step.method == "GET" and _is_proof(path, answer))
    body: Any = hashlib.sha256(answer.body).hexdigest()
    if is_document or step.only == ():
        # As long as what varies in it.
        headers.pop("content-length", None)
        body = _pruned(answer.json(), step.only) if is_document and answer.body else None
    seen = {"request": f"{step.method} {step.path}", "status": answer.status, "headers": headers, "body": body}
    text = json.dumps(seen, sort_keys=True)
    # What the row or the service made up; an ETag is of the bytes.
    for name, value in kept.items():
        if name != "{etag}":
            text = text.replace(json.dumps(value)[1:-1], name)
    return json.loads(text)


def _pruned(value: Any, only: tuple[str, ...] | None) -> Any:
    if isinstance(value, list):
        return [_pruned(item, only) for item in value]
    if not isinstance(value, dict):
        return value
    if only == ():
        return sorted(value)
    return {
        name: urlsplit(member).path if name == "url" else _pruned(member, only)
        for name, member in value.items()
        if name not in VARYING and (only is None or name in only)
    }


def requests() -> Iterator[tuple[str, int]]:
    """Every operation that the table asks for, and how it is answered."""
    for row in ROWS.values():
        for step in row:
            path = "/v1/signed/t/k" if step.path.startswith("{url}") else step.path.split("?")[0]
            if found := operation(step.method, path):
                yield f"{step.method} {found[0]}", step.status
