"""A bounded number of association slots, with eviction of idle associations."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Protocol

UNUSED_GRACE_S = 0.25
"""Grace period before the first message: some network round trips."""
USED_GRACE_S = 5.0
"""Grace period between messages, or within one that stalls."""


class SlotHolder(Protocol):
    """An association as the slots see it."""

    @property
    def idle_s(self) -> float:
        """Seconds since its last progress; zero while a message is handled."""
        ...

    @property
    def was_used(self) -> bool:
        """Return True if a message ever began on it."""
        ...

    @property
    def address(self) -> str:
        """Address of the peer."""
        ...

    def evict(self) -> None:
        """Abort; does not wait."""
        ...


class AssociationSlots:
    """At most ``limit`` associations; when all slots are taken, the idlest is evicted for a new caller.

    Unused ones are evicted first, then those idle for long; of these the ones of the address that holds most slots,
    and among them the idlest. One that is being served, or within its grace period, is never evicted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[SlotHolder] = set()
        self._lock = Lock()

    def try_reserve(self) -> bool:
        """Free a slot if need be; False when no association can be evicted now."""
        with self._lock:
            if len(self._holders) < self._limit:
                return True
            victim = self._victim()
            if victim is None:
                return False
            self._holders.discard(victim)
        victim.evict()
        return True

    def assign(self, holder: SlotHolder) -> None:
        """Assign a slot, after ``try_reserve``."""
        with self._lock:
            self._holders.add(holder)

    def release(self, holder: SlotHolder) -> None:
        """Release a slot; harmless when it was released before."""
        with self._lock:
            self._holders.discard(holder)

    def holders(self) -> tuple[SlotHolder, ...]:
        """Return all associations with a slot."""
        with self._lock:
            return tuple(self._holders)

    def _victim(self) -> SlotHolder | None:
        counts = Counter(holder.address for holder in self._holders)
        ranked = [
            (not holder.was_used, counts[holder.address], idle_s, holder)
            for holder in self._holders
            if (idle_s := holder.idle_s) >= (USED_GRACE_S if holder.was_used else UNUSED_GRACE_S)
        ]
        return max(ranked, key=lambda rank: rank[:3])[3] if ranked else None
