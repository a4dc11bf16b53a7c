"""Stored files are checked against their own names, and damaged ones are faults until they are mended."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.audit import trail as audit
from db.database import Database
from db.domain.studies import PatientAttributes, ReceivedInstance
from db.monitoring import faults
from dicom_node.encoding.part10 import FileMeta
from dicom_node.storage import integrity
from dicom_node.storage.instance_store import InstanceStore, StoredFile
from dicom_node.storage.integrity import Integrity, is_damaged, recheck
from tests.support.factories import sqlite_database
from tests.support.records import record_instance

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = sqlite_database(tmp_path)
    yield database
    database.dispose()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[InstanceStore]:
    with InstanceStore(tmp_path / "store") as opened:
        yield opened


def stored(store: InstanceStore, database: Database, number: int = 1, size: int = 3000) -> StoredFile:
    """Store and index an instance of so many bytes."""
    uid = f"1.2.3.1.{number}"
    file = store.write(FileMeta(CT, uid, EXPLICIT), bytes(size), "1.2.3.1")
    received = ReceivedInstance(
        uid, CT, EXPLICIT, "1.2.3", "1.2.3.1", PatientAttributes("P1"), file.path, 1, file.sha256
    )
    with database.begin() as session:
        record_instance(session, received)
    return file


def flip(path: Path, at: int, *, keep_dates: bool = True) -> None:
    """Flip a bit, as a disk does: without a new date."""
    state, content = path.stat(), bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    if keep_dates:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def standing(database: Database) -> list[tuple[str, int, str | None]]:
    with database.read() as session:
        return [
            (one.subject, one.count, one.study_instance_uid) for one in faults.faults(session, code=faults.DAMAGED_FILE)
        ]


@pytest.mark.parametrize("at", [-1, -1500, 380])
def test_a_flipped_bit_of_the_dataset_is_found(store: InstanceStore, database: Database, at: int) -> None:
    path = store.absolute(stored(store, database).path)
    assert not is_damaged(path)
    flip(path, at)
    assert is_damaged(path)


@pytest.mark.parametrize("harm", ["cut", "empty", "longer", "no DICOM"])
def test_other_damage_is_found(store: InstanceStore, database: Database, harm: str) -> None:
    path = store.absolute(stored(store, database).path)
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-2], "empty": b"", "longer": content + b"\0", "no DICOM": content[200:]}[harm])
    assert is_damaged(path)


def test_a_file_that_is_named_otherwise_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"results")
    assert not is_damaged(tmp_path / "a.dcm")
    assert not is_damaged(tmp_path / f"{'0' * 64}.dcm")


def test_a_damaged_file_is_a_fault_until_it_is_mended(store: InstanceStore, database: Database) -> None:
    good, bad = stored(store, database, 1), stored(store, database, 2)
    checking, path = Integrity(database, store.files), store.absolute(bad.path)
    assert checking.damaged([good.path, bad.path]) == ()
    flip(path, -1)
    for _ in range(3):
        assert checking.damaged([good.path, bad.path]) == (bad.path,)
    assert standing(database) == [(bad.path, 1, "1.2.3")]
    recheck(database, store)
    assert standing(database), "it is still damaged"
    assert stored(store, database, 2) == bad, "as the same instance comes again"
    assert checking.damaged([bad.path]) == ()
    recheck(database, store)
    assert standing(database) == []
    with database.read() as session:
        actions = [(one.event.action, one.event.subject) for one in audit.recent(session, limit=50)]
    assert actions[:2] == [("fault:mended", bad.path), ("fault:damaged_file", bad.path)]


def test_a_damaged_file_of_a_purged_study_is_no_fault(store: InstanceStore, database: Database) -> None:
    with database.begin() as session:
        faults.report(session, faults.DAMAGED_FILE, "instances/ab/gone.dcm")
    recheck(database, store)
    assert standing(database) == []


def test_a_large_file_counts_as_checked_for_a_while(
    store: InstanceStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "LARGE_BYTES", 1000)
    large = stored(store, database, size=5000)
    checking, path = Integrity(database, store.files), store.absolute(large.path)
    assert checking.damaged([large.path]) == ()
    monkeypatch.setattr(integrity, "content_name", lambda _path: pytest.fail("read again"))
    assert checking.damaged([large.path]) == ()
    monkeypatch.undo()
    monkeypatch.setattr(integrity, "LARGE_BYTES", 1000)
    flip(path, -1)
    assert checking.damaged([large.path]) == (large.path,), "its change time differs"
    monkeypatch.setattr(integrity, "TRUSTED_S", 0.0)
    assert checking.damaged([large.path]) == (large.path,)
