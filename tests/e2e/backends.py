"""Writes docs/BACKENDS.md: what each store really does, as `doctor --json` and `/v1/backends` say.

    backends.py           print the document
    backends.py --write   write it
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

import garage
from fakes import PERSONALITIES, fake, of_r2
from motoserver import Moto
from places import Place, examined
from s3 import Bucket
from service import ROOT, Service, binary

DOCUMENT = ROOT / "docs" / "BACKENDS.md"

HEAD = """\
# What the stores really do

Made by `just backends`, which runs `proof-storage doctor --json` and asks `/v1/backends` of a service over
each store. An end-to-end test fails when this page says something else than they do.

- **embedded**: the store of this service, on a local disk.
- **Garage {garage}**: the real server, one node.
- **moto {moto}**: a test server by other people, in memory; here for what Garage has not. The bucket keeps versions.
- **aws, r2, garage (simulated)**: `fake-s3/` of this repository, which plays their manners as their documents
  and tests describe them. **AWS S3 and Cloudflare R2 themselves were not reached from where this was made**: run
  `proof-storage doctor` against your bucket, which takes some seventy requests and removes what it stored (a
  bucket with versions keeps those as old versions).

`native`: the store does it. `gateway`: the service compares and writes in turns on its behalf, which holds among
the writers of **one process** only. `no`: a request that needs it is refused with 501.

## Capabilities

What `/v1/backends` shows, and the service acts on.

"""

MIDDLE = """
## Findings

What the doctor saw. A condition counts as native for the service only where PUT, copy and uploads in parts all
keep it.

"""

WORDS = """
## In words

"""


def examine(bucket: Bucket | None, settings: dict[str, str], folder: Path) -> dict[str, Any]:
    """Capabilities that a service with these settings shows, and the doctor's findings."""
    folder.mkdir()
    with Service(folder, settings) as service:
        findings: list[dict[str, str]] = []
        if bucket is not None:
            examined(Place("", bucket, service))
            command = [binary(), "doctor", "--json"]
            done = subprocess.run(command, env=service.environment(), capture_output=True, timeout=60)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.decode())
            findings = json.loads(done.stdout)["backends"][0]["report"]["findings"]
        shown = requests.get(f"{service.url}/v1/backends", timeout=10).json()
        return {"capabilities": shown["backends"][0]["capabilities"], "findings": findings}


def collect() -> dict[str, dict[str, Any]]:
    """All stores, examined."""
    found: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="proof-storage-backends-")))
        cluster = stack.enter_context(garage.Cluster(folder / "garage", 1))
        moto = stack.enter_context(Moto(folder))
        places: list[tuple[str, Bucket | None]] = [
            ("embedded", None),
            (f"Garage {garage_version()}", cluster.bucket),
            (f"moto {moto_version()}", moto.bucket("proofs", versions=True)),
        ]
        for personality in PERSONALITIES:
            places.append((f"{personality} (simulated)", stack.enter_context(fake(personality))))
        for number, (name, bucket) in enumerate(places):
            settings = {} if bucket is None else bucket.settings()
            if bucket is not None and name.startswith("r2"):
                settings = of_r2(bucket)
            found[name] = examine(bucket, settings, folder / f"service-{number}")
    return found


def garage_version() -> str:
    done = subprocess.run([garage.binary(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split("cargo:")[1].split()[0]


def moto_version() -> str:
    from importlib.metadata import version

    return version("moto")


def table(rows: dict[str, list[str]], columns: list[str]) -> str:
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[f"`{name}`", *cells] for name, cells in rows.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def document(found: dict[str, dict[str, Any]]) -> str:
    """The page."""
    names = list(found)
    capabilities = {
        capability: [found[name]["capabilities"][capability] for name in names]
        for capability in found[names[0]]["capabilities"]
    }
    remote = [name for name in names if found[name]["findings"]]
    by_feature = {
        name: {finding["feature"]: finding for finding in found[name]["findings"]} for name in remote
    }
    features = list(by_feature[remote[0]])
    findings = {
        feature: [by_feature[name][feature]["verdict"] for name in remote] for feature in features
    }
    text = HEAD.format(garage=garage_version(), moto=moto_version())
    text += table(capabilities, names) + MIDDLE + table(findings, remote) + WORDS
    for name in remote:
        text += f"### {name}\n\n"
        for feature in features:
            text += f"- `{feature}`: {by_feature[name][feature]['detail']}\n"
        text += "\n"
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    page = document(collect())
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(page, encoding="utf-8")
    else:
        print(page, end="")
