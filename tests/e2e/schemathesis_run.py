"""Schemathesis as a process: how it is run, and what it did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from service import Service

HERE = Path(__file__).parent
# For a run at `just prove`'s full counts more is asked for.
MORE = int(os.environ.get("SCHEMATHESIS_TIMES", "1"))
RUN_SECONDS = 420 * MORE


def run(
    service: Service, document: Path, *options: str, config: str = "schemathesis.toml"
) -> subprocess.CompletedProcess[str]:
    """One run; its output is the test's when it fails."""
    return subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "--config-file",
            HERE / config,
            "run",
            document,
            "--url",
            service.url,
            "--no-color",
            *options,
        ],
        cwd=HERE,
        env=os.environ
        | {
            "PYTHONPATH": str(HERE),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(service.directory / "hypothesis"),
        },
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def generated(done: subprocess.CompletedProcess[str]) -> int:
    """How many cases a run made."""
    found = re.search(r"(\d+) generated", done.stdout)
    return int(found[1]) if found else 0
