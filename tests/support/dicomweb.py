"""A web server over real stored files, and the client of another project to ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from dicomweb_client.api import DICOMwebClient
from flask import Flask
from sqlalchemy import select

from db.analyses import analyses, findings
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.engine.session import new_id, now
from db.tables.exchange import ResultRow
from db.tables.studies import StudyRow
from dicom_node.intake.instance_intake import Intake
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.results.job import ReportJob, SourceInstance
from dicom_node.results.objects import make_in_child
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.storage.instance_store import InstanceStore
from lungnode.adapters.archive_files import ArchiveFiles
from lungnode.adapters.web_intake import WebIntake
from tests.support.factories import CtSeries, SimpleNodule, answer_series, ct_series, index_series, sqlite_database
from tests.support.webapp_doubles import CannedPredictor, VolumeImages, finding_at
from webapp.assembly import create_app
from webapp.http.server import make_server
from webapp.options import WebOptions


@dataclass(frozen=True)
class Archive:
    """A running server with what it serves."""

    url: str
    app: Flask
    database: Database
    store: InstanceStore

    @property
    def client(self) -> DICOMwebClient:
        return DICOMwebClient(self.url)


@contextmanager
def serving(folder: Path) -> Iterator[Archive]:
    """Serve an empty archive from a folder, sign-in off."""
    database, store = sqlite_database(folder), InstanceStore(folder / "store")
    files = ArchiveFiles(store, DecodeLimits(scratch=folder), database)
    options = WebOptions(upload_images_root=folder / "evidence", auth_required=False)
    app = create_app(
        database=database,
        predictor=CannedPredictor(),
        images=VolumeImages(),
        files=files,
        intake=WebIntake(Intake(store, database)),
        options=options,
    )
    server = make_server(app, "127.0.0.1", 0, options)
    threading.Thread(target=server.run, daemon=True).start()
    try:
        yield Archive(f"http://127.0.0.1:{server.effective_port}/dicom-web", app, database, store)
    finally:
        server.close()
        files.close()
        store.close()
        database.dispose()


def analysed_series(archive: Archive, folder: Path, n: int) -> CtSeries:
    """Store a chest with a nodule of ``n`` slices, a report, a summary page and a marked slice."""
    identity = SeriesIdentity(patient_name="Phantom^Ohif", patient_id="OHIF-1")
    nodule = SimpleNodule((n / 2, 100.0, 170.0), 16.0)
    series = ct_series(folder / "ct", n=n, rows=256, nodules=(nodule,), identity=identity)
    series_id = index_series(archive.database, series, archive.store.root)
    finding = finding_at(series.sop_instance_uids[n // 2], 100, 170)
    analysis_id = answer_series(archive.database, series_id, AnalysisOutcome((finding,)))
    with archive.database.read() as session:
        analysis = analyses.analysis_record(session, analysis_id)
        assert analysis is not None
        job = ReportJob(
            analysis=analysis,
            findings=findings.findings_of_analysis(session, analysis_id),
            sources=tuple(
                SourceInstance(one.sop_instance_uid, one.sop_class_uid, archive.store.root / one.path)
                for one in analyses.analysis_instances(session, analysis_id)
            ),
            folder=archive.store.root,
            station="LUNGNODE",
            software_version="test",
        )
    _keep(archive, analysis_id, job)
    return series


def _keep(archive: Archive, analysis_id: str, job: ReportJob) -> None:
    """Make the result objects and put them into the index."""
    for result in make_in_child(job):
        ds = pydicom.dcmread(job.folder / result.path, stop_before_pixels=True)
        with archive.database.begin() as session:
            session.add(
                ResultRow(
                    id=new_id(),
                    analysis_id=analysis_id,
                    study_id=session.scalars(select(StudyRow.id)).one(),
                    sop_instance_uid=result.sop_instance_uid,
                    sop_class_uid=result.sop_class_uid,
                    series_instance_uid=str(ds.SeriesInstanceUID),
                    series_number=int(ds.SeriesNumber),
                    modality=str(ds.Modality),
                    instance_number=int(ds.InstanceNumber),
                    kind=result.kind,
                    path=result.path,
                    created_at=now(session),
                )
            )
