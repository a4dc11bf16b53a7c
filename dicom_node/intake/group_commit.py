"""Group commit of received instances: one thread makes all waiting instances durable together.

Each instance's bytes are synced by its own thread. What follows, names and folders and then the index's transaction,
costs two syncs and is shared: the first thread that comes leads and does it for everyone in the queue, and wakes the
first who came meanwhile to lead the next group. A leader waits a moment for as many as were in the last group: so n
senders share syncs and transactions, and a single one does not wait. None is answered before its own row is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from db.database import Database
from db.domain.errors import DatabaseUnavailableError, DbError, InvalidRecordError
from db.domain.studies import ReceivedInstance, StoreVerdict
from db.intake.ingest import record_arrivals
from dicom_node.encoding.errors import InstanceError, InvalidAttributeError, StorageUnavailableError
from dicom_node.storage.instance_store import InstanceStore, StoredFile
from dicom_node.storage.spool import Spool

_GATHER_S = 0.001
"""Longest wait, in seconds, of a leader for a group as large as the last one."""
_BATCH = 64
"""Rows of one transaction at most, so that readers of SQLite and other writers get their turn."""


@dataclass(slots=True)
class _Entry:
    spool: Spool
    stored: StoredFile
    instance: ReceivedInstance
    ready: Lock
    """Held until the entry is done, or its thread has to see to the next group."""
    verdict: StoreVerdict | None = None
    error: InstanceError | None = None

    @property
    def is_done(self) -> bool:
        return self.verdict is not None or self.error is not None


class Committer:
    """Publishes files and commits rows for all waiting threads at once."""

    def __init__(self, store: InstanceStore, database: Database) -> None:
        self._store, self._database = store, database
        self._waiting: list[_Entry] = []
        self._has_leader = False
        self._gathering: Lock | None = None
        self._last_size = 1
        self._lock = Lock()

    def commit(self, spool: Spool, stored: StoredFile, instance: ReceivedInstance) -> StoreVerdict:
        """Make one synced instance durable under its assigned name; return when done, or raise.

        Raises
        ------
        StorageFullError, StorageUnavailableError
            Nothing is to be acknowledged; a file that stays behind without a row is harmless, the next attempt uses it.
        InvalidAttributeError
            The index cannot hold a value of it.
        """
        entry = _Entry(spool, stored, instance, Lock())
        entry.ready.acquire()
        with self._lock:
            self._waiting.append(entry)
            if self._gathering is not None and len(self._waiting) >= self._last_size:
                self._gathering.release()
                self._gathering = None
            must_wait, self._has_leader = self._has_leader, True
        if must_wait:
            entry.ready.acquire()
        if not entry.is_done:
            self._lead()
        if entry.error is not None:
            raise entry.error
        assert entry.verdict is not None  # noqa: S101 (is_done says so)
        return entry.verdict

    def _lead(self) -> None:
        """Commit the waiting batch, then pass leadership to the first of the next batch."""
        self._gather()
        with self._lock:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._last_size = len(batch)
        try:
            with _failing(batch):
                self._record(self._publish(batch))
        finally:
            with self._lock:
                following = self._waiting[:1]
                self._has_leader = bool(following)
            for entry in following + batch[1:]:
                entry.ready.release()

    def _gather(self) -> None:
        """Wait for more instances on the leader's own lock, which a full batch releases."""
        with self._lock:
            if len(self._waiting) >= self._last_size:
                return
            leader_lock = self._gathering = self._waiting[0].ready
        leader_lock.acquire(timeout=_GATHER_S)
        with self._lock:
            self._gathering = None

    def _publish(self, batch: list[_Entry]) -> list[_Entry]:
        """Rename all files to their final names, one by one where the batch fails."""
        try:
            self._store.publish([(entry.spool, entry.stored) for entry in batch])
        except InstanceError as error:
            if len(batch) == 1:
                batch[0].error = error
                return []
            return [entry for single in batch for entry in self._publish([single])]
        return batch

    def _record(self, batch: Sequence[_Entry]) -> None:
        """Commit all rows in one transaction, one by one where the index refuses some."""
        if not batch:
            return
        batch = sorted(batch, key=lambda entry: entry.instance.study_instance_uid)  # one order of locking for all
        try:
            verdicts = record_arrivals(self._database, [entry.instance for entry in batch])
        except DatabaseUnavailableError:
            for entry in batch:
                entry.error = StorageUnavailableError("the index")
        except DbError as error:
            if len(batch) > 1:
                for entry in batch:
                    self._record([entry])
                return
            batch[0].error = _refusal(error)
        else:
            for entry, verdict in zip(batch, verdicts, strict=True):
                entry.verdict = verdict


@contextmanager
def _failing(batch: Sequence[_Entry]) -> Iterator[None]:
    """Fail all entries of a batch when an unforeseen error ends its leader."""
    try:
        yield
    except BaseException:
        for entry in batch:
            if not entry.is_done:
                entry.error = StorageUnavailableError("the index")
        raise


def _refusal(error: DbError) -> InstanceError:
    if isinstance(error, InvalidRecordError):
        return InvalidAttributeError(error.field, error.rule)
    return StorageUnavailableError("the index")
