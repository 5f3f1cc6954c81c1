"""Limits as clients meet them: rates, places, connections, bodies that drip, and addresses that are not called."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from fakes import fake
from faultproxy import FaultProxy
from service import Service, binary
from wire import Connection

PATIENCE_SECONDS = 60
#: Long enough for what must be seen while it lasts, and below every limit of time.
SLOW_BACKEND_MS = 3000
PAGE = "https://page.example"
GET = b"GET /v1/proofs?limit=1 HTTP/1.1\r\nHost: x\r\n\r\n"


def until(condition: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def refused(service: Service, reason: str) -> int:
    """How often, by the service's own count."""
    text = requests.get(f"{service.url}/metrics", timeout=30).text
    found = re.search(rf'^proof_storage_refused_total{{reason="{reason}"}} (\d+)', text, re.MULTILINE)
    return int(found[1]) if found else 0


def test_who_asks_too_often_is_told_when_to_come_again(start: Callable[..., Service]) -> None:
    """And others, and probes, are served."""
    service = start(STORAGE_RATE_PER_ADDRESS="6/h burst 3", STORAGE_WRITE_RATE_PER_ADDRESS="1/h")
    with requests.Session() as session:
        session.headers["Origin"] = PAGE
        put = session.put(f"{service.url}/v1/proofs/a", data=b"proof")
        assert (put.status_code, put.headers["RateLimit"]) == (201, '"address";r=2;t=600, "address-writes";r=0;t=3600')
        put = session.put(f"{service.url}/v1/proofs/b", data=b"proof")
        assert (put.status_code, put.json()["code"]) == (429, "RATE_LIMITED")
        assert "address-writes" in put.json()["detail"]
        got = session.get(f"{service.url}/v1/proofs/a")
        assert (got.status_code, got.content) == (200, b"proof")
        answer = session.get(f"{service.url}/v1/proofs/a")
        assert (answer.status_code, answer.json()["code"]) == (429, "RATE_LIMITED")
        assert 1 <= int(answer.headers["Retry-After"]) <= 600
        assert answer.headers["RateLimit-Policy"] == '"address";q=3;w=1800'
        assert answer.headers["RateLimit"].startswith('"address";r=0;t=')
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        for path in ("/health", "/health/ready"):
            assert session.get(f"{service.url}{path}").status_code == 200, path
        # The same connection, which was not closed for any of it.
        assert session.get(f"{service.url}/v1/proofs/a").status_code == 429
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS, ("127.0.0.2", 0)) as other:
        other.sendall(GET)
        assert other.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_an_address_has_so_many_connections(start: Callable[..., Service]) -> None:
    service = start(STORAGE_MAX_CONNECTIONS_PER_ADDRESS="3")
    # Those of its start are gone.
    held: list[Connection] = []

    def is_served() -> bool:
        connection = Connection(service.port)
        connection.send(GET)
        try:
            answer = connection.answer()
        except ConnectionResetError:
            answer = None
        if answer is None:
            connection.socket.close()
            return False
        assert answer.status == 200
        held.append(connection)
        return True

    try:
        for _ in range(3):
            assert until(is_served)
        assert not is_served()
        with socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS, ("127.0.0.2", 0)) as other:
            other.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            metrics = b"".join(iter(lambda: other.recv(65536), b""))
        assert b'proof_storage_refused_total{reason="address_connections"} ' in metrics
        held.pop().socket.close()
        assert until(is_served), "a place that was left is free"
    finally:
        for connection in held:
            connection.socket.close()
    # The control.
    unlimited = start()
    connections = [Connection(unlimited.port) for _ in range(8)]
    for connection in connections:
        connection.send(GET)
    for connection in connections:
        answer = connection.answer()
        assert answer is not None and answer.status == 200
        connection.socket.close()


def test_what_is_too_much_at_once_is_refused(start: Callable[..., Service]) -> None:
    """While a slow backend keeps the only place, others are told to come again, and probes are served."""
    with fake("aws") as bucket, FaultProxy(int(bucket.endpoint.rsplit(":", 1)[1])) as wire:
        settings = bucket.settings() | {"STORAGE_ENDPOINT": wire.endpoint, "STORAGE_DARK_AFTER": "60000"}
        few = start(**settings, STORAGE_MAX_REQUESTS="1")
        many = start(**settings)
        requests.put(f"{few.url}/v1/proofs/a", data=b"proof", timeout=30).raise_for_status()

        def while_it_is_slow(service: Service) -> tuple[list[requests.Response], requests.Response]:
            """What others got until the slow one had its answer, and that."""
            wire.tell(f"fault delay={SLOW_BACKEND_MS} times=1000000")
            with ThreadPoolExecutor(1) as pool:
                slow = pool.submit(requests.get, f"{service.url}/v1/proofs/a", timeout=PATIENCE_SECONDS)
                others = []
                while not slow.done():
                    others.append(requests.get(f"{service.url}/openapi.yaml", timeout=30))
                    health = requests.get(f"{service.url}/health/ready", timeout=30)
                    assert health.status_code in (200, 503) and "Retry-After" not in health.headers
            wire.tell("clear")
            return others, slow.result()

        others, slow = while_it_is_slow(few)
        assert (slow.status_code, slow.content) == (200, b"proof")
        sent_away = [answer for answer in others if answer.status_code == 503]
        assert sent_away and {answer.status_code for answer in others} <= {200, 503}
        for answer in sent_away:
            assert answer.json()["code"] == "UNAVAILABLE" and int(answer.headers["Retry-After"]) >= 1
        assert refused(few, "overload") == len(sent_away)
        again = requests.get(f"{few.url}/v1/proofs/a", timeout=30)
        assert (again.status_code, again.content) == (200, b"proof")
        # The control.
        others, slow = while_it_is_slow(many)
        assert slow.status_code == 200 and {answer.status_code for answer in others} == {200}


def drip(service: Service, pieces: int) -> tuple[int, bytes]:
    """A body that comes a byte each quarter of a second: its answer, and the bytes that were sent by then."""
    with Connection(service.port) as connection:
        connection.send(f"PUT /v1/proofs/slow HTTP/1.1\r\nHost: x\r\nContent-Length: {pieces}\r\n\r\n")
        ended = threading.Event()

        def send() -> None:
            for _ in range(pieces):
                if ended.wait(0.25):
                    return
                connection.send(b"x")

        sender = threading.Thread(target=send)
        sender.start()
        answer = connection.answer()
        ended.set()
        sender.join()
        assert answer is not None
        return answer.status, answer.body


def test_a_body_that_drips_is_cut_off(start: Callable[..., Service]) -> None:
    guarded = start(STORAGE_BODY_TIMEOUT="2000")
    # The control: the same body, where any rate will do.
    patient = start(STORAGE_BODY_TIMEOUT="2000", STORAGE_MIN_UPLOAD_RATE="0")
    with ThreadPoolExecutor(2) as pool:
        (status, body), (taken, _) = pool.map(drip, (guarded, patient), (1000, 60))
    assert status == 408 and b"STORAGE_MIN_UPLOAD_RATE" in body
    assert refused(guarded, "slow_upload") == 1
    assert requests.get(f"{guarded.url}/v1/proofs/slow", timeout=30).status_code == 404
    assert taken == 201
    assert requests.get(f"{patient.url}/v1/proofs/slow", timeout=30).content == b"x" * 60


def test_metadata_services_are_no_backends(tmp_path: Path) -> None:
    """The machine's credentials are at such addresses: a service that would call them does not start."""

    def told(command: list[str], **settings: str) -> tuple[int, str]:
        environment = {"STORAGE_DATA_DIR": str(tmp_path / "data"), "STORAGE_LISTEN": "127.0.0.1:0"} | settings
        done = subprocess.run([binary(), *command], env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    bucket = {"STORAGE_PROVIDER": "s3", "STORAGE_BUCKET": "proofs", "STORAGE_ACCESS_KEY_ID": "a"}
    bucket |= {"STORAGE_SECRET_ACCESS_KEY": "b", "STORAGE_REGION": "eu-central-1"}
    guises = ["169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200"]
    for host in guises:
        code, text = told(["serve"], **bucket, STORAGE_ENDPOINT=f"http://{host}")
        assert code == 2 and "STORAGE_ENDPOINT" in text and "STORAGE_ALLOW_LINK_LOCAL" in text, (host, text)
    assert not (tmp_path / "data").exists(), "nothing was begun"
    # The controls: where it is allowed, and of an address that is nobody's secret.
    for host, allowed in ((guises[0], "true"), ("192.0.2.1", "false")):
        settings = bucket | {"STORAGE_ENDPOINT": f"http://{host}", "STORAGE_ALLOW_LINK_LOCAL": allowed}
        code, text = told(["check-config"], **settings)
        assert code == 0, text
