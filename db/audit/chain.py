"""Hash chain of the audit trail: sealed columns, key and head."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEALED = ("sequence", "occurred_at", "action", "actor", "subject", "outcome", "details")
"""The columns of an event that its digest covers: all but the digest itself."""


@dataclass(frozen=True, slots=True)
class Head:
    """Head of the chain: the last sequence number (0 for none) and its digest."""

    sequence: int
    mac: str


@dataclass(slots=True)
class ChainKey:
    """Key of the chain; computes its digests."""

    key: bytes = field(repr=False)

    def event_mac(self, previous: str, row: Mapping[Any, Any]) -> str:
        """Return the digest of an event and of all before it."""
        return self._mac("event", previous, *(row[name] for name in SEALED))

    def head_mac(self, head: Head) -> str:
        """Return the digest of a head, so that an earlier one cannot be forged without the key."""
        return self._mac("head", head.sequence, head.mac)

    def _mac(self, *parts: object) -> str:
        text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
