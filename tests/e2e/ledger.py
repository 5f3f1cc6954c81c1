"""What a client was promised, kept outside of the service, and whether it holds.

A 2xx answer is a promise. No answer, or a refusal, is a *maybe*: the key may be as before or as asked.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

#: Answers what is stored under a key: its bytes, or None where nothing is.
Read = Callable[[str], "bytes | None"]


@dataclass
class Findings:
    """Keys that are not as promised."""

    lost: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    resurrected: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lost or self.altered or self.resurrected)


class Ledger:
    """Filled by many threads. Each key is written by one of them, and is absent before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._promised: dict[str, str | None] = {}
        self._maybe: dict[str, set[str | None]] = {}

    def stored(self, key: str, body: bytes) -> None:
        with self._lock:
            self._promised[key] = _digest(body)

    def deleted(self, key: str) -> None:
        """Whatever was in doubt of it before is settled."""
        with self._lock:
            self._promised[key] = None
            self._maybe.pop(key, None)

    def maybe_stored(self, key: str, body: bytes) -> None:
        with self._lock:
            self._promised.setdefault(key, None)
            self._maybe.setdefault(key, set()).add(_digest(body))

    def maybe_deleted(self, key: str) -> None:
        with self._lock:
            self._maybe.setdefault(key, set()).add(None)

    @property
    def promises(self) -> int:
        """Keys that something is known of."""
        return len(self._promised)

    @property
    def kept(self) -> set[str]:
        """Keys that must be there, unless they are in doubt."""
        with self._lock:
            return {key for key, promised in self._promised.items() if promised is not None}

    @property
    def doubted(self) -> set[str]:
        """Keys of which it is not certain what is right."""
        with self._lock:
            return set(self._maybe)

    def check(self, read: Read, readers: int = 1) -> Findings:
        """Reads every key back, with so many threads."""
        findings = Findings()
        keys = sorted(self._promised)
        with ThreadPoolExecutor(readers) as pool:
            bodies = list(pool.map(read, keys))
        for key, body in zip(keys, bodies, strict=True):
            promised = self._promised[key]
            found = None if body is None else _digest(body)
            if found == promised or found in self._maybe.get(key, ()):
                continue
            if found is None:
                findings.lost.append(key)
            elif promised is None:
                findings.resurrected.append(key)
            else:
                findings.altered.append(key)
        return findings


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
