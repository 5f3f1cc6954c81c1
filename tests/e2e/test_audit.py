"""The audit log of the real program: complete after kills, and read by somebody else than its writer."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

import audit_chain
from service import Service, binary

KEY = "canary-audit-key-of-more-than-32-bytes"
KILLS = 3
WRITERS = 8


def verify(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [binary(), "audit", "verify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_acknowledged_change_has_its_line_after_kills(start: Callable[..., Service]) -> None:
    service = start(STORAGE_AUDIT="file", STORAGE_AUDIT_KEY=KEY, STORAGE_AUDIT_SEGMENT_BYTES="20000")
    folder = service.directory / "data" / "audit"
    acknowledged: set[tuple[str, str]] = set()
    for run in range(KILLS):
        stop = threading.Event()

        def work(writer: int) -> None:
            number = 0
            while not stop.is_set():
                key = f"run-{run}/{writer}/{number}"
                number += 1
                try:
                    if requests.put(f"{service.url}/v1/proofs/{key}", b"x" * number, timeout=5).ok:
                        acknowledged.add(("store", key))
                    if number % 3 == 0 and requests.delete(f"{service.url}/v1/proofs/{key}", timeout=5).ok:
                        acknowledged.add(("delete", key))
                except requests.RequestException:
                    return

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(WRITERS)]
        for thread in threads:
            thread.start()
        before = len(acknowledged)
        while len(acknowledged) < before + 50:
            time.sleep(0.01)
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        stop.set()
        for thread in threads:
            thread.join()
        service.start()
    service.stop()
    lines = audit_chain.read(folder, KEY.encode())
    done = {(line["action"], line.get("key")) for line in lines if line["result"] == "done"}
    assert len(acknowledged) >= 50 * KILLS
    assert acknowledged <= done, f"without a line: {sorted(acknowledged - done)[:5]}"
    starts = [line["action"] for line in lines if line["action"] in ("start", "stop")]
    assert starts == ["start"] * (KILLS + 1) + ["stop"]
    assert KEY not in service.log_text() and all(KEY not in json.dumps(line) for line in lines)

    key_file = service.directory / "key"
    key_file.write_text(KEY + "\n")
    result = verify("--key-file", key_file, "--head", lines[-1]["hash"], folder)
    assert result.returncode == 0, result.stderr
    # The control, for both readers: one letter of one key.
    path = sorted(folder.glob("audit-*.jsonl"))[1]
    path.write_bytes(path.read_bytes().replace(b'"key":"run', b'"key":"fun', 1))
    with pytest.raises(AssertionError, match="not as it was written"):
        audit_chain.read(folder, KEY.encode())
    result = verify("--key-file", key_file, folder)
    assert result.returncode == 1 and "edited" in result.stderr, result


def test_the_log_stream_has_a_chain_between_its_lines(start: Callable[..., Service]) -> None:
    service = start(STORAGE_AUDIT="log")
    assert requests.put(f"{service.url}/v1/proofs/a", b"x", timeout=5).status_code == 201
    service.stop()
    result = verify("--log", "--json", service.log)
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout)["lines"] == 3
    kept = [line for line in service.log_text().splitlines(True) if '"action":"store"' not in line]
    service.log.write_text("".join(kept))
    assert json.loads(verify("--log", "--json", service.log).stdout)["wrong"]["wrong"] == "dropped"
