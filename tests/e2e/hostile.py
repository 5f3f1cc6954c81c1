"""Plays hostile requests to running services, and says what was wrong with what came back.

Every case must be answered within its class, with no more answers than it may have, and leave nothing that it
hid in its body; and the service must answer `/health` right after. `Stage.play` gives the faults of one case
as texts, so that a control can ask for them.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter, Retry

from hostile_cases import OPEN, Case
from service import Service, binary
from wire import Connection

SETTINGS = {
    # What is cut short must end soon.
    "STORAGE_HEADER_TIMEOUT": "400",
    "STORAGE_BODY_TIMEOUT": "400",
    "STORAGE_IDLE_TIMEOUT": "400",
    "STORAGE_MAX_OBJECT_BYTES": "1000000",
    "STORAGE_LOG": "info",
}
# The time limits above are short: on a busy machine a request can come after them.
ATTEMPTS = 5
SECRET = b"only for those who may read it"
# A name that no answer may send anybody to.
EVIL = b"evil.example"
HIDDEN = "PUT /v1/proofs/{key}-hidden HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 2\r\n\r\nhi"


@dataclass(frozen=True)
class Stage:
    """A service that asks nobody, one that does, and what opens the latter."""

    services: dict[str, Service]
    token: str
    url: str

    def play(self, case: Case) -> list[str]:
        """Everything that is wrong with the answers to a case.

        Nothing, or 408, where it is not expected: then the request may have come too late, and is sent again.
        """
        service = self.services[case.service]
        for attempt in range(ATTEMPTS):
            key = "hostile/" + hashlib.sha256(f"{case.name} {attempt}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
            with Connection(service.port) as connection:
                connection.send(self.filled(case, key))
                answers = connection.rest()
            late = set(statuses(answers) or [0]) & {0, 408}
            if late <= case.expect:
                break
        found = statuses(answers)
        faults = []
        if wrong := set(found or [0]) - case.expect - {100}:
            faults.append(f"answered {sorted(wrong)}")
        if len([status for status in found if status != 100]) > case.answers:
            faults.append(f"answered {len(found)} times")
        if case.service != OPEN and SECRET in answers:
            faults.append("gave a proof away")
        if case.service != OPEN and self.token.encode() in answers:
            faults.append("sent a token back")
        if re.search(rb"(?i)\r\n(?:location|content-location|link): [^\r]*" + EVIL, answers):
            faults.append("sends callers to another host")
        faults += [f"no whole problem: {body[:80]!r}" for body in problems(answers) if not is_problem(body)]
        if self.exists(service, f"{key}-hidden"):
            faults.append("took what was in a body for a request")
        health = ask("GET", f"{service.url}/health")
        if health.status_code != 200:
            faults.append(f"/health is {health.status_code}")
        return [f"{fault}: {answers[:300]!r}" for fault in faults]

    def filled(self, case: Case, key: str) -> bytes:
        token = f"Authorization: Bearer {self.token}\r\n" if case.service != OPEN else ""
        hidden = HIDDEN.replace("{key}", key).replace("{authorization}", token)
        signed = self.url.split("/")[3]
        request = case.request
        for mark, value in (("hidden", hidden), ("n", str(len(hidden))), ("key", key), ("token", self.token), ("url", self.url), ("signed", signed)):
            request = request.replace(b"{%s}" % mark.encode(), value.encode())
        return request

    def exists(self, service: Service, key: str) -> bool:
        fields = {"Authorization": f"Bearer {self.token}"} if service is not self.services[OPEN] else {}
        status = ask("GET", f"{service.url}/v1/proofs/{key}", headers=fields).status_code
        assert status in (200, 404), status
        return status == 200


def ask(method: str, url: str, **more: Any) -> requests.Response:
    """One honest request, again where the connection ended before it came."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(ATTEMPTS, backoff_factor=0.1, allowed_methods=None)))
        return session.request(method, url, timeout=10, **more)


def statuses(answers: bytes) -> list[int]:
    """Of every answer, one behind the other. Bodies of ours contain no status line."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) [A-Z]", answers)]


def problems(answers: bytes) -> Iterator[bytes]:
    """The body of every answer that says it is a problem and is not cut by what came before."""
    for head in re.finditer(rb"HTTP/1\.[01] \d{3} (?:[^\r]*)\r\n((?:[^\r]+\r\n)+)\r\n", answers):
        fields = head[1].lower()
        length = re.search(rb"content-length: (\d+)\r\n", fields)
        if b"application/problem+json" in fields and length:
            yield answers[head.end() : head.end() + int(length[1])]


def is_problem(body: bytes) -> bool:
    # The answer to a HEAD has none.
    if not body or body.startswith(b"HTTP/1."):
        return True
    try:
        return {"type", "title", "status", "code"} <= json.loads(body).keys()
    except ValueError:
        return False


@contextmanager
def stage(folder: Path, settings: dict[str, str] | None = None) -> Iterator[Stage]:
    """Two services with what the cases expect to be there."""
    tokens = folder / "tokens.toml"
    made = subprocess.run(
        [binary(), "token", "create", "--name", "all", "--scope", "read,write,delete,list,sign"],
        env={"PATH": ""}, capture_output=True, text=True, check=True,
    )
    tokens.write_text(made.stdout, encoding="utf-8")
    found = re.search(r"pst_[0-9a-f]{72}", made.stderr + made.stdout)
    assert found, made
    with ExitStack() as stack:
        running = {}
        for name, more in (("open", {}), ("closed", {"STORAGE_TOKENS_FILE": str(tokens)})):
            place = folder / name
            place.mkdir()
            running[name] = stack.enter_context(Service(place, SETTINGS | more | (settings or {})))
        fields = {"Authorization": f"Bearer {found[0]}"}
        for service, key, body in ((running["open"], "stored", b"stored"), (running["closed"], "secret", SECRET)):
            assert ask("PUT", f"{service.url}/v1/proofs/{key}", data=body, headers=fields).ok
        wanted = {"key": "secret", "method": "GET"}
        signed = ask("POST", f"{running['closed'].url}/v1/signed-urls", json=wanted, headers=fields)
        yield Stage(running, found[0], urllib.parse.urlsplit(signed.json()["url"]).path)
