"""Every failure that can be provoked from outside answers as openapi.yaml says, to the field."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
from collections.abc import Callable

import pytest
import requests

import contract
from service import Service
from wire import Answer, Connection

DOCUMENT = contract.load()
PROBLEM_JSON = "application/problem+json"
KEY = "/v1/proofs/{key}"
SIGNED = "/v1/signed/{token}/{key}"
JSON = {"Content-Type": "application/json"}
OTHER = base64.b64encode(hashlib.sha256(b"other").digest()).decode()

# Code, route in the document, method, path, and what is sent. `stored` holds the bytes `stored`.
FAILURES = [
    ("INVALID_KEY", KEY, "get", "/v1/proofs/a//b", {}),
    ("INVALID_KEY", KEY, "put", "/v1/proofs/.proof-storage/x", {"data": b"x"}),
    ("INVALID_KEY", KEY, "get", "/v1/proofs/%FF", {}),
    ("INVALID_KEY", KEY, "delete", "/v1/proofs/" + "k" * 1018, {}),
    ("INVALID_REQUEST", "/v1/proofs", "get", "/v1/proofs?limit=0", {}),
    ("INVALID_REQUEST", "/v1/proofs", "get", "/v1/proofs?limti=1", {}),
    ("INVALID_REQUEST", "/v1/proofs", "get", "/v1/proofs?cursor=x", {}),
    ("INVALID_REQUEST", KEY, "put", "/v1/proofs/a", {"data": b"x", "headers": {"Proof-Tag": "a=b"}}),
    ("INVALID_REQUEST", KEY, "put", "/v1/proofs/a", {"data": b"x", "headers": {"Content-Encoding": "gzip"}}),
    ("INVALID_REQUEST", "/v1/copy", "post", "/v1/copy", {"data": b"{", "headers": JSON}),
    ("INVALID_REQUEST", "/v1/batch-delete", "post", "/v1/batch-delete", {"json": {"keys": []}}),
    ("INVALID_REQUEST", "/v1/batch-delete", "post", "/v1/batch-delete", {"json": [["gone"]]}),
    ("INVALID_REQUEST", "/v1/signed-urls", "post", "/v1/signed-urls",
     {"json": {"key": "a", "method": "GET", "max_bytes": 1}}),
    ("DIGEST_MISMATCH", KEY, "put", "/v1/proofs/a",
     {"data": b"x", "headers": {"Repr-Digest": f"sha-256=:{OTHER}:"}}),
    ("ACCESS_DENIED", SIGNED, "get", "/v1/signed/AAAA/stored", {}),
    ("NOT_FOUND", KEY, "get", "/v1/proofs/absent", {}),
    ("NOT_FOUND", "/v1/metadata/{key}", "get", "/v1/metadata/absent", {}),
    ("NOT_FOUND", "/v1/move", "post", "/v1/move", {"json": {"source": "absent", "destination": "b"}}),
    ("ALREADY_EXISTS", KEY, "put", "/v1/proofs/stored", {"data": b"other"}),
    ("PRECONDITION_FAILED", KEY, "put", "/v1/proofs/stored", {"data": b"x", "headers": {"If-None-Match": "*"}}),
    ("PRECONDITION_FAILED", KEY, "get", "/v1/proofs/stored", {"headers": {"If-Match": '"x"'}}),
    ("PRECONDITION_FAILED", KEY, "delete", "/v1/proofs/stored", {"headers": {"If-Match": '"x"'}}),
    ("TOO_LARGE", KEY, "put", "/v1/proofs/large", {"data": b"x" * 2001}),
    ("UNSUPPORTED_MEDIA_TYPE", KEY, "put", "/v1/proofs/a", {"data": b"x", "headers": {"Content-Encoding": "br"}}),
    ("UNSUPPORTED_MEDIA_TYPE", "/v1/copy", "post", "/v1/copy", {"data": b"{}"}),
    ("RANGE_NOT_SATISFIABLE", KEY, "get", "/v1/proofs/stored", {"headers": {"Range": "bytes=6-"}}),
    ("UNSUPPORTED", KEY, "put", "/v1/proofs/a", {"data": b"x", "headers": {"Proof-Encryption": "aws:kms"}}),
    ("UNSUPPORTED", KEY, "put", "/v1/proofs/a", {"data": b"x", "headers": {"Proof-Storage-Class": "STANDARD_IA"}}),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    """A service that takes proofs of up to 2000 bytes and holds one."""
    settings = {"STORAGE_MAX_OBJECT_BYTES": "2000"}
    with Service(tmp_path_factory.mktemp("service"), settings) as service:
        assert requests.put(f"{service.url}/v1/proofs/stored", data=b"stored", timeout=10).status_code == 201
        yield service


def documented(route: str, method: str, status: int) -> dict:
    """The response that the document has for it."""
    operation = DOCUMENT["paths"][route][method]
    return contract.resolve(DOCUMENT, operation["responses"][str(status)])


def check(response: dict, code: str, headers: dict[str, str], body: dict) -> None:
    """A problem against the response that documents it."""
    schema = response["content"][PROBLEM_JSON]["schema"]
    assert contract.violations(DOCUMENT, schema, body) == []
    assert body["code"] == code
    assert body["instance"].endswith(headers["x-request-id"])
    for name, header in response["headers"].items():
        header = contract.resolve(DOCUMENT, header)
        assert name.lower() in headers or not header.get("required"), f"no {name}"


def raw(answer: Answer | None) -> Answer:
    assert answer is not None, "closed without an answer"
    return answer


@pytest.mark.parametrize(
    ("code", "route", "method", "path", "sent"), FAILURES, ids=[f"{f[0]} {f[2]} {f[3][:30]}" for f in FAILURES]
)
def test_failure_is_as_documented(
    small: Service, code: str, route: str, method: str, path: str, sent: dict
) -> None:
    # Prepared by hand: the library would clean up the path.
    request = requests.Request(method, small.url + path, **sent).prepare()
    request.url = small.url + path
    answer = requests.Session().send(request, timeout=10)
    assert answer.headers["Content-Type"] == PROBLEM_JSON
    assert answer.json()["status"] == answer.status_code
    headers = {name.lower(): value for name, value in answer.headers.items()}
    check(documented(route, method, answer.status_code), code, headers, answer.json())
    assert requests.get(f"{small.url}/v1/proofs/stored", timeout=10).content == b"stored"


def test_control_check_sees_a_wrong_problem(small: Service) -> None:
    answer = requests.get(f"{small.url}/v1/proofs/absent", timeout=10)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    for response, body in [
        (documented(KEY, "get", 404), answer.json() | {"code": "CORRUPT"}),
        (documented(KEY, "get", 404), answer.json() | {"secret": "x"}),
        (documented(KEY, "get", 412), answer.json()),
    ]:
        with pytest.raises(AssertionError):
            check(response, "NOT_FOUND", headers, body)
    with pytest.raises(AssertionError, match="Retry-After"):
        response = documented(KEY, "get", 404) | {"headers": documented(KEY, "get", 503)["headers"]}
        check(response, "NOT_FOUND", headers, answer.json())


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "/v1/proofs/a"), ("GET", "/v1/copy"), ("DELETE", "/v1/stats"), ("TRACE", "/health")]
)
def test_method_that_the_path_has_not(small: Service, method: str, path: str) -> None:
    answer = requests.request(method, small.url + path, timeout=10)
    assert answer.status_code == 405
    headers = {name.lower(): value for name, value in answer.headers.items()}
    check(DOCUMENT["components"]["responses"]["MethodNotAllowed"], "METHOD_NOT_ALLOWED", headers, answer.json())
    assert method not in answer.headers["Allow"]


def test_path_that_is_not_there(small: Service) -> None:
    answer = requests.get(f"{small.url}/v2/proofs", timeout=10)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert answer.status_code == 404
    check(DOCUMENT["components"]["responses"]["NotFound"], "NOT_FOUND", headers, answer.json())


def test_body_that_does_not_arrive(start: Callable[..., Service]) -> None:
    service = start(STORAGE_BODY_TIMEOUT="300")
    with Connection(service.port) as connection:
        connection.send("PUT /v1/proofs/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
        answer = raw(connection.answer())
    assert answer.status == 408
    check(documented(KEY, "put", 408), "REQUEST_TIMEOUT", answer.headers, answer.json())
    assert requests.get(f"{service.url}/v1/proofs/slow", timeout=10).status_code == 404


def test_memory_that_is_taken(start: Callable[..., Service]) -> None:
    """While uploads hold what one address may of the budget, an answer is refused, and given afterwards."""
    service = start(STORAGE_MEMORY_BUDGET=str(8 * 2**20))
    url = f"{service.url}/v1/proofs/stored"
    size = 2**20
    assert requests.put(url, data=b"x" * 10_000, timeout=10).status_code == 201
    with contextlib.ExitStack() as stack:
        uploads = [stack.enter_context(Connection(service.port)) for _ in range(6)]
        for number, upload in enumerate(uploads):
            upload.send(f"PUT /v1/proofs/{number} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n")
            upload.send(b"y" * (size - 1))
        # Until all of it has arrived.
        refused = eventually(lambda: requests.get(url, timeout=10), 503)
        headers = {name.lower(): value for name, value in refused.headers.items()}
        check(documented(KEY, "get", 503), "UNAVAILABLE", headers, refused.json())
        for upload in uploads:
            upload.send(b"y")
            assert raw(upload.answer()).status == 201
    assert requests.get(url, timeout=10).status_code == 200


def eventually(call: Callable[[], requests.Response], status: int) -> requests.Response:
    """The first answer with this status."""
    for _ in range(100):
        answer = call()
        if answer.status_code == status:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{answer.status_code}, and never {status}")


def head(fields: str) -> str:
    return f"GET /health HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n"


@pytest.mark.parametrize("fields", ["X: " + "a" * 100_000, "\r\n".join(f"X-{n}: a" for n in range(200))])
def test_head_that_is_too_large(small: Service, fields: str) -> None:
    with Connection(small.port) as connection:
        connection.send(head(fields))
        answer = raw(connection.answer())
    assert answer.status == 431
    check(documented("/health", "get", 431), "HEADERS_TOO_LARGE", answer.headers, answer.json())


@pytest.mark.parametrize("fields", ["X: " + "a" * 1_000_000, "\r\n".join(f"X-{n}: a" for n in range(1000))])
def test_head_that_the_parser_refuses(small: Service, fields: str) -> None:
    """Before there is a request: a bare status, and the connection ends."""
    with Connection(small.port) as connection:
        connection.send(head(fields))
        # The peer may reset the connection while we still send; then even the status is lost.
        assert connection.rest()[:12] in (b"HTTP/1.1 431", b"")
