"""HTTP/1.1 by hand: bytes on a socket, and the answers that come back.

For what a client library would never send, and for when exactly an answer comes.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

SECONDS = 30


@dataclass(frozen=True)
class Answer:
    """One response, with the header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection whose every read ends after `SECONDS`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self.received = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Sends it; a peer that has closed already is no error, what it said can still be read."""
        try:
            self.socket.sendall(data.encode() if isinstance(data, str) else data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next response; `None` where the peer closes instead."""
        while b"\r\n\r\n" not in self.received:
            if not self.receive():
                return None
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = dict((name.lower(), value.strip()) for name, value in (l.split(":", 1) for l in lines))
        status = int(status_line.split()[1])
        bodiless = to_head or status < 200 or status in (204, 304)
        length = 0 if bodiless else int(headers["content-length"])
        while len(self.received) < length:
            if not self.receive():
                raise ConnectionError("the body was cut off")
        body, self.received = self.received[:length], self.received[length:]
        return Answer(status, headers, body)

    def rest(self) -> bytes:
        """All that still comes until the peer closes."""
        while self.receive():
            pass
        return self.received

    def until(self, mark: bytes) -> bool:
        """Whether these bytes come before the peer closes."""
        while mark not in self.received:
            if not self.receive():
                return False
        return True

    def receive(self) -> bool:
        """Waits for more, and says whether there was any before the peer closed."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += data
        return bool(data)
