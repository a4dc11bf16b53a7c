"""Rejection note: a Key Object Selection that rejects results (IHE IOCM, PS3.16 TID 2010, CID 7011)."""

from __future__ import annotations

from copy import deepcopy

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from db.domain.exchange import ResultObject, RetractionCode
from dicom_node.results.identity import SourceHeader, bear_identity
from dicom_node.results.job import ReportJob
from dicom_node.results.source import header, local_moment, plain, stamp
from dicom_node.results.verified_report import person_observer

TITLES = {
    RetractionCode.QUALITY: CodedConcept("113001", "DCM", "Rejected for Quality Reasons"),
    RetractionCode.SAFETY: CodedConcept("113037", "DCM", "Rejected for Patient Safety Reasons"),
}


def build_ko(job: ReportJob, identity: SourceHeader, result: ResultObject) -> KeyObjectSelectionDocument:
    """Reject every earlier object of an analysis."""
    if job.retraction is None:
        raise ValueError("a withdrawal needs who withdraws, and why")
    rejected = [_stub(job, identity, rejected_object) for rejected_object in job.earlier]
    content = KeyObjectSelection(
        document_title=TITLES[job.retraction.code],
        referenced_objects=rejected,
        observer_person_context=person_observer(job.reader_name(job.retraction.requested_by)),
        description=plain(job.retraction.reason) or None,
    )
    document = KeyObjectSelectionDocument(
        evidence=rejected,
        content=content,
        **header(job, result),
    )
    bear_identity(document, identity)
    stamp(document, local_moment(job.retraction.requested_at))
    return document


def _stub(job: ReportJob, identity: SourceHeader, rejected_object: ResultObject) -> Dataset:
    """Return a reference to a rejected object, with the identity that the document inherits."""
    ds = deepcopy(identity)
    ds.StudyInstanceUID = job.analysis.study_instance_uid
    ds.SeriesInstanceUID = rejected_object.series_instance_uid
    ds.SOPClassUID, ds.SOPInstanceUID = rejected_object.sop_class_uid, rejected_object.sop_instance_uid
    if rejected_object.kind not in ("sc", "pm", "seg"):  # pm: attention maps of version 1.0
        for keyword in ("Rows", "Columns"):  # by which highdicom recognizes images
            if keyword in ds:
                delattr(ds, keyword)
    return ds
