"""A worker of its own over a database and a store, which tests fill, watch and kill."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pydicom
import pytest

from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisRecord
from db.domain.studies import PatientAttributes, ReceivedInstance, SeriesRecord
from db.read_models import studies
from db.studies.instances import series_record
from dicom_node.phantom.writer import SeriesIdentity
from tests.support import workflow_process
from tests.support.factories import ct_series
from tests.support.records import record_instance
from tests.support.service import FINISHED, until

FORKED = multiprocessing.get_context("forkserver")
"""Starts workers, each a process of its own, from one that has loaded their modules already."""
FORKED.set_forkserver_preload(["tests.support.workflow_process"])


@dataclass
class Node:
    """A database, a store and the worker process over them, which may be killed."""

    folder: Path
    url: str
    database: Database
    options: dict[str, object] = field(default_factory=dict)
    process: ForkServerProcess | None = None

    @property
    def system_url(self) -> str:
        """URL of the queue's database."""
        return f"sqlite:///{self.folder / 'dbos.db'}" if self.url.startswith("sqlite") else self.url

    def start(self) -> None:
        options = {"folder": str(self.folder), "url": self.url, "system_url": self.system_url, **self.options}
        ready, theirs = FORKED.Pipe(duplex=False)
        with ready, theirs:
            self.process = FORKED.Process(target=workflow_process.main, args=(options, self.log, theirs))
            self.process.start()
            theirs.close()
            with contextlib.suppress(EOFError):
                ready.recv()
                return
        raise AssertionError(self.log.read_text()[-3000:])

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process.close()
            self.process = None

    def calls(self, slices: int) -> int:
        return len(list((self.folder / "calls").glob(f"{slices}-*")))

    def makings(self) -> list[str]:
        """Analyses whose results were made, or begun; each as often as that was."""
        return [mark.name.rpartition("-")[0] for mark in (self.folder / "makings").glob("*")]

    def results(self) -> list[str]:
        """Analyses whose results are made."""
        return sorted(path.name for path in (self.folder / "results").glob("*"))

    def failures(self) -> int:
        """Number of recorded failures to make results."""
        with self.database.read() as session:
            return sum(entry.event.action == "results:failed" for entry in audit.recent(session, limit=500))

    def receive(self, slices: int, number: int) -> str:
        """Put a series of so many slices into the store and the index, as the intake does."""
        identity = SeriesIdentity(patient_id=f"P{number}", uid_seed=f"series {number}")
        series = ct_series(
            self.folder / f"made-{number}", n=slices, rows=16, spacing_mm=(2.5, 0.7, 0.7), identity=identity
        )
        (self.folder / "store").mkdir(exist_ok=True)
        for path in series.paths:
            self._record(path, series.study_instance_uid, f"P{number}")
        return series.series_instance_uid

    def _record(self, path: Path, study_uid: str, patient: str) -> None:
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        shutil.copy(path, self.folder / "store" / digest)
        instance = ReceivedInstance(
            sop_instance_uid=ds.SOPInstanceUID,
            sop_class_uid=ds.SOPClassUID,
            transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
            study_instance_uid=study_uid,
            series_instance_uid=ds.SeriesInstanceUID,
            patient=PatientAttributes(patient),
            path=digest,
            size_bytes=len(content),
            sha256=digest,
            modality="CT",
        )
        with self.database.begin() as session:
            record_instance(session, instance)

    def series(self, uid: str) -> SeriesRecord:
        with self.database.read() as session:
            record = series_record(session, series_instance_uid=uid)
        assert record is not None
        return record

    def analyses(self, series_uid: str) -> list[AnalysisRecord]:
        study_uid = self.series(series_uid).study_instance_uid
        with self.database.read() as session:
            detail = studies.study_detail(session, study_uid)
        assert detail is not None
        return [analysis for analysis in detail.analyses if analysis.series_instance_uid == series_uid]

    def wait(self, uid: str, timeout_s: float = 240.0) -> SeriesRecord:
        return until(lambda: self.series(uid), lambda record: record.state in FINISHED, timeout_s)


@pytest.fixture
def node(tmp_path: Path, migrated_url: str) -> Iterator[Node]:
    database = Database(migrated_url, workflow_process.AUDIT_KEY)
    node = Node(tmp_path, migrated_url, database)
    yield node
    node.kill()
    database.dispose()
