"""Hostile HTTP/2 (RFC 9113), frame by frame, by prior knowledge on a plain socket.

Header blocks are literals without indexing and without Huffman coding (RFC 7541 §6.2.2), so that what is sent is what
stands here. Answers are read as far as to their statuses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import hpack

from hostile_cases import REFUSED
from wire import Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
GET = ((":method", "GET"), (":scheme", "http"), (":path", "/health"), (":authority", "x"))
PUT = ((":method", "PUT"), (":scheme", "http"), (":path", "/v1/proofs/http2/a"), (":authority", "x"))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str) -> bytes:
    return b"\0" + string(name) + string(value)


def string(text: str) -> bytes:
    raw = text.encode("latin-1")
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    # An integer with a prefix of seven bits (RFC 7541 §5.1).
    rest, out = len(raw) - 127, b"\x7f"
    while rest >= 128:
        out += bytes([rest % 128 + 128])
        rest //= 128
    return out + bytes([rest]) + raw


def block(*fields: tuple[str, str]) -> bytes:
    return b"".join(literal(*field) for field in fields)


def headers(*fields: tuple[str, str], stream: int = 1, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream, block(*fields))


@dataclass(frozen=True)
class Frames:
    """What is sent behind the preface, and the statuses that may come; `None`: any that is no 5xx."""

    sent: bytes
    expect: frozenset[int] | None = None
    preface: bytes = PREFACE + frame(SETTINGS, 0, 0)
    # Who answers none is taken for dead after some time.
    answers_pings: bool = True

    @staticmethod
    def of_get(path: str) -> Frames:
        return Frames(headers(*GET[:2], (":path", path), GET[3]))

    def play(self, port: int) -> list[int]:
        """The statuses of all answers until the service ends the connection, which it must."""
        with Connection(port) as connection:
            connection.send(self.preface + self.sent)
            seen = 0
            while connection.receive():
                for kind, flags, payload, end in frames(connection.received, seen):
                    seen = end
                    if kind == PING and not flags & ACK and self.answers_pings:
                        connection.send(frame(PING, ACK, 0, payload))
            return statuses(connection.received)

    def faults(self, answered: list[int]) -> list[int]:
        """The statuses that must not be among the answers."""
        return [status for status in answered if status >= 500 or (self.expect is not None and status not in self.expect)]


def frames(received: bytes, at: int = 0) -> Iterator[tuple[int, int, bytes, int]]:
    """Kind, flags, payload and end of each whole frame from a place on."""
    while len(received) - at >= 9:
        end = at + 9 + int.from_bytes(received[at : at + 3], "big")
        if end > len(received):
            return
        yield received[at + 3], received[at + 4], received[at + 9 : end], end
        at = end


def statuses(received: bytes) -> list[int]:
    decoder, found, block_so_far = hpack.Decoder(), [], b""
    for kind, flags, payload, _ in frames(received):
        if kind in (HEADERS, CONTINUATION):
            block_so_far += payload
            if flags & END_HEADERS:
                fields = dict(decoder.decode(block_so_far))
                block_so_far = b""
                found += [int(fields[":status"])] if ":status" in fields else []
    return found


def malformed() -> dict[str, Frames]:
    """Single mistakes. A request with one must not be served."""
    no = frozenset(REFUSED)
    raw = {
        "no method": headers(*GET[1:]), "no path": headers(*GET[:2], GET[3]), "no scheme": headers(GET[0], *GET[2:]),
        "method twice": headers(GET[0], *GET), "path twice": headers(*GET, (":path", "/v1/stats")), "empty path": headers(*GET[:2], (":path", ""), GET[3]),
        "path without a slash": headers(*GET[:2], (":path", "health"), GET[3]), "path with a space": headers(*GET[:2], (":path", "/health x"), GET[3]),
        "path with a line end": headers(*GET[:2], (":path", "/health HTTP/1.1\r\nX: y"), GET[3]), "method with a space": headers((":method", "GET /x"), *GET[1:]),
        "pseudo field behind a field": headers(GET[0], ("x", "y"), *GET[1:]), "unknown pseudo field": headers(*GET, (":x", "y")), "a status in a request": headers(*GET, (":status", "200")),
        "upper case": headers(*GET, ("X", "y")), "space in a name": headers(*GET, ("x y", "z")), "colon in a name": headers(*GET, ("x:", "z")), "line end in a value": headers(*GET, ("x", "a\r\nEvil: 1")),
        "null in a value": headers(*GET, ("x", "a\0b")), "empty name": headers(*GET, ("", "x")), "connection": headers(*GET, ("connection", "close")), "transfer-encoding": headers(*PUT, ("transfer-encoding", "chunked")),
        "upgrade": headers(*GET, ("upgrade", "h2c")), "keep-alive": headers(*GET, ("keep-alive", "1")), "TE of another kind": headers(*GET, ("te", "gzip")),
        "length and no body": headers(*PUT, ("content-length", "5")), "length larger than the body": headers(*PUT, ("content-length", "5"), flags=END_HEADERS) + frame(DATA, END_STREAM, 1, b"abc"),
        "length smaller than the body": headers(*PUT, ("content-length", "1"), flags=END_HEADERS) + frame(DATA, END_STREAM, 1, b"abc"), "two lengths": headers(*PUT, ("content-length", "1"), ("content-length", "2")),
        "signed length": headers(*PUT, ("content-length", "+3"), flags=END_HEADERS) + frame(DATA, END_STREAM, 1, b"abc"), "HEADERS on stream 0": headers(*GET, stream=0), "HEADERS on an even stream": headers(*GET, stream=2),
        "DATA on an idle stream": frame(DATA, END_STREAM, 1, b"abc"), "DATA on stream 0": frame(DATA, 0, 0, b"abc"), "CONTINUATION alone": frame(CONTINUATION, END_HEADERS, 1, block(*GET)),
        "PING in a block": headers(*GET, flags=0) + frame(PING, 0, 0, b"12345678"), "CONTINUATION of another stream": headers(*GET, flags=0) + frame(CONTINUATION, END_HEADERS, 3),
        "PUSH_PROMISE": frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"), "SETTINGS on a stream": frame(SETTINGS, 0, 1), "SETTINGS of five bytes": frame(SETTINGS, 0, 0, b"12345"), "SETTINGS ACK with a body": frame(SETTINGS, ACK, 0, b"123456"),
        "window of 0": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), "window past 2^31": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, "frame larger than allowed": frame(DATA, 0, 1, b"x" * 20_000),
        "frame size of 1": frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)), "window size past 2^31": frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31)), "padding longer than the frame": frame(DATA, 8, 1, b"\xff"),
        "index 0": frame(HEADERS, 5, 1, b"\x80"), "index past the table": frame(HEADERS, 5, 1, b"\xff\xff\xff\x7f"), "table larger than allowed": frame(HEADERS, 5, 1, b"\x3f\xff\xff\xff\x7f"),
        "integer without an end": frame(HEADERS, 5, 1, b"\x7f" + b"\xff" * 64), "string longer than the block": frame(HEADERS, 5, 1, b"\0\x7f\xff\x7fx"), "wrong Huffman code": frame(HEADERS, 5, 1, b"\0\x84\xff\xff\xff\xff\x01a"),
        "PRIORITY on itself": frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 1)), "GOAWAY on a stream": frame(GOAWAY, 0, 1, bytes(8)), "RST_STREAM of an idle stream": frame(RST_STREAM, 0, 1, bytes(4)), "an unknown frame, huge": frame(0xFA, 0, 0, b"x" * 60_000),
        "HTTP/1.1 behind the preface": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "zeros": bytes(200), "0xff": b"\xff" * 200,
    }
    cases = {name: Frames(sent, no) for name, sent in raw.items()}
    cases["half a preface"] = Frames(b"", no, PREFACE[:10])
    # Has to be refused by RFC 9113 §3.4; hyper lets it pass, and nothing hangs on it.
    cases["preface without SETTINGS"] = Frames(headers(*GET), no | {200}, PREFACE)
    cases["preface twice"] = Frames(PREFACE, no)
    cases["another host than authority"] = Frames(headers(*GET, ("host", "evil.example")))
    cases["key with dots"] = Frames(headers(*GET[:2], (":path", "/v1/proofs/a/%2e%2e/b"), GET[3]), frozenset({400}))
    cases["asterisk"] = Frames(headers(*GET[:2], (":path", "*"), GET[3]), no)
    return cases


def floods() -> dict[str, Frames]:
    """Many of what is allowed once. The service ends the connection, or answers; it lives either way."""
    part = block(*[("x-" + "a" * 50, "b" * 50)] * 100)
    rapid = b"".join(headers(*GET, stream=n) + frame(RST_STREAM, 0, n, struct.pack(">I", 8)) for n in range(1, 20_001, 2))
    # A field of 3 900 bytes goes into the table once (incremental indexing), and is then named by a byte each.
    bomb = block(*GET) + b"\x40" + string("x") + string("b" * 3900) + b"\xbe" * 15_000
    return {
        "CONTINUATION without end": Frames(headers(*GET, flags=0) + frame(CONTINUATION, 0, 1, part) * 500),
        "empty CONTINUATION without end": Frames(headers(*GET, flags=0) + frame(CONTINUATION, 0, 1) * 50_000),
        "rapid reset (CVE-2023-44487)": Frames(rapid),
        "10 000 SETTINGS": Frames(frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 4096)) * 10_000),
        "10 000 PING": Frames(frame(PING, 0, 0, b"12345678") * 10_000),
        "10 000 empty DATA": Frames(headers(*PUT, flags=END_HEADERS) + frame(DATA, 0, 1) * 10_000),
        "10 000 PRIORITY": Frames(frame(PRIORITY, 0, 3, struct.pack(">IB", 0, 1)) * 10_000),
        "10 000 WINDOW_UPDATE": Frames(frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 10_000),
        "5 000 streams at once": Frames(b"".join(headers(*PUT, stream=n, flags=END_HEADERS) for n in range(1, 10_001, 2))),
        "header table bomb": Frames(frame(HEADERS, END_STREAM, 1, bomb[:16_000]) + frame(CONTINUATION, END_HEADERS, 1, bomb[16_000:]), frozenset(REFUSED)),
        "window of 1 byte": Frames(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1)) + headers(*GET[:2], (":path", "/openapi.yaml"), GET[3]), answers_pings=False),
        "10 000 unknown frames": Frames(frame(0xFA, 0xFF, 0, b"x" * 100) * 10_000),
    }
