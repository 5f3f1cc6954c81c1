"""Hundreds of broken requests, byte by byte wrong: none brings the service down or out of its words.

Made from sound requests by a generator with a fixed seed; a failing one is named by its number.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests

from service import Service
from wire import Connection

SEED = 20261124
REQUESTS = 600
AT_ONCE = 16


def post(path: str, body: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


SOUND = [
    b"PUT /v1/proofs/hostile/a.json HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8\r\n"
    b"Proof-Meta-A: b\r\nProof-Tags: a=b&c=d\r\n\r\n{\"a\": 1}",
    b"PUT /v1/proofs/hostile/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /v1/proofs/hostile/a.json HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\nAccept-Encoding: gzip;q=0.5\r\n\r\n",
    b"GET /v1/proofs?prefix=hostile/&delimiter=/&limit=10 HTTP/1.1\r\nHost: x\r\n\r\n",
    post("/v1/copy", '{"source":"hostile/a.json","destination":"hostile/copy-of-it"}'),
    b"HEAD /v1/proofs/hostile/a.json HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"a\", W/\"b\"\r\n\r\n",
    post("/v1/signed-urls", '{"key":"a/b","method":"GET"}'),
    b"GET /v1/signed/AAAAAAAA/hostile/a.json HTTP/1.1\r\nHost: x\r\n\r\n",
    b"DELETE /v1/proofs/hostile/none HTTP/1.1\r\nHost: x\r\nIf-Match: \"a\"\r\n\r\n",
]
# RFC 9113 §3.4, then an empty SETTINGS frame and a HEADERS frame of a GET.
HTTP2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    b"\x00\x00\x0b\x01\x05\x00\x00\x00\x01\x82\x86\x44\x07/health"
)
MORSELS = [b"\r\n", b"\n", b"\0", b"\r\n\r\n", b":", b" ", b"%", b"%00", b"%2e%2e/", b"../", b"\xff\xfe", b"\"", b","]
MORSELS += [b"Transfer-Encoding: chunked\r\n", b"Content-Length: 9\r\n", b"Content-Encoding: gzip\r\n", b"Host: y\r\n"]
MORSELS += [b"99999999999999999999", b"-1", b"0" * 300, b"A" * 5000, b"Connection: Upgrade\r\nUpgrade: h2c\r\n"]
SETTINGS = {
    # What is cut short must end soon.
    "STORAGE_HEADER_TIMEOUT": "300",
    "STORAGE_BODY_TIMEOUT": "300",
    "STORAGE_IDLE_TIMEOUT": "300",
}


def broken(number: int) -> bytes:
    """A request with one to four injuries."""
    rng = random.Random(SEED + number)
    request = bytearray(rng.choice([*SOUND, HTTP2]))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(request))
        match rng.randrange(5):
            case 0:
                request[at] ^= 1 << rng.randrange(8)
            case 1:
                request[at] = rng.randrange(256)
            case 2:
                del request[at : at + rng.randint(1, 20)]
            case 3:
                request[at:at] = rng.choice(MORSELS)
            case 4:
                request += request[at:]
        request = request or bytearray(b" ")
    return bytes(request)


def answers(service: Service, request: bytes) -> bytes:
    """All that comes back until the service ends the connection, which it must."""
    with Connection(service.port) as connection:
        connection.send(request)
        return connection.rest()


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.MULTILINE)]


def test_broken_requests_get_refusals_and_no_more(start: Callable[..., Service]) -> None:
    service = start(**SETTINGS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        got = list(pool.map(lambda number: answers(service, broken(number)), range(REQUESTS)))
    seen = {number: statuses(answer) for number, answer in enumerate(got)}
    allowed = {*range(200, 500), 501}
    assert {n: s for n, s in seen.items() if not set(s) <= allowed} == {}
    # They did reach it: most were answered, and with refusals of several kinds.
    assert sum(1 for s in seen.values() if s) > REQUESTS / 2
    assert len({status for s in seen.values() for status in s if status >= 400}) >= 5
    assert "panic" not in service.log_text()
    assert requests.get(f"{service.url}/health/ready", timeout=10).status_code == 200
    assert service.process is not None and service.process.poll() is None


def test_control_sound_requests_are_served(start: Callable[..., Service]) -> None:
    service = start(**SETTINGS)
    expected = [201, 201, 206, 200, 201, 200, 201, 403, 412]
    assert [statuses(answers(service, request)) for request in SOUND] == [[status] for status in expected]
    with Connection(service.port) as connection:
        connection.send(HTTP2)
        # HEADERS with END_HEADERS on stream 1.
        assert connection.until(b"\x01\x04\x00\x00\x00\x01")


def test_control_reader_of_statuses_sees_them() -> None:
    assert statuses(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n") == [200, 500]
