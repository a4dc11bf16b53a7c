"""Re-indexing of acknowledged instances after a restore of an older database."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from db.database import Database
from db.domain.errors import InvalidRecordError
from db.domain.studies import InstanceRecord, ReceivedInstance, StoreVerdict, StudyState
from db.intake.ingest import record_arrivals
from db.studies.instances import series_instances, series_record
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.intake.instance_intake import Announced, Intake
from dicom_node.intake.instance_intake import Sender as Calling
from dicom_node.intake.reindex import ReindexedFile, reindex
from dicom_node.storage.instance_store import InstanceStore
from tests.support.factories import CtSeries, ct_series, sqlite_database
from tests.support.intake import receive_instance
from tests.support.scale_out import make_series
from tests.support.service import Sender, Service

TODAY = datetime(2026, 11, 29, tzinfo=UTC)


@dataclass
class ReindexSetup:
    """Three instances in the store that another database knows."""

    lost: Database
    database: Database
    store: InstanceStore
    series: CtSeries

    def reindex(self) -> list[ReindexedFile]:
        return list(reindex(self.database, self.store, Intake(self.store, self.database)))

    def rows(self, database: Database) -> list[InstanceRecord]:
        with database.read() as session:
            record = series_record(session, series_instance_uid=self.series.series_instance_uid)
            instances = () if record is None else series_instances(session, record.id)
        return sorted(instances, key=lambda one: one.sop_instance_uid)


def receive(store: InstanceStore, database: Database, series: CtSeries) -> None:
    intake = Intake(store, database)
    for path in series.paths:
        content = path.read_bytes()
        meta, start = read_file_meta(content)
        announced = Announced(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid)
        assert receive_instance(intake, announced, content[start:], Calling("PACS", "10.0.0.7")).is_stored


@pytest.fixture
def setup(tmp_path: Path, database: Database) -> Iterator[ReindexSetup]:
    lost = sqlite_database(tmp_path / "lost.db")
    series = ct_series(tmp_path / "sent", n=3, rows=16)
    with InstanceStore(tmp_path / "store") as store:
        receive(store, lost, series)
        yield ReindexSetup(lost, database, store, series)
    lost.dispose()


def test_files_that_no_row_names_become_what_they_were(setup: ReindexSetup) -> None:
    assert [entry.is_new for entry in setup.reindex()] == [True] * 3
    before, after = setup.rows(setup.lost), setup.rows(setup.database)
    assert len(before) == 3
    assert [replace(one, received_at=TODAY) for one in after] == [replace(one, received_at=TODAY) for one in before]
    assert [(entry.is_new, entry.problem) for entry in setup.reindex()] == [(False, "")] * 3


def test_a_file_that_contradicts_its_name_is_left_and_reported(setup: ReindexSetup) -> None:
    altered, cut, _ = sorted(setup.store.root.rglob("*.dcm"))
    altered.write_bytes(altered.read_bytes()[:-2] + b"\1\2")
    cut.write_bytes(cut.read_bytes()[:300])
    contents = altered.read_bytes(), cut.read_bytes()
    entry = {entry.path: entry for entry in setup.reindex()}
    assert entry[str(altered.relative_to(setup.store.root))].problem == "damaged"
    assert entry[str(cut.relative_to(setup.store.root))].problem
    assert sum(one.is_new for one in entry.values()) == len(setup.rows(setup.database)) == 1
    assert (altered.read_bytes(), cut.read_bytes()) == contents


def test_what_contradicts_the_records_is_left_and_kept(setup: ReindexSetup, tmp_path: Path) -> None:
    """Meanwhile the study came under another patient: the records' first stays, but nothing is thrown away."""
    ds = pydicom.dcmread(setup.series.paths[0])
    ds.PatientID, ds.SOPInstanceUID = "SOMEBODY-ELSE", "2.25.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(tmp_path / "other.dcm")
    with InstanceStore(tmp_path / "elsewhere") as elsewhere:
        receive(elsewhere, setup.database, replace(setup.series, paths=(tmp_path / "other.dcm",)))
    assert [entry.problem for entry in setup.reindex()] == ["patient_conflict"] * 3
    assert len(list(setup.store.root.rglob("*.dcm"))) == 3


def test_a_file_that_the_index_cannot_hold_keeps_no_other_from_it(
    setup: ReindexSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = min(str(path.relative_to(setup.store.root)) for path in setup.store.root.rglob("*.dcm"))

    def record(database: Database, instances: Sequence[ReceivedInstance]) -> list[StoreVerdict]:
        if instances[0].path == refused:
            raise InvalidRecordError("patient_id", "holds characters that cannot be stored")
        return record_arrivals(database, instances)

    monkeypatch.setattr("dicom_node.intake.reindex.record_arrivals", record)
    entries = {one.path: one for one in setup.reindex()}
    assert entries.pop(refused).problem == "invalid-attribute"
    assert [one.is_new for one in entries.values()] == [True, True]


def test_what_is_just_being_purged_stays_purged(setup: ReindexSetup) -> None:
    paths = [str(path.relative_to(setup.store.root)) for path in setup.store.root.rglob("*.dcm")]
    journal = setup.store.root / "purged" / "ab.json"
    journal.parent.mkdir()
    journal.write_text(json.dumps({"at": "2026-01-01T00:00:00+00:00", "paths": paths}))
    assert not any(entry.is_new for entry in setup.reindex())
    assert setup.rows(setup.database) == []


@pytest.mark.slow
def test_a_database_of_yesterday_gets_todays_studies_back(tmp_path: Path) -> None:
    """The records are put back to a copy; a command makes them whole, and what was never answered is answered."""
    service = Service(tmp_path / "home")
    with closing(service):
        yesterday, today = (make_series(tmp_path, number) for number in (1, 2))
        sender = Sender(int(service.start()["dicom"]["port"]))
        sender.send(yesterday.paths)
        service.wait_finished(yesterday.series_instance_uid)
        with (
            closing(sqlite3.connect(service.home / "lungnode.db")) as live,
            closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
        ):
            live.backup(copy)
        sender.send(today.paths)
        assert len(sender.acknowledged) == len(yesterday.paths) + len(today.paths)
        service.close()
        for name in ("lungnode.db-wal", "lungnode.db-shm"):
            (service.home / name).unlink(missing_ok=True)
        (tmp_path / "copy.db").replace(service.home / "lungnode.db")
    service = Service(tmp_path / "home")
    with closing(service):
        assert service.instances(today.series_instance_uid) == ()
        assert run_reindex(service) == {"files": 48, "indexed": 24, "left": 0}
        assert len(service.instances(today.series_instance_uid)) == len(today.paths)
        assert service.damaged(today.series_instance_uid) == []
        service.start()
        assert service.wait_finished(today.series_instance_uid).state is StudyState.ANALYSED
        assert run_reindex(service) == {"files": 48, "indexed": 0, "left": 0}  # beside the running service


def run_reindex(service: Service) -> dict[str, int]:
    command = [sys.executable, "-m", "lungnode", "store", "reindex"]
    done = subprocess.run(command, env=service._environment(), capture_output=True, text=True, check=True, timeout=60)
    return dict(json.loads(done.stdout.splitlines()[-1]))
