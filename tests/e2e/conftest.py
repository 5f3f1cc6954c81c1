"""Fixtures: services for the whole run, over each kind of store, and one for tests that end theirs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fakes import PERSONALITIES, fake, of_r2
from garage import Cluster
from motoserver import Moto
from places import Place, examined
from service import Service


FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands over what it counted."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["figures"] = session.config.stash[FIGURES]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: Any) -> None:
    """A worker that broke down hands over nothing, and fails the run by itself."""
    node.config.stash[FIGURES].extend(getattr(node, "workeroutput", {}).get("figures", []))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """What was counted: it is worth seeing although the tests passed."""
    for line in config.stash[FIGURES]:
        terminalreporter.write_line(f"counted: {line}")


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keeps a line for the end of the run."""
    return request.config.stash[FIGURES].append


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Shared by the tests that leave it as it is: each uses keys of its own."""
    with Service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="session")
def garage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Over one node of Garage; shared like `service`."""
    folder = tmp_path_factory.mktemp("garage")
    with Cluster(folder / "cluster", 1) as cluster, Service(folder, cluster.bucket.settings()) as running:
        yield examined(Place("garage", cluster.bucket, running))


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Over moto, in a bucket with versions; shared like `service`."""
    folder = tmp_path_factory.mktemp("moto")
    with Moto(folder) as server:
        bucket = server.bucket("proofs", versions=True)
        with Service(folder, bucket.settings()) as running:
            yield examined(Place("moto", bucket, running, {"tags", "encryption", "versions"}))


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Place]]:
    """Over each personality of fake-s3; shared like `service`."""
    with ExitStack() as stack:
        places = []
        for personality in PERSONALITIES:
            # R2's one write a second of a key is a matter of time, and has tests of its own.
            bucket = stack.enter_context(fake(personality, "--write-interval", "0"))
            settings = of_r2(bucket) if personality == "r2" else bucket.settings()
            folder = tmp_path_factory.mktemp(personality)
            running = stack.enter_context(Service(folder, settings))
            places.append(examined(Place(f"{personality} (simulated)", bucket, running)))
        yield places


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    """Two Garage servers that know nothing of each other, for the tests of one file, which stop and start them."""
    folder = tmp_path_factory.mktemp("stores")
    with Cluster(folder / "first", 1) as first, Cluster(folder / "second", 1) as second:
        yield first, second


@pytest.fixture(params=["garage", "moto"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each of the S3 servers in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def folder() -> str:
    """Keys of a test's own."""
    return uuid.uuid4().hex[:8]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of one's own, with settings of one's own."""
    with ExitStack() as stack:

        def begin(**settings: str) -> Service:
            directory = tmp_path / f"service-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            return stack.enter_context(Service(directory, settings))

        yield begin
