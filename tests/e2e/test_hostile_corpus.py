"""The corpus of hostile requests, byte by byte: each is answered within its class, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from hostile import Stage, stage
from hostile_cases import MISSING, Case, all_cases, get, text
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
    answered = frames.play(played.services["open"].port)
    assert [status for status in answered if status >= 500] == [], name
    assert frames.expect is None or set(answered) <= frames.expect, answered
    assert Frames.of_get("/health").play(played.services["open"].port) == [200]


def test_control_what_is_wrong_is_found(played: Stage) -> None:
    """The same harness over requests that it must not be content with."""
    two = get("/health") * 2
    for case, fault in [
        (Case("control: status", get("/health"), MISSING), "answered [200]"),
        (Case("control: too many answers", two, frozenset({200})), "answered 2 times"),
        (Case("control: a second request", get("/health") + text("{hidden}"), frozenset({200, 201}), answers=2), "took what was in a body"),
        (Case("control: a proof", get("/v1/proofs/secret", "Authorization: Bearer {token}"), frozenset({200}), service="closed"), "gave a proof away"),
    ]:
        assert any(fault in found for found in played.play(case)), (case.name, played.play(case))
        # And nothing where it is as it should be.
    sound = Case("control: sound", get("/health"), frozenset({200}))
    assert played.play(sound) == []
    assert played.play(replace(sound, expect=MISSING)) != []


def test_control_good_credentials_and_urls_of_the_corpus_open(played: Stage) -> None:
    for request in (get("{url}"), get("/v1/proofs/secret", "Authorization: Bearer {token}")):
        faults = played.play(Case(f"control: {request[:20]!r}", request, frozenset({200}), service="closed"))
        assert len(faults) == 1 and faults[0].startswith("gave a proof away"), faults
