"""Re-indexing of stored files that the database does not know, as after a restore from an older backup.

A database that is restored from a copy older than the files, or a standby that lagged and took over, knows nothing of
the last acknowledged instances. Their files are complete, and hold all that a row needs but the sender's
address.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from db.archive.purge import named_paths
from db.database import Database
from db.domain.errors import InvalidRecordError
from db.domain.studies import ReceivedInstance, StoreVerdict
from db.intake.ingest import record_arrivals
from dicom_node.encoding.elements import FileSource
from dicom_node.encoding.errors import InstanceError, InvalidAttributeError
from dicom_node.encoding.header import read_header
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.encoding.transfer_syntaxes import TRANSFER_SYNTAXES
from dicom_node.intake.instance_intake import Announced, Intake, Sender, received_instance
from dicom_node.storage.instance_store import InstanceStore, StoredFile, dataset_sha256
from dicom_node.storage.purge import purged_paths

ADDRESS = "store"
"""Stands where the sender's address is written for others."""
_AT_ONCE = 500
_META_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ReindexedFile:
    """A stored file and why it could not be indexed; no problem where it is indexed now."""

    path: str
    is_new: bool = False
    """True if that row is new."""
    problem: str = ""
    """A stable code: that of a refusal at the port, ``damaged``, or the index's verdict."""


def reindex(database: Database, store: InstanceStore, intake: Intake) -> Iterator[ReindexedFile]:
    """Index every stored instance that the database does not know, as if just received; no file is changed.

    Harmless while instances are received. No purge may run meanwhile on another host (``Database.advisory_lock``).

    Raises
    ------
    DbError, StoreUnreachableError
    """
    names = store.files.instances()
    while batch := list(islice(names, _AT_ONCE)):
        with database.read() as session:
            indexed_paths = named_paths(session, batch)
        # read after the rows: a purge writes them down before its rows are gone
        purging_paths = purged_paths(store.root)
        for path in batch:
            if path in indexed_paths or path in purging_paths:
                yield ReindexedFile(path)
            elif (file := _reindex(path, database, store, intake)) is not None:
                yield file


def _reindex(path: str, database: Database, store: InstanceStore, intake: Intake) -> ReindexedFile | None:
    """Index one file; None where it no longer exists."""
    try:
        verdict = record_arrivals(database, [_describe(path, store, intake)])[0]
    except FileNotFoundError:
        return None
    except InstanceError as error:
        return ReindexedFile(path, problem=error.code)
    except InvalidRecordError:  # one file that the index cannot hold keeps no other from it
        return ReindexedFile(path, problem=InvalidAttributeError.code)
    if verdict.is_refusal:
        return ReindexedFile(path, problem=verdict.value)
    return ReindexedFile(path, is_new=verdict is StoreVerdict.STORED)


def _describe(path: str, store: InstanceStore, intake: Intake) -> ReceivedInstance:
    """Read the index record of a file, and verify that its content matches its name.

    Raises
    ------
    FileNotFoundError, InstanceError
    """
    local_path = store.absolute(path)
    with local_path.open("rb") as file:
        meta, start = read_file_meta(file.read(_META_BYTES))
        announced = Announced(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
        intake.check(announced)
        size = os.fstat(file.fileno()).st_size
        source = FileSource(file.fileno(), start, size - start)
        header = read_header(source, TRANSFER_SYNTAXES[meta.transfer_syntax_uid], intake.limits.walk)
        intake.check_header(header, announced)
    digest = dataset_sha256(local_path)
    if store.path_of(header.series_instance_uid, meta.sop_instance_uid, digest) != path:
        raise DamagedFileError
    sender = Sender(meta.source_ae_title or "UNKNOWN", ADDRESS)
    return received_instance(header, announced, sender, StoredFile(path, size, digest))


class DamagedFileError(InstanceError):
    """The content of a stored file does not match its name."""

    code = "damaged"
