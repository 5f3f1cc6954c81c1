"""What the service seals can be read by whoever has the keys and docs/FORMAT.md, and by nobody else."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

import envelope
from fakes import PERSONALITIES, fake, of_r2
from places import poll
from s3 import Bucket
from service import ROOT, Service, binary

KEYS = {"2025": os.urandom(32), "2026": os.urandom(32)}
CANARY = b"canary-9d2e-of-what-was-sealed"


def keyring(active: str, *retired: str) -> str:
    entries = [(active, "active"), *((key, "retired") for key in retired)]
    return ",".join(f"{key}:{state}:{base64.b64encode(KEYS[key]).decode()}" for key, state in entries)


def raw(bucket: Bucket, key: str) -> tuple[bytes, bytes, dict[str, object]]:
    """Header, body and all else, as they lie in the bucket."""
    found = bucket.client().get_object(Bucket=bucket.name, Key=f"proofs/{key}")
    header = base64.b64decode(found["Metadata"]["proof-storage-envelope"])
    return header, found["Body"].read(), found


def settings_of(bucket: Bucket, personality: str) -> dict[str, str]:
    return of_r2(bucket) if personality == "r2" else bucket.settings()


BODIES = {
    "empty.bin": b"",
    "small.json": b'{"claim":"' + CANARY + b'"}',
    "gzip.json": b'{"claims":["' + CANARY * 500 + b'"]}',
    "frame.bin": CANARY + os.urandom(64 * 1024 - len(CANARY)),
    "frames.bin": CANARY + os.urandom(2 * 64 * 1024 - len(CANARY)),
    "large.bin": CANARY + os.urandom(9 << 20),
}


@pytest.mark.parametrize("personality", PERSONALITIES)
def test_another_library_opens_what_the_service_sealed(
    personality: str, start: Callable[..., Service]
) -> None:
    with fake(personality, "--write-interval", "0") as bucket:
        settings = settings_of(bucket, personality)
        running = start(**settings, STORAGE_KEYRING=keyring("2026"), STORAGE_ENCRYPTION="envelope")
        for name, body in BODIES.items():
            stored = requests.put(f"{running.url}/v1/proofs/{name}", data=body, timeout=60)
            assert stored.status_code == 201, stored.text
            header, sealed, found = raw(bucket, name)
            answer = stored.json()
            assert answer["encryption"] == "envelope" and answer["stored_size"] == len(sealed)
            assert found["ContentEncoding"] == "x-proof-storage-envelope"
            opened = envelope.open_header(KEYS, f"proofs/{name}", header)
            assert opened.gzipped == (name == "gzip.json")
            assert envelope.open_body(opened, sealed) == body
            assert CANARY not in sealed and answer["sha256"] not in str(found)
            # Negative controls: another name, another key, another bit.
            with pytest.raises(envelope.Refused):
                envelope.open_header(KEYS, f"proofs/x{name}", header)
            with pytest.raises(envelope.Refused):
                envelope.open_header({"2026": KEYS["2025"]}, f"proofs/{name}", header)
            with pytest.raises(envelope.Refused):
                envelope.open_body(opened, sealed[:-1] + bytes([sealed[-1] ^ 1]))
            got = requests.get(f"{running.url}/v1/proofs/{name}", timeout=60)
            assert got.content == body
        assert CANARY.decode() not in running.log_text()


def test_the_vector_of_the_page_is_what_another_library_makes() -> None:
    page = (ROOT / "docs/FORMAT.md").read_text(encoding="utf-8")

    def vector(name: str) -> bytes:
        return bytes.fromhex(page.split(f"\n{name} = ")[1].split("\n\n")[0].split("```")[0])

    plain = b'{"claim":"made by hand"}'
    name, wrapping = "proofs/photos/1.json", bytes(range(32))
    data_key, salt = bytes(range(0x40, 0x60)), bytes(range(0x80, 0xA0))
    made = envelope.seal(("2026-11", wrapping), name, data_key, salt, plain)
    assert made == (vector("header"), vector("body"))
    opened = envelope.open_header({"2026-11": wrapping}, name, vector("header"))
    assert envelope.open_body(opened, vector("body")) == plain


def test_rekey_beside_a_running_service(start: Callable[..., Service]) -> None:
    """Headers change, bytes do not; the retired key can go afterwards, and not before."""
    with fake("aws") as bucket:
        sealing = {"STORAGE_ENCRYPTION": "envelope"} | bucket.settings()
        old = start(**sealing, STORAGE_KEYRING=keyring("2025"))
        for name, body in BODIES.items():
            requests.put(f"{old.url}/v1/proofs/{name}", data=body, timeout=60).raise_for_status()
        before = {name: raw(bucket, name)[1] for name in BODIES}
        old.stop()
        running = start(**sealing, STORAGE_KEYRING=keyring("2026", "2025"))
        environment = running.environment() | {"STORAGE_DATA_DIR": str(running.directory / "of-rekey")}

        def rekey(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [binary(), "rekey", *arguments]
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

        planned = rekey("--dry-run")
        assert planned.returncode == 0 and f"{len(BODIES)} to be rekeyed" in planned.stdout, planned
        assert envelope.open_header(KEYS, "proofs/small.json", raw(bucket, "small.json")[0]).key_id == "2025"
        done = rekey()
        assert done.returncode == 0 and f"{len(BODIES)} rekeyed" in done.stdout, done
        again = rekey()
        assert "\n0 rekeyed" in again.stdout and f"{len(BODIES)} under the active key" in again.stdout
        running.stop()
        alone = start(**sealing, STORAGE_KEYRING=keyring("2026"))
        for name, body in BODIES.items():
            header, sealed, _ = raw(bucket, name)
            opened = envelope.open_header({"2026": KEYS["2026"]}, f"proofs/{name}", header)
            assert sealed == before[name] and envelope.open_body(opened, sealed) == body
            assert requests.get(f"{alone.url}/v1/proofs/{name}", timeout=60).content == body
        alone.stop()
        # Negative control: without the key nothing is sent, and it says which one is missing.
        without = start(**sealing, STORAGE_KEYRING=keyring("2025"))
        refused = requests.get(f"{without.url}/v1/proofs/small.json", timeout=60)
        assert refused.status_code == 502 and refused.json()["code"] == "KEY_MISSING"
        assert "'2026'" in refused.json()["detail"]


def test_a_service_rekeys_its_embedded_store_by_itself(start: Callable[..., Service]) -> None:
    """A folder belongs to one process: nobody else can do it while the service runs."""
    running = start(STORAGE_ENCRYPTION="envelope", STORAGE_KEYRING=keyring("2025"))
    for name, body in BODIES.items():
        requests.put(f"{running.url}/v1/proofs/{name}", data=body, timeout=60).raise_for_status()

    def again(**settings: str) -> None:
        running.stop()
        running.settings = {"STORAGE_ENCRYPTION": "envelope"} | settings
        running.start()

    def status(name: str) -> int:
        return requests.get(f"{running.url}/v1/proofs/{name}", timeout=60).status_code

    again(STORAGE_KEYRING=keyring("2026", "2025"))
    again(STORAGE_KEYRING=keyring("2026"))
    assert {status(name) for name in BODIES} == {502}, "the control: nobody rekeys unasked"
    again(STORAGE_KEYRING=keyring("2026", "2025"), STORAGE_REKEY_AT_START="true")
    poll(lambda: f"rewrapped={len(BODIES)}" in running.log_text())
    again(STORAGE_KEYRING=keyring("2026"))
    for name, body in BODIES.items():
        assert requests.get(f"{running.url}/v1/proofs/{name}", timeout=60).content == body


def test_nothing_readable_is_left_on_the_disk(start: Callable[..., Service]) -> None:
    def files(running: Service) -> bytes:
        folder = Path(running.directory / "data")
        return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

    keys = {"STORAGE_KEYRING": keyring("2026")}
    sealed = start(**keys, STORAGE_ENCRYPTION="AES256")
    plain = start(**keys)
    for running in (sealed, plain):
        for name, body in BODIES.items():
            stored = requests.put(f"{running.url}/v1/proofs/{name}", data=body, timeout=60)
            assert stored.status_code == 201, stored.text
            assert requests.get(f"{running.url}/v1/proofs/{name}", timeout=60).content == body
        running.stop()
    assert CANARY not in files(sealed)
    assert CANARY in files(plain), "the control: the canary is found where it is not sealed"
    for secret in (KEYS["2026"], base64.b64encode(KEYS["2026"])):
        assert secret not in files(sealed) and secret not in sealed.log.read_bytes()
