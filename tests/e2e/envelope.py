"""Opens what the service sealed, from docs/FORMAT.md alone and by another library.

Knows nothing of the service: given a keyring, the object's full name, its header and its bytes, it gives
what is in them.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FRAME = 64 * 1024
TAG = 16


class Refused(Exception):
    """The header or the body is not what was sealed under this name."""


@dataclass
class Header:
    """A header that opened."""

    key_id: str
    data_key: bytes
    gzipped: bool
    form_size: int
    size: int
    sha256: bytes
    form_sha256: bytes


def derive(secret: bytes, salt: bytes | None, purpose: str) -> bytes:
    info = f"proof-storage envelope v1 {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def open_header(keys: dict[str, bytes], name: str, header: bytes) -> Header:
    """`keys` are wrapping keys by id, `name` is the object's full name."""
    if header[:4] != b"PSE\x01":
        raise Refused("no header of version 1")
    front = header[: 5 + header[4]]
    key_id = front[5:].decode("ascii")
    rest = header[len(front) :]
    salt, commitment, wrapped = rest[:32], rest[32:64], rest[64:]
    wrapping = AESGCM(derive(keys[key_id], salt, "wrap"))
    try:
        plain = wrapping.decrypt(bytes(12), wrapped, front + commitment + name.encode())
    except InvalidTag:
        raise Refused("the header is not genuine for this name") from None
    data_key = plain[:32]
    if derive(data_key, None, "commitment") != commitment:
        raise Refused("another key was committed to")
    flags, form_size, size = struct.unpack(">BQQ", plain[32:49])
    return Header(key_id, data_key, bool(flags & 1), form_size, size, plain[49:81], plain[81:113])


def open_body(header: Header, body: bytes) -> bytes:
    """What the caller stored."""
    frames = AESGCM(derive(header.data_key, None, "frames"))
    count = max(1, -(-header.form_size // FRAME))
    if len(body) != header.form_size + count * TAG:
        raise Refused("the body has another length")
    form = b""
    for number in range(count):
        sealed = body[number * (FRAME + TAG) : (number + 1) * (FRAME + TAG)]
        nonce = number.to_bytes(11, "big") + bytes([number == count - 1])
        try:
            form += frames.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise Refused(f"frame {number} is not genuine") from None
    if hashlib.sha256(form).digest() != header.form_sha256:
        raise Refused("the sealed bytes have another digest")
    plain = gzip.decompress(form) if header.gzipped else form
    if (len(plain), hashlib.sha256(plain).digest()) != (header.size, header.sha256):
        raise Refused("what was stored has another digest")
    return plain


def seal(keys: tuple[str, bytes], name: str, data_key: bytes, salt: bytes, plain: bytes) -> tuple[bytes, bytes]:
    """Header and body of plain bytes that are kept as they are: for the vector of docs/FORMAT.md."""
    key_id, wrapping = keys
    digest = hashlib.sha256(plain).digest()
    front = b"PSE\x01" + bytes([len(key_id)]) + key_id.encode()
    commitment = derive(data_key, None, "commitment")
    facts = struct.pack(">BQQ", 2, len(plain), len(plain)) + digest + digest
    wrapped = AESGCM(derive(wrapping, salt, "wrap")).encrypt(
        bytes(12), data_key + facts, front + commitment + name.encode()
    )
    frames = AESGCM(derive(data_key, None, "frames"))
    pieces = [plain[at : at + FRAME] for at in range(0, len(plain), FRAME)] or [b""]
    body = b"".join(
        frames.encrypt(number.to_bytes(11, "big") + bytes([number == len(pieces) - 1]), piece, None)
        for number, piece in enumerate(pieces)
    )
    return front + salt + commitment + wrapped, body
