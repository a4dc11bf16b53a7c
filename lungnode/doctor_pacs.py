"""What ``lungnode doctor --pacs`` tries: does this PACS take what we send and answer what we ask.

It is sent real result objects, a structured report and a summary image, about a generated chest that is nobody's; they
carry the patient name ``LUNGNODE^DOCTOR`` and are the same at every visit, so that a PACS keeps them once.
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
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from db.domain import AnalysisRecord, AnalysisStatus, FindingOrigin, FindingRecord, ModelIdentity, NewFinding
from dicom_node.phantom.spec import Phantom, PhantomSpec
from dicom_node.phantom.writer import SeriesIdentity, write_series
from dicom_node.results import ResultsError, make_in_child
from dicom_node.results_job import COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE, ReportJob, SourceInstance
from lungnode.doctor import Check
from lungnode.logs import strip_pynetdicom
from lungnode.reach import listens
from lungnode.settings import Destination, Settings

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
KINDS = {COMPREHENSIVE_3D_SR: "structured report", SECONDARY_CAPTURE: "summary image"}
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
TIMEOUT_S = 15.0
MOMENT = datetime(2026, 1, 5, 9, 15, tzinfo=UTC)
_PENDING = (0xFF00, 0xFF01)


def examine_pacs(settings: Settings, pacs: Destination) -> list[Check]:
    """Try C-ECHO, C-STORE of each result type, C-FIND and a storage commitment request, on one association."""
    strip_pynetdicom()
    if not listens(pacs.host, pacs.port, TIMEOUT_S):
        return [Check("association", False, f"nothing listens at {pacs.host}:{pacs.port}; check address and firewall")]
    ae = AE(settings.dicom.ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = TIMEOUT_S
    for abstract_syntax in (VERIFICATION, *KINDS, STUDY_ROOT_FIND, STORAGE_COMMITMENT):
        ae.add_requested_context(abstract_syntax, SYNTAXES)
    association = ae.associate(pacs.host, pacs.port, ae_title=pacs.ae_title)
    try:
        if not association.is_established:
            return [Check("association", False, _why_not(association, settings, pacs))]
        return [
            Check("association", True, f"{pacs.ae_title} at {pacs.host}:{pacs.port} knows {settings.dicom.ae_title}"),
            *_services(association, settings),
        ]
    finally:
        if association.is_established:
            association.release()


def _why_not(association: Association, settings: Settings, pacs: Destination) -> str:
    if association.is_rejected:
        return (
            f"{pacs.ae_title} rejected the association: is {settings.dicom.ae_title} registered there, "
            f"and is its AE title {pacs.ae_title}?"
        )
    return f"what listens at {pacs.host}:{pacs.port} does not answer DICOM within {TIMEOUT_S:.0f} s"


def _services(association: Association, settings: Settings) -> Iterator[Check]:
    yield _echo(association)
    with tempfile.TemporaryDirectory() as folder:
        try:
            objects = make_objects(Path(folder), settings.dicom.ae_title)
        except ResultsError as error:
            yield Check("result objects", False, str(error))
            return
        for ds in objects:
            yield _store(association, ds)
        yield _find(association, objects)
        yield _commit(association, objects)


def _accepts(association: Association, abstract_syntax: str) -> bool:
    return any(context.abstract_syntax == abstract_syntax for context in association.accepted_contexts)


def _echo(association: Association) -> Check:
    if not _accepts(association, VERIFICATION):
        return Check("C-ECHO", False, "the PACS does not offer Verification")
    return _told("C-ECHO", association.send_c_echo())


def _store(association: Association, ds: Dataset) -> Check:
    kind = KINDS[str(ds.SOPClassUID)]
    name = f"C-STORE {kind}"
    if not _accepts(association, str(ds.SOPClassUID)):
        return Check(name, False, f"the PACS does not take this SOP class ({ds.SOPClassUID.name})")
    return _told(name, association.send_c_store(ds))


def _find(association: Association, objects: Sequence[Dataset]) -> Check:
    if not _accepts(association, STUDY_ROOT_FIND):
        return Check("C-FIND", False, "the PACS does not offer Study Root Query to this node")
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = objects[0].StudyInstanceUID
    found = 0
    for status, _ in association.send_c_find(query, STUDY_ROOT_FIND):
        if "Status" in status and status.Status in _PENDING:
            found += 1
        else:
            answer = _told("C-FIND", status)
            remark = f"{found} match" if found else "answered, the test study is not listed (yet)"
            return Check("C-FIND", True, remark) if answer.is_fine else answer
    return Check("C-FIND", False, "no answer")


def _commit(association: Association, objects: Sequence[Dataset]) -> Check:
    """Ask for commitment; the PACS' report would go to the running service, so only its receipt counts here."""
    name = "storage commitment"
    if not _accepts(association, STORAGE_COMMITMENT):
        return Check(name, True, "not offered: deliveries end at `sent`")
    action = Dataset()
    action.TransactionUID = f"{objects[0].StudyInstanceUID[:60]}.1"
    action.ReferencedSOPSequence = [_reference(ds) for ds in objects]
    status, _ = association.send_n_action(action, 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
    return _told(name, status)


def _reference(ds: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return item


def _told(name: str, status: Dataset) -> Check:
    if "Status" not in status:
        return Check(name, False, "no answer: the PACS aborted or timed out")
    if status.Status == 0 or status.Status & 0xF000 == 0xB000:
        return Check(name, True, "accepted" if status.Status == 0 else f"accepted with warning 0x{status.Status:04X}")
    return Check(name, False, f"refused with status 0x{status.Status:04X}; the log of the PACS says why")


def make_objects(folder: Path, station: str) -> list[Dataset]:
    """Make one result object of each type about a generated chest of three slices."""
    sources, identity = _sources(folder / "series", station)
    job = ReportJob(
        analysis=_analysis(sources, identity),
        findings=(_finding(sources[1]),),
        sources=sources,
        folder=folder / "results",
        station=station,
        software_version=version("lungnode"),
    )
    return [dcmread(job.folder / made.path) for made in make_in_child(job)]


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
        interval=(0.0, 1.0),
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
