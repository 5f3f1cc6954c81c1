"""A running proof-storage: the real binary on a free port of 127.0.0.1, with an empty data directory.

`Service` owns the process: leaving the `with` block ends it (SIGTERM, then SIGKILL), whatever
happened inside. Nothing here knows what a test wants of it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import requests

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20
STOP_SECONDS = 60

_given: set[int] = set()


def binary() -> Path:
    """`PROOF_STORAGE_BIN`, else the newest build below `CARGO_TARGET_DIR` or `target`."""
    if given := os.environ.get("PROOF_STORAGE_BIN"):
        return Path(given).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for kind in ("release", "debug") if (path := target / kind / "proof-storage").exists()]
    if not built:
        raise FileNotFoundError(f"no proof-storage below {target}: run 'cargo build' first")
    return max(built, key=lambda path: path.stat().st_mtime)


def free_port() -> int:
    """A port that nobody listens on. Somebody else may take it before it is used: then start fails.

    Below those that the kernel gives to connections, so that none of them takes it while its server
    is away.
    """
    # Each of the suite's workers has ports of its own.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lowest = 15_000 + worker % 8 * 2_000
    while True:
        port = random.randrange(lowest, lowest + 2_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port


class Service:
    """One process and how to reach it."""

    def __init__(self, directory: Path, settings: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings or {}
        self.log = directory / "service.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """What the process sees: nothing of ours but `PATH`, so no stray setting gets in."""
        return {
            "PATH": os.environ["PATH"],
            "STORAGE_LISTEN": f"127.0.0.1:{self.port}",
            "STORAGE_DATA_DIR": str(self.directory / "data"),
        } | self.settings

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary()], env=self.environment(), cwd=self.directory, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/health/ready", timeout=2).status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"the service did not become ready:\n{self.log_text()[-4000:]}")

    def log_text(self) -> str:
        """All it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> None:
        """Asks it to drain and end, without waiting."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """Ends it, gently first."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
