"""Garage, a real S3-compatible cluster, as processes of this machine: one node or several.

`Cluster` owns them: leaving the `with` block ends every node by its process id. Nodes can be killed
and started again meanwhile. Nothing here knows what a test wants of it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import requests

from balancer import Balancer
from s3 import Bucket
from service import ROOT, free_port

START_SECONDS = 60
REGION = "garage"
BUCKET = "proofs"
FOLDER = ROOT / "config" / "garage"


def binary() -> str:
    """`GARAGE_BIN`, else what `PATH` has."""
    found = os.environ.get("GARAGE_BIN") or shutil.which("garage")
    if found is None:
        raise FileNotFoundError("no garage: '.ci/run e2e' installs it, or set GARAGE_BIN")
    return found


def configuration(folder: Path, replication: int, rpc: int, s3: int, admin: int) -> str:
    """That of the compose file, with the paths, ports and number of copies of a test.

    Without its syncs, of which the tests make a hundred thousand: a node that is killed loses nothing
    that its kernel has. What a power cut does is not tried here.
    """
    text = (FOLDER / "garage.toml").read_text(encoding="utf-8")
    for theirs, ours in {
        '"/var/lib/garage/meta"': f'"{folder}/meta"',
        '"/var/lib/garage/data"': f'"{folder}/data"',
        "replication_factor = 3": f"replication_factor = {replication}",
        "metadata_fsync = true": "metadata_fsync = false",
        "data_fsync = true": "data_fsync = false",
        'rpc_bind_addr = "[::]:3901"': f'rpc_bind_addr = "127.0.0.1:{rpc}"\nrpc_public_addr = "127.0.0.1:{rpc}"',
        '"[::]:3900"': f'"127.0.0.1:{s3}"',
        '"[::]:3903"': f'"127.0.0.1:{admin}"',
    }.items():
        assert theirs in text, f"config/garage/garage.toml has no {theirs}"
        text = text.replace(theirs, ours)
    return text


class Node:
    """One process with a folder of its own."""

    def __init__(self, folder: Path, replication: int, known: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.environment = os.environ | known
        self.rpc_port, self.s3_port, self.admin_port = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.configuration = folder / "garage.toml"
        ports = self.rpc_port, self.s3_port, self.admin_port
        self.configuration.write_text(configuration(folder, replication, *ports), encoding="utf-8")

    def start(self) -> None:
        """Starts it and waits until it answers; it may not have found the others yet."""
        with (self.folder / "garage.log").open("ab") as log:
            command = [binary(), "-c", str(self.configuration), "server"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.wait_for("/health", lambda status, _: status in (200, 503))

    def wait_for(self, path: str, wanted: Callable[[int, bytes], bool]) -> None:
        """Waits until its administration gives such an answer."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        headers = {"Authorization": f"Bearer {self.environment['GARAGE_ADMIN_TOKEN']}"}
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                answer = requests.get(url, headers=headers, timeout=2)
                if wanted(answer.status_code, answer.content):
                    return
            except requests.RequestException:
                pass
            time.sleep(0.1)
        log = (self.folder / "garage.log").read_text(errors="replace")
        raise RuntimeError(f"garage does not answer as it should on {path}:\n{log[-4000:]}")

    def kill(self) -> None:
        """SIGKILL: it says goodbye to nobody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ends it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def back_up(self, backup: Path) -> None:
        """Copies all that it keeps; it must not run."""
        for name in ("data", "meta"):
            shutil.copytree(self.folder / name, backup / name)

    def restore(self, backup: Path) -> None:
        """Makes it what it was then; it must not run."""
        for name in ("data", "meta"):
            shutil.rmtree(self.folder / name)
            shutil.copytree(backup / name, self.folder / name)


class Cluster:
    """Nodes with one layout, a bucket, a key that may use it, and one address in front of them."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.admin_token = secrets.token_hex(16)
        known = {"GARAGE_RPC_SECRET": secrets.token_hex(32), "GARAGE_ADMIN_TOKEN": self.admin_token}
        self.nodes = [Node(folder / f"node-{number}", nodes, known) for number in range(nodes)]
        self.balancer = Balancer([node.s3_port for node in self.nodes])

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        for node in self.nodes:
            node.start()
        key_id, secret = f"GK{secrets.token_hex(12)}", secrets.token_hex(32)
        environment = {
            "PATH": os.environ["PATH"],
            "ADMIN_URLS": " ".join(f"http://127.0.0.1:{node.admin_port}" for node in self.nodes),
            "ADMIN_TOKEN": self.admin_token,
            "CAPACITY": "1000000000",
            "BUCKET": BUCKET,
            "ACCESS_KEY_ID": key_id,
            "SECRET_ACCESS_KEY": secret,
        }
        # Twice: the second time it finds all done.
        for _ in range(2):
            setup = [FOLDER / "setup.sh"]
            done = subprocess.run(setup, env=environment, capture_output=True, text=True, timeout=180)
            if done.returncode != 0:
                raise RuntimeError(f"setup.sh: {done.stdout}{done.stderr}")
        self.balancer.start()
        self.bucket = Bucket(self.balancer.url, REGION, BUCKET, key_id, secret)

    def settle(self) -> None:
        """Waits until every node has found all others."""
        for node in self.nodes:
            node.wait_for("/v2/GetClusterHealth", lambda _, body: b'"healthy"' in body)

    def stop(self) -> None:
        """Ends everything."""
        self.balancer.stop()
        for node in self.nodes:
            node.stop()
