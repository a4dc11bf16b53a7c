"""Makes received instances durable together: whoever comes first commits for all who came meanwhile.

Each instance's bytes are synced by its own thread. What follows (names, folders, the index's transaction) costs a sync
each and is shared: the first thread takes the baton and does it for everyone in the queue; the others find theirs done.
One sender alone waits for nobody; n senders share one transaction. None is answered before its own row is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from db.domain import ReceivedInstance, StoreVerdict
from db.engine import Database
from db.errors import DatabaseUnavailableError, DbError, InvalidRecordError
from db.studies import record_arrivals
from dicom_node.errors import InstanceError, InvalidAttributeError, StorageUnavailableError
from dicom_node.spool import Spool
from dicom_node.store import InstanceStore, StoredFile

_BATCH = 64
"""Rows of one transaction at most, so that readers of SQLite and other writers get their turn."""


@dataclass(slots=True)
class _Entry:
    spool: Spool
    stored: StoredFile
    instance: ReceivedInstance
    verdict: StoreVerdict | None = None
    error: InstanceError | None = None

    @property
    def is_done(self) -> bool:
        return self.verdict is not None or self.error is not None


class Committer:
    """Publishes files and commits rows, for all waiting threads at once."""

    def __init__(self, store: InstanceStore, database: Database) -> None:
        self._store, self._database = store, database
        self._queue: list[_Entry] = []
        self._queue_lock = Lock()
        self._baton = Lock()

    def commit(self, spool: Spool, stored: StoredFile, instance: ReceivedInstance) -> StoreVerdict:
        """Make one synced instance durable, under the name that was placed; returns when it is, or raises.

        Raises
        ------
        StorageFullError, StorageUnavailableError
            Nothing is to be acknowledged; a file that stays behind without a row is harmless, the next attempt uses it.
        InvalidAttributeError
            The index cannot hold a value of it.
        """
        entry = _Entry(spool, stored, instance)
        with self._queue_lock:
            self._queue.append(entry)
        with self._baton:
            while not entry.is_done:
                self._commit_waiting()
        if entry.error is not None:
            raise entry.error
        assert entry.verdict is not None  # noqa: S101 (is_done says so)
        return entry.verdict

    def _commit_waiting(self) -> None:
        with self._queue_lock:
            batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
        batch.sort(key=lambda entry: entry.instance.study_instance_uid)  # one order of locking for all processes
        try:
            published = self._publish(batch)
            self._record(published)
        finally:
            for entry in batch:
                if not entry.is_done:
                    entry.error = StorageUnavailableError("the index")

    def _publish(self, batch: list[_Entry]) -> list[_Entry]:
        """Give all files their names; one by one where that fails for some."""
        try:
            self._store.publish([(entry.spool, entry.stored) for entry in batch])
        except InstanceError as error:
            if len(batch) == 1:
                batch[0].error = error
                return []
            return [entry for single in batch for entry in self._publish([single])]
        return batch

    def _record(self, batch: Sequence[_Entry]) -> None:
        """Commit all rows in one transaction; one by one where the index refuses some."""
        if not batch:
            return
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


def _refusal(error: DbError) -> InstanceError:
    if isinstance(error, InvalidRecordError):
        return InvalidAttributeError(error.field, error.rule)
    return StorageUnavailableError("the index")
