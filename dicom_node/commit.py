"""Makes received instances durable together: whoever comes first does it for all who came meanwhile.

Each instance's bytes are synced by its own thread. What follows is in two stages, names and folders, then the index's
transaction; each costs a sync and is shared: the first thread at a stage takes its baton and does it for everyone in
the queue, the others find theirs done. While one group is being indexed the next gets its names. One sender alone waits
for nobody; n senders share syncs and transactions. None is answered before its own row is committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    is_named: bool = False
    verdict: StoreVerdict | None = None
    error: InstanceError | None = None

    @property
    def is_done(self) -> bool:
        return self.verdict is not None or self.error is not None


class Committer:
    """Publishes files and commits rows, for all waiting threads at once."""

    def __init__(self, store: InstanceStore, database: Database) -> None:
        self._store, self._database = store, database
        self._unnamed: list[_Entry] = []
        self._unrecorded: list[_Entry] = []
        self._queues = Lock()
        self._naming, self._recording = Lock(), Lock()

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
        with self._queues:
            self._unnamed.append(entry)
        with self._naming:
            while not (entry.is_named or entry.is_done):
                self._name_waiting()
        with self._recording:
            while not entry.is_done:
                self._record_waiting()
        if entry.error is not None:
            raise entry.error
        assert entry.verdict is not None  # noqa: S101 (is_done says so)
        return entry.verdict

    def _name_waiting(self) -> None:
        with self._queues:
            batch, self._unnamed = self._unnamed[:_BATCH], self._unnamed[_BATCH:]
        with _failing(batch):
            named = self._publish(batch)
            with self._queues:
                self._unrecorded += named
            for entry in named:
                entry.is_named = True

    def _record_waiting(self) -> None:
        with self._queues:
            batch, self._unrecorded = self._unrecorded[:_BATCH], self._unrecorded[_BATCH:]
        batch.sort(key=lambda entry: entry.instance.study_instance_uid)  # one order of locking for all processes
        with _failing(batch):
            self._record(batch)

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


@contextmanager
def _failing(batch: Sequence[_Entry]) -> Iterator[None]:
    """Have none of a batch wait for ever where an unforeseen error ends its leader."""
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
