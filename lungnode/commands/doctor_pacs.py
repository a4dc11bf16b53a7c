"""``lungnode doctor --pacs``: tests a PACS with C-ECHO, C-STORE, C-FIND and storage commitment.

The result objects that are sent belong to a dummy patient, ``LUNGNODE^DOCTOR``, and have the same UIDs each time, so
that a PACS stores them once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom.sop_class import Verification

from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.findings import FindingOrigin, FindingRecord, NewFinding
from db.domain.masks import FindingAxes, FindingMask, MaskSlice
from db.domain.models import ModelIdentity
from dicom_node.client.peer import (
    NodeUnreachableError,
    ScuTimeouts,
    StoreOutcome,
    store_contexts,
)
from dicom_node.client.query_client import QueryConnection
from dicom_node.client.query_keys import QueryError
from dicom_node.encoding.commitment_messages import COMMITMENT_CLASS
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import Phantom, PhantomSpec
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.query_models import STUDY_ROOT_FIND
from dicom_node.results.job import (
    CHOSEN_KINDS,
    ReportJob,
    SourceInstance,
)
from dicom_node.results.objects import ResultsError, make_in_child
from lungnode.commands.doctor import Check
from lungnode.settings.dicom import Destination
from lungnode.settings.service import Settings
from lungnode.wiring.nodes import remote_node

KINDS = {
    Comprehensive3DSRStorage: "structured report",
    SecondaryCaptureImageStorage: "summary image",
    GrayscaleSoftcopyPresentationStateStorage: "presentation state",
    SegmentationStorage: "segmentation",
}
TIMEOUTS = ScuTimeouts(connect_s=10.0, association_s=15.0, response_s=30.0)
COMMITMENT_WAIT_S = 5.0
MOMENT = datetime(2026, 1, 5, 9, 15, tzinfo=UTC)


def examine_pacs(settings: Settings, pacs: Destination) -> list[Check]:
    """Test C-ECHO, C-STORE of each result type, C-FIND and storage commitment on one association."""
    configured = [
        node for node in settings.dicom.destinations if (node.ae_title, node.port) == (pacs.ae_title, pacs.port)
    ]
    node = remote_node(settings, configured[0].model_copy(update={"host": pacs.host}) if configured else pacs)
    station = settings.dicom.ae_title
    contexts = store_contexts((Verification, *KINDS, STUDY_ROOT_FIND, COMMITMENT_CLASS))
    with tempfile.TemporaryDirectory() as folder:  # created before the association is opened
        try:
            objects = make_objects(Path(folder), station, settings.dicom.results)
        except ResultsError as error:
            return [Check("result objects", False, str(error))]
        try:
            with QueryConnection(node, station, contexts, TIMEOUTS) as connection:
                text = f"{pacs.ae_title} at {pacs.host}:{pacs.port} accepts {station}"
                return [Check("association", True, text), *_services(connection, objects)]
        except NodeUnreachableError as error:
            hint = _hint(error, station, pacs, is_tls=node.tls is not None)
            return [Check("association", False, f"{pacs.host}:{pacs.port}: {error.reason}; {hint}")]


def _hint(error: NodeUnreachableError, station: str, pacs: Destination, *, is_tls: bool) -> str:
    """Return what to check, by the reason for the failed association."""
    if "address" in error.reason:
        return "is it running and reachable from this machine?"
    if is_tls:
        return "does it use TLS and trust the CA of our certificate?"
    hint = f"is {station} registered there, and is its AE title {pacs.ae_title}?"
    return (
        hint if "rejected" in error.reason else f'{hint} If it uses TLS, configure it as a destination with "tls": true'
    )


def _services(connection: QueryConnection, objects: Sequence[Dataset]) -> Iterator[Check]:
    yield _echo(connection)
    for ds in objects:
        yield _store(connection, ds)
    yield _commit(connection, objects)
    yield _find(connection, objects)  # last: a PACS without query permission aborts the association


def _echo(connection: QueryConnection) -> Check:
    if not connection.accepts(Verification):
        return Check("C-ECHO", False, "the PACS does not offer Verification")
    is_fine = connection.echo()
    return Check("C-ECHO", is_fine, "answered" if is_fine else "not answered with success")


def _store(connection: QueryConnection, ds: Dataset) -> Check:
    answer = connection.store(ds)
    is_fine = answer.outcome is StoreOutcome.STORED
    return Check(f"C-STORE {KINDS[str(ds.SOPClassUID)]}", is_fine, answer.reason or "stored")


def _find(connection: QueryConnection, objects: Sequence[Dataset]) -> Check:
    if not connection.accepts(STUDY_ROOT_FIND):
        return Check("C-FIND", False, "the PACS does not offer Study Root Query to this node")
    try:
        studies = connection.find_studies(study_instance_uid=str(objects[0].StudyInstanceUID))
    except QueryError as error:
        return Check("C-FIND", False, f"{error}; is this node allowed to query there?")
    return Check("C-FIND", True, "lists the test study" if studies else "answered; the test study is not listed (yet)")


def _commit(connection: QueryConnection, objects: Sequence[Dataset]) -> Check:
    name = "storage commitment"
    if not connection.accepts(COMMITMENT_CLASS):
        return Check(name, True, "not offered: deliveries end at `sent`")
    transaction_uid = str(generate_uid(prefix=None))
    references = [(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in objects]
    if refusal := connection.request_commitment(references, transaction_uid):
        return Check(name, False, refusal)
    report = connection.wait_for_report(transaction_uid, COMMITMENT_WAIT_S)
    if report is None:
        return Check(name, True, "request accepted; the report follows on a separate association")
    return Check(name, not report.failed, f"{len(report.committed)} of {len(objects)} objects committed")


def make_objects(folder: Path, station: str, kinds: tuple[str, ...] = CHOSEN_KINDS) -> list[Dataset]:
    """Create one result object of each type for a generated chest of three slices."""
    sources, identity = _sources(folder / "series", station)
    job = ReportJob(
        analysis=_analysis(sources, identity),
        findings=(_finding(sources[1]),),
        sources=sources,
        folder=folder,
        station=station,
        software_version=version("lungnode"),
        kinds=kinds,
    )
    return [dcmread(job.folder / result.path) for result in make_in_child(job)]


def _sources(folder: Path, station: str) -> tuple[tuple[SourceInstance, ...], SeriesIdentity]:
    spec = PhantomSpec(slices=3, rows=64, columns=64, nodules=())
    volume_hu = np.full((3, 64, 64), -850, dtype=np.int16)
    volume_hu[:, 28:36, 28:36] = 30
    phantom = Phantom(spec, volume_hu, (2.5, 0.7, 0.7), (-22.4, -22.4, 0.0), ())
    identity = SeriesIdentity(
        patient_name="LUNGNODE^DOCTOR",
        patient_id="LUNGNODE-DOCTOR",
        accession_number="DOCTOR",
        study_description="TEST OBJECTS OF LUNGNODE DOCTOR",
        uid_seed=f"doctor {station}",
    ).resolved("")
    paths = write_series(phantom, folder, identity)
    headers = [(dcmread(path, stop_before_pixels=True), path) for path in paths]
    sources = tuple(SourceInstance(str(ds.SOPInstanceUID), str(ds.SOPClassUID), path) for ds, path in headers)
    return sources, identity


def _analysis(sources: Sequence[SourceInstance], identity: SeriesIdentity) -> AnalysisRecord:
    return AnalysisRecord(
        id="doctor",
        series_id="doctor",
        series_instance_uid=identity.series_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        input_digest="0" * 64,
        model=ModelIdentity("test object, no model", "0", "0" * 64),
        status=AnalysisStatus.CURRENT,
        reasons=(),
        requested_by="doctor",
        attempts=1,
        requested_at=MOMENT,
        started_at=MOMENT,
        finished_at=MOMENT,
        instance_count=len(sources),
    )


def _finding(source: SourceInstance) -> FindingRecord:
    finding = NewFinding(
        sop_instance_uid=source.sop_instance_uid,
        frame_number=1,
        row=31.5,
        column=31.5,
        position_mm=(-0.35, -0.35, 2.5),
        diameter_mm=5.6,
        nodule_probability=0.5,
        malignancy_probability=0.5,
        interval=None,
        attributes={"attention": {"field_mm": 22.4, "weights": [[0.0, 1.0], [1.0, 0.0]]}, "perpendicular_mm": 5.6},
        mask=FindingMask(
            slices=(MaskSlice(source.sop_instance_uid, 1),),
            row=28,
            column=28,
            rows=8,
            columns=8,
            runs=(0, 64),
            axes=FindingAxes(0, ((27.5, 31.5), (35.5, 31.5)), ((31.5, 27.5), (31.5, 35.5))),
        ),
    )
    return FindingRecord(
        id="doctor",
        analysis_id="doctor",
        series_instance_uid="",
        study_instance_uid="",
        origin=FindingOrigin.MODEL,
        finding=finding,
        model=ModelIdentity("test object, no model", "0", "0" * 64),
        assessment=None,
        created_at=MOMENT,
        created_by="doctor",
    )
