"""Unique identifiers derived from content."""

from __future__ import annotations

import hashlib
import uuid


def derived_uid(*parts: str) -> str:
    """Return a UID derived from text parts (PS3.5 B.2, UUID-derived); equal parts give equal UIDs.

    Parts are length-prefixed before hashing, so ``("ab", "c")`` and ``("a", "bc")`` differ.
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return f"2.25.{uuid.UUID(bytes=digest.digest()[:16], version=5).int}"
