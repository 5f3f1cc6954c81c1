"""Real input, real client: the c2pa library signs an image whose manifest lives only in the service.

The library's own Reader fetches it over HTTP. Its verdicts are the test: no manifest without the
service, `Trusted` with it (signature, data hash and our test root), `Invalid` for an altered image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import uuid

import c2pa
import pytest
import requests

from service import Service
from signing import Signed, sign


def read(signed: Signed, image: bytes | None = None) -> c2pa.Reader:
    return c2pa.Reader("image/png", io.BytesIO(image or signed.image), context=signed.trust)


def codes(reader: c2pa.Reader, kind: str) -> set[str]:
    return {entry["code"] for entry in reader.get_validation_results()["activeManifest"].get(kind, [])}


@pytest.fixture(scope="module")
def signed(service: Service) -> Signed:
    """Signed, and its manifest stored."""
    made = sign(f"{service.url}/v1/proofs/c2pa/urn:c2pa:{uuid.uuid4()}.c2pa")
    answer = requests.put(made.url, data=made.manifest, timeout=10)
    assert answer.status_code == 201, answer.text
    return made


def test_reader_finds_nothing_before_the_put_and_trusts_after_it(service: Service) -> None:
    signed = sign(f"{service.url}/v1/proofs/c2pa/{uuid.uuid4()}.c2pa")
    with pytest.raises(c2pa.C2paError, match="404"):
        read(signed)

    answer = requests.put(signed.url, data=signed.manifest, timeout=10)
    assert answer.status_code == 201, answer.text
    assert answer.json()["content_type"] == "application/c2pa"
    assert answer.json()["sha256"] == hashlib.sha256(signed.manifest).hexdigest()

    reader = read(signed)
    assert reader.get_validation_state() == "Trusted"
    assert not reader.is_embedded()
    assert reader.get_remote_url() == signed.url
    assert {
        "claimSignature.validated",
        "assertion.dataHash.match",
        "signingCredential.trusted",
    } <= codes(reader, "success")
    assert codes(reader, "failure") == set()


def test_altered_image_is_invalid(signed: Signed) -> None:
    image = bytearray(signed.image)
    image[image.index(b"IDAT") + 10] ^= 1
    reader = read(signed, bytes(image))
    assert reader.get_validation_state() == "Invalid"
    assert "assertion.dataHash.mismatch" in codes(reader, "failure")


def test_manifest_of_another_image_is_invalid(service: Service, signed: Signed) -> None:
    """Control: what the service answers decides the verdict."""
    other = sign(f"{service.url}/v1/proofs/c2pa/{uuid.uuid4()}.c2pa")
    assert requests.put(other.url, data=signed.manifest, timeout=10).status_code == 201
    assert read(other).get_validation_state() == "Invalid"


def test_reader_fetches_what_deletion_takes_away(service: Service) -> None:
    signed = sign(f"{service.url}/v1/proofs/c2pa/{uuid.uuid4()}.c2pa")
    assert requests.put(signed.url, data=signed.manifest, timeout=10).status_code == 201
    assert read(signed).get_validation_state() == "Trusted"
    assert requests.delete(signed.url, timeout=10).status_code == 204
    with pytest.raises(c2pa.C2paError, match="404"):
        read(signed)


def test_binary_store_is_never_encoded(signed: Signed) -> None:
    answer = requests.get(signed.url, headers={"Accept-Encoding": "gzip, br"}, timeout=10)
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
    assert "Transfer-Encoding" not in answer.headers
    assert int(answer.headers["Content-Length"]) == len(signed.manifest)
    assert answer.headers["Content-Type"] == "application/c2pa"
    assert answer.content == signed.manifest


def test_json_rendition_comes_back_byte_for_byte(service: Service, signed: Signed) -> None:
    """Plain, gzip and in ranges."""
    rendition = read(signed).json().encode()
    assert json.loads(rendition)["active_manifest"].startswith("urn:c2pa:")
    url = f"{service.url}/v1/proofs/c2pa/{uuid.uuid4()}.json"
    stored = requests.put(url, data=rendition, timeout=10)
    assert stored.status_code == 201, stored.text
    assert stored.json()["encoding"] == "gzip", "a rendition of some kilobytes pays"
    assert stored.json()["stored_size"] < stored.json()["size"] == len(rendition)

    plain = requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert plain.content == rendition
    assert "Content-Encoding" not in plain.headers

    with requests.get(url, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=10) as packed:
        raw = packed.raw.read(decode_content=False)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(raw) == stored.json()["stored_size"]
    assert gzip.decompress(raw) == rendition
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert packed.headers["Repr-Digest"] == plain.headers["Repr-Digest"]

    pieces = b""
    for start in range(0, len(rendition), 1000):
        part = requests.get(
            url,
            headers={"Range": f"bytes={start}-{start + 999}", "Accept-Encoding": "identity"},
            timeout=10,
        )
        assert part.status_code == 206
        pieces += part.content
    assert pieces == rendition


def test_forty_megabytes(service: Service) -> None:
    """Some stores are this large: streamed both ways, exact length, a range from the middle."""
    block = hashlib.sha256(b"forty megabytes").digest()
    body = b"".join(hashlib.sha256(block + struct.pack(">I", n)).digest() for n in range(40 * 2**20 // 32))
    url = f"{service.url}/v1/proofs/c2pa/{uuid.uuid4()}.c2pa"
    stored = requests.put(url, data=body, timeout=120)
    assert stored.status_code == 201, stored.text
    assert stored.json()["sha256"] == hashlib.sha256(body).hexdigest()
    answer = requests.get(url, timeout=120)
    assert answer.headers["Content-Length"] == str(len(body))
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(body).digest()
    middle = requests.get(url, headers={"Range": "bytes=20000000-20000099"}, timeout=30)
    assert (middle.status_code, middle.content) == (206, body[20000000:20000100])
