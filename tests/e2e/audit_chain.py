"""A reader of audit logs that knows only what docs/AUDIT.md says of them."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

MARK = b',"hash":"'


def read(folder: Path, key: bytes | None = None) -> list[dict[str, Any]]:
    """All lines of a folder, checked one by one; fails at the first that is wrong."""
    lines: list[dict[str, Any]] = []
    for path in sorted(folder.glob("audit-*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            said, mark, tail = line.rpartition(MARK)
            assert mark == MARK and tail.endswith(b'"}'), line
            found = hmac.digest(key, said, "sha256") if key else hashlib.sha256(said).digest()
            assert tail == found.hex().encode() + b'"}', f"{path.name}: not as it was written: {line!r}"
            entry = json.loads(line)
            before = lines[-1] if lines else {"seq": 0, "hash": "0" * 64}
            assert entry["seq"] == before["seq"] + 1, f"{path.name}: line {entry['seq']}"
            assert entry["prev"] == before["hash"], f"{path.name}: line {entry['seq']}"
            lines.append(entry)
    return lines
