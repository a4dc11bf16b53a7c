"""Cache of negotiation results by A-ASSOCIATE-RQ.

A sender proposes the same contexts each time, up to 128 of them with several transfer syntaxes, and the library takes
some 10 ms to turn them into objects, to decide and to encode the answer. What it decides depends on the request and on
settings that never change while listening. So the result for equal bytes is cached after the first negotiation.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext

_MAX_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class NegotiationResult:
    """Result of a negotiation, never modified; ``pdu`` is the A-ASSOCIATE-AC (PS3.8 9.3.3)."""

    request: A_ASSOCIATE
    response: A_ASSOCIATE
    accepted: Mapping[int, PresentationContext]
    rejected: tuple[PresentationContext, ...]
    pdu: bytes


class NegotiationCache:
    """The latest results, by the request's digest; thread-safe."""

    def __init__(self) -> None:
        self._results: OrderedDict[bytes, NegotiationResult] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._results)

    def find(self, request: bytes) -> NegotiationResult | None:
        """Return the result for a request of exactly these bytes, AE titles included."""
        key = hashlib.sha256(request).digest()
        with self._lock:
            if key in self._results:
                self._results.move_to_end(key)
            return self._results.get(key)

    def remember(self, request: bytes, association: Any) -> None:
        """Store the result of an established association; not where the request has credentials."""
        if association.requestor.user_identity is not None:
            return
        response = association.acceptor.primitive
        result = NegotiationResult(
            association.requestor.primitive,
            response,
            dict(association._accepted_cx),  # noqa: SLF001 (nothing public gives both by id)
            tuple(association.rejected_contexts),
            A_ASSOCIATE_AC(response).encode(),
        )
        with self._lock:
            self._results[hashlib.sha256(request).digest()] = result
            if len(self._results) > _MAX_ENTRIES:
                self._results.popitem(last=False)
