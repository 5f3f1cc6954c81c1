"""Fixtures: a service for the whole run, and one for tests that end theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Shared by the tests that leave it as it is: each uses keys of its own."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of one's own, with settings of one's own."""
    with ExitStack() as stack:

        def begin(**settings: str) -> Service:
            directory = tmp_path / f"service-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return stack.enter_context(Service(directory, settings))

        yield begin
