"""The corpus of hostile requests, byte by byte: each is answered within its class, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hostile import Stage, ask, stage
from hostile_cases import MISSING, REFUSED, Case, all_cases, get, text
from hostile_http2 import Frames, floods, malformed

AT_ONCE = 12
# Requests over a raw socket, HTTP/2 included: fewer would mean that some are not played.
LEAST = 800


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(tmp_path_factory.mktemp("hostile")) as ready:
        yield ready
        for service in ready.services.values():
            assert service.process is not None and service.process.poll() is None
            assert "panic" not in service.log_text()
            assert service.log_text()


def test_every_request_is_answered_within_its_class(played: Stage, figures: Callable[[str], None]) -> None:
    cases = all_cases()
    assert len({case.name for case in cases}) == len(cases)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip((case.name for case in cases), pool.map(played.play, cases), strict=True))
    faults = {name: faults for name, faults in found.items() if faults}
    figures(f"{len(cases)} hostile requests of HTTP/1, {len(faults)} with a fault")
    assert faults == {}
    assert len(cases) >= LEAST


@pytest.mark.parametrize(("name", "frames"), [*malformed().items(), *floods().items()])
def test_http2_is_no_way_around(played: Stage, name: str, frames: Frames) -> None:
    port = played.services["open"].port
    answered = frames.play(port)
    assert frames.faults(answered) == [], (name, answered)
    assert ask("GET", f"http://127.0.0.1:{port}/health").status_code == 200


def test_others_are_served_while_all_floods_run(played: Stage, figures: Callable[[str], None]) -> None:
    service = played.services["open"]
    asked = 0
    with ThreadPoolExecutor(len(floods())) as pool:
        running = [pool.submit(frames.play, service.port) for frames in floods().values()]
        while not all(flood.done() for flood in running):
            assert ask("GET", f"{service.url}/v1/proofs/stored").content == b"stored"
            asked += 1
        for frames, flood in zip(floods().values(), running, strict=True):
            assert frames.faults(flood.result()) == []
    figures(f"{len(malformed())} malformed HTTP/2 connections and {len(floods())} floods, {asked} honest requests meanwhile")
    assert asked > 0


def test_control_http2_that_is_served_is_seen(played: Stage) -> None:
    sound = Frames.of_get("/health")
    answered = sound.play(played.services["open"].port)
    assert answered == [200]
    assert sound.faults(answered) == []
    assert replace(sound, expect=frozenset(REFUSED)).faults(answered) == [200]
    assert sound.faults([503]) == [503]


def test_control_what_is_wrong_is_found(played: Stage, figures: Callable[[str], None]) -> None:
    """The same harness over requests that it must not be content with."""
    two = get("/health") * 2
    for case, fault in [
        (Case("control: status", get("/health"), MISSING), "answered [200]"),
        (Case("control: too many answers", two, frozenset({200})), "answered 2 times"),
        (Case("control: a second request", get("/health") + text("{hidden}"), frozenset({200, 201}), answers=2), "took what was in a body"),
        (Case("control: a proof", get("/v1/proofs/secret", "Authorization: Bearer {token}"), frozenset({200}), service="closed"), "gave a proof away"),
    ]:
        assert any(fault in found for found in played.play(case)), (case.name, played.play(case))
    figures("control: 4 requests that are answered wrongly on purpose are found")
    # And nothing where it is as it should be.
    sound = Case("control: sound", get("/health"), frozenset({200}))
    assert played.play(sound) == []
    assert played.play(replace(sound, expect=MISSING)) != []


def test_control_good_credentials_and_urls_of_the_corpus_open(played: Stage) -> None:
    for request in (get("{url}"), get("/v1/proofs/secret", "Authorization: Bearer {token}")):
        faults = played.play(Case(f"control: {request[:20]!r}", request, frozenset({200}), service="closed"))
        assert len(faults) == 1 and faults[0].startswith("gave a proof away"), faults
