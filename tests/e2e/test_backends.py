"""docs/BACKENDS.md says what the stores do today."""

from __future__ import annotations

import backends


def test_the_page_is_what_the_stores_say() -> None:
    found = backends.collect()
    page = backends.document(found)
    assert backends.DOCUMENT.read_text(encoding="utf-8") == page, "run 'just backends'"
    # Negative control: a store that does something else makes another page.
    found["embedded"]["capabilities"]["create_only"] = "no"
    assert backends.document(found) != page
