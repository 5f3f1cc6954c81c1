"""Images signed with the c2pa library, whose manifests are kept elsewhere: what a service is given in earnest."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from dataclasses import dataclass

import c2pa

import credentials

CLAIM = {
    "claim_generator_info": [{"name": "proof-storage end-to-end", "version": "1"}],
    "title": "generated.png",
    "format": "image/png",
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {
                "actions": [
                    {
                        "action": "c2pa.created",
                        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation",
                    }
                ]
            },
        }
    ],
}


@dataclass(frozen=True)
class Signed:
    """An image that points to its manifest, and the manifest."""

    image: bytes
    manifest: bytes
    url: str
    trust: c2pa.Context


def png(width: int = 96, height: int = 64) -> bytes:
    """An RGB gradient (PNG specification, third edition)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(
        b"\0" + bytes((3 * x + 5 * y + 7 * c) % 256 for x in range(width) for c in range(3))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def sign(url: str) -> Signed:
    """Signs a new image; the manifest is not embedded, the image names `url` for it."""
    made = credentials.make()
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", made.chain, made.key, None))
    settings = c2pa.Settings()
    settings.update(
        {
            "version": 1,
            "trust": {"trust_anchors": made.anchor},
            "verify": {"verify_trust": True, "remote_manifest_fetch": True},
        }
    )
    builder = c2pa.Builder(CLAIM)
    builder.set_no_embed()
    builder.set_remote_url(url)
    image = io.BytesIO()
    manifest = builder.sign(signer, "image/png", io.BytesIO(png()), image)
    trust = c2pa.ContextBuilder().with_settings(settings).build()
    return Signed(image.getvalue(), bytes(manifest), url, trust)


@functools.cache
def manifests(images: int = 24) -> list[bytes]:
    """Of so many images, each in both forms: the manifest store, and its rendition as JSON."""
    made = []
    for number in range(images):
        signed = sign(f"https://proofs.example/{number}.c2pa")
        reader = c2pa.Reader("image/png", io.BytesIO(signed.image), signed.manifest, context=signed.trust)
        made += [signed.manifest, reader.json().encode()]
    return made
