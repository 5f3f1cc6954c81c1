"""What happens on the connection itself: framing, waiting, protocol versions, draining."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from collections.abc import Callable

import pytest
import requests

from service import Service
from wire import Connection

# Ambiguous or hostile framings. Whoever stands before the service may see one request where it
# could see two; so none of the bytes after the head may ever be taken for a request.
# `{n}` is the length of the smuggled request.
PREFIXES = {
    "both lengths, chunked last": "POST /v1/copy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    "Content-Length: {n}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, chunked first": "POST /v1/copy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    "Transfer-Encoding: chunked\r\nContent-Length: {n}\r\n\r\n0\r\n\r\n",
    "space before the colon": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n"
    "Content-Length: 5\r\n\r\n0\r\n\r\n",
    "coding that only looks like chunked": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\n"
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\n"
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "vertical tab": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\n"
    "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded coding": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n"
    "Content-Length: {n}\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 with chunks": "PUT /v1/proofs/{key} HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n"
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {n}\r\n\r\n",
    "list of lengths": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 0, {n}\r\n\r\n",
    "signed length": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
    "negative length": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length in hexadecimal": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 0x0\r\n\r\n",
    "length past 64 bits": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551616\r\n\r\n",
    "chunk size past 64 bits": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    "10000000000000000\r\n\r\n",
    "chunk size with 0x": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "negative chunk size": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-0\r\n\r\n",
    "bare line feed in an extension": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    "2;\nxx\r\n0\r\n\r\n",
    "chunk longer than it says": "PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    "1\r\nab\r\n0\r\n\r\n",
    "body of a refused PUT": "PUT /v1/proofs/a//b HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n",
    "body of a PUT that awaits 100": "PUT /v1/proofs/a//b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    "Content-Length: {n}\r\n\r\n",
    "body of a GET": "GET /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n",
    "body of a HEAD": "HEAD /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n",
    "body of a DELETE": "DELETE /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n",
    "body of an unknown method": "FROB /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n",
    "body of no known path": "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n",
    "body of an upgrade to HTTP/2": "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: {n}\r\n\r\n",
    "line feed in a header": "GET /health HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: {n}\r\n\r\n",
    "null in a header": "GET /health HTTP/1.1\r\nHost: x\r\nX: a\0\r\nContent-Length: {n}\r\n\r\n",
}


def is_stored(service: Service, key: str) -> bool:
    status = requests.get(f"{service.url}/v1/proofs/{key}", timeout=10).status_code
    assert status in (200, 404)
    return status == 200


def smuggle(service: Service, prefix: str) -> tuple[bool, bytes]:
    """Sends a PUT behind a prefix. Gives whether it was taken for a request, and all answers.

    A last request that closes the connection follows, so that all before it was dealt with when the
    connection ends. Closing our half instead would end it too early.
    """
    key = f"wire/{uuid.uuid4()}"
    hidden = f"PUT /v1/proofs/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    head = prefix.replace("{n}", str(len(hidden))).replace("{key}", f"wire/{uuid.uuid4()}")
    with Connection(service.port) as connection:
        connection.send(head + hidden)
        connection.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = connection.rest()
    return is_stored(service, key), answers


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_no_prefix_smuggles_a_second_request(service: Service, prefix: str) -> None:
    was_taken, answers = smuggle(service, prefix)
    assert not was_taken, answers
    assert answers.startswith(b"HTTP/1.1 "), answers
    assert b"HTTP/1.1 5" not in answers


def test_control_second_request_of_a_clear_pipeline_is_seen(service: Service) -> None:
    """The same second request after an unambiguous first one is served, so the test above can fail."""
    was_taken, answers = smuggle(service, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert was_taken
    assert answers.count(b"HTTP/1.1 20") == 3, answers


def test_slow_headers_are_cut_off(start: Callable[..., Service]) -> None:
    service = start(STORAGE_HEADER_TIMEOUT="500")
    with Connection(service.port) as silent, Connection(service.port) as slow:
        slow.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Never: ")
        # The peer ends both: a read that got nothing within SECONDS would raise.
        for connection in (silent, slow):
            ended = connection.rest()
            assert not ended.startswith(b"HTTP/1.1 2"), ended
    assert requests.get(f"{service.url}/health", timeout=10).status_code == 200


def test_control_headers_in_pieces_are_served(service: Service) -> None:
    with Connection(service.port) as connection:
        for piece in ("GET /hea", "lth HTTP/1.1\r\nHo", "st: x\r\n\r", "\n"):
            connection.send(piece)
        assert connection.answer().status == 200


def test_http2_by_prior_knowledge(service: Service) -> None:
    url = f"{service.url}/v1/proofs/wire/{uuid.uuid4()}"
    body = b"over http/2"
    curl = ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--write-out", "\n%{http_version} %{http_code}"]
    put = subprocess.run([*curl, "--upload-file", "-", url], input=body, capture_output=True, check=True)
    assert put.stdout.splitlines()[-1] == b"2 201", put
    get = subprocess.run([*curl, url], capture_output=True, check=True)
    assert get.stdout == body + b"\n2 200"


def test_expect_continue(service: Service) -> None:
    body = b"x" * 1_000_000
    with Connection(service.port) as connection:
        connection.send(
            f"PUT /v1/proofs/wire/{uuid.uuid4()} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        assert connection.answer().status == 100
        connection.send(body)
        answer = connection.answer()
    assert answer.status == 201
    assert hashlib.sha256(body).hexdigest().encode() in answer.body


def test_refusal_comes_instead_of_continue(service: Service) -> None:
    """Who asks first learns that the body is not wanted before sending it."""
    with Connection(service.port) as connection:
        connection.send(
            "PUT /v1/proofs/wire/large HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            "Content-Length: 999999999999\r\n\r\n"
        )
        assert connection.answer().status == 413


def test_head_has_no_body(service: Service) -> None:
    key = f"wire/{uuid.uuid4()}"
    assert requests.put(f"{service.url}/v1/proofs/{key}", data=b"twelve bytes", timeout=10).ok
    for path, status in ((key, 200), (f"{key}-absent", 404), ("a//b", 400)):
        with Connection(service.port) as connection:
            connection.send(f"HEAD /v1/proofs/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = connection.answer(to_head=True)
            assert answer.status == status
            assert connection.rest() == b""
        if status == 200:
            assert answer.headers["content-length"] == "12"


def test_sigterm_finishes_what_has_begun(start: Callable[..., Service]) -> None:
    """The upload under way is answered, the process ends with 0, and the proof is there after."""
    service = start()
    body = b"y" * 3_000_000
    with Connection(service.port) as connection:
        connection.send(
            "PUT /v1/proofs/drained HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        # It waits for the body now.
        assert connection.answer().status == 100
        connection.send(body[:1_000_000])
        service.terminate()
        connection.send(body[1_000_000:])
        answer = connection.answer()
        assert answer is not None and answer.status == 201
        assert connection.rest() == b""
    assert service.wait() == 0
    service.start()
    assert requests.get(f"{service.url}/v1/proofs/drained", timeout=10).content == body


def test_readiness_goes_before_the_listener(start: Callable[..., Service]) -> None:
    """With a drain delay, probes see 503 while requests are still served."""
    service = start(STORAGE_DRAIN_DELAY="3000")
    assert requests.get(f"{service.url}/health/ready", timeout=10).status_code == 200
    service.terminate()
    while (ready := requests.get(f"{service.url}/health/ready", timeout=10)).status_code == 200:
        pass
    assert ready.status_code == 503
    assert ready.json()["ready"] is False
    assert requests.put(f"{service.url}/v1/proofs/late", data=b"late", timeout=10).status_code == 201
    assert service.wait() == 0


def test_one_process_per_data_directory(start: Callable[..., Service], tmp_path) -> None:
    first = start()
    with pytest.raises(RuntimeError, match="did not become ready"):
        start(STORAGE_DATA_DIR=str(first.directory / "data"))
    assert requests.get(f"{first.url}/health/ready", timeout=10).status_code == 200
