"""Input and output of the process that makes result objects; plain values, no datasets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from db.domain.analyses import AnalysisRecord
from db.domain.exchange import ResultObject, RetractionRecord
from db.domain.findings import FindingRecord
from dicom_node.encoding.uids import derived_uid
from dicom_node.storage.files import RESULTS

RECIPE = "results-6"
"""Part of every derived UID: changes with what the objects say, so that a new layout never reuses an old UID."""
SERIES_DESCRIPTION = "lungnode second reader, not a diagnosis"
MANUFACTURER = "lungnode"
FINDINGS_PER_PAGE, MAX_PAGES = 4, 3


@dataclass(frozen=True, slots=True)
class ResultKind:
    """A kind of result object: its name, SOP class and series."""

    name: str
    sop_class_uid: str
    modality: str
    series_number: int


KINDS = {
    "sr": ResultKind("structured report", Comprehensive3DSRStorage, "SR", 9801),
    "sc": ResultKind("summary image", SecondaryCaptureImageStorage, "OT", 9802),
    "pr": ResultKind("presentation state", GrayscaleSoftcopyPresentationStateStorage, "PR", 9803),
    "verified": ResultKind("verified report", Comprehensive3DSRStorage, "SR", 9804),
    "ko": ResultKind("rejection note", KeyObjectSelectionDocumentStorage, "KO", 9805),
    "seg": ResultKind("segmentation", SegmentationStorage, "SEG", 9807),
}
"""By name: structured report, summary page, outlines on the slices, report that a reader verified, withdrawal, and
the measured voxels of findings. Series Number 9806 was that of the attention maps of version 1.0."""
CHOSEN_KINDS = ("sr", "sc", "pr", "seg")
"""Default kinds of result objects; the report is always made."""


@dataclass(frozen=True, slots=True)
class CreatedResults:
    """Result objects of a job, and the kinds that failed, each with the name of an exception's class."""

    objects: list[ResultObject]
    failures: dict[str, str]


@dataclass(frozen=True, slots=True)
class SourceInstance:
    """A source image of the analysis; ``path`` is absolute."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path


class Purpose(StrEnum):
    """Objects to make of an analysis: its report, the report verified by readers, or its rejection note."""

    REPORT = "report"
    VERIFIED = "verified"
    RETRACTION = "retraction"


@dataclass(frozen=True, slots=True)
class ReportJob:
    """A finished analysis with all contents of its result objects.

    Attributes
    ----------
    sources
        The instances that the analysis covers.
    algorithm_parameters
        Parameters of the algorithm by name (``temperature``, ...), as the report states them.
    software_version
        Version of this software.
    station
        AE title under which this node is known.
    folder
        Where result files go: the root of the store.
    earlier
        What was made of the analysis before: predecessors of a verified report, or what a withdrawal rejects.
    retraction
        Who withdraws, and why.
    organization
        For whom readers verify; where it is empty, the source's institution.
    kinds
        What is made of an answer, by names of ``KINDS``.
    reader_names
        Names of readers who are recorded by another text, as people of an identity provider are.
    is_minimal
        Whether objects inherit no more of their source than they cannot do without.
    """

    analysis: AnalysisRecord
    findings: tuple[FindingRecord, ...]
    sources: tuple[SourceInstance, ...]
    folder: Path
    station: str
    software_version: str
    algorithm_parameters: dict[str, str] = field(default_factory=dict)
    purpose: Purpose = Purpose.REPORT
    earlier: tuple[ResultObject, ...] = ()
    retraction: RetractionRecord | None = None
    organization: str = ""
    kinds: tuple[str, ...] = CHOSEN_KINDS
    reader_names: dict[str, str] = field(default_factory=dict)
    is_minimal: bool = False

    def reader_name(self, actor: str) -> str:
        """Return the name of a reader for the objects."""
        return self.reader_names.get(actor, actor)

    @property
    def content_digest(self) -> str:
        """Digest of the report's content: input, model, outcome; without the time of the analysis."""
        content: dict[str, object] = {
            "recipe": RECIPE,
            "input": self.analysis.input_digest,
            "model": asdict(self.analysis.model),
            "parameters": self.algorithm_parameters,
            "reasons": [asdict(reason) for reason in self.analysis.reasons],
            "caveats": [asdict(caveat) for caveat in self.analysis.caveats],
            "findings": [asdict(record.finding) for record in self.findings],
        }
        if self.purpose is Purpose.VERIFIED:
            content["verdicts"] = [record.assessment and record.assessment.id for record in self.findings]
        if self.purpose is Purpose.RETRACTION:
            content["rejected"] = [result.sop_instance_uid for result in self.earlier]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def uid(self, *role: str) -> str:
        """Return a UID of this report: the same for the same series, model and content."""
        return derived_uid(
            "lungnode result", self.analysis.series_instance_uid, self.analysis.model.sha256, self.content_digest, *role
        )


def expected_objects(job: ReportJob) -> list[ResultObject]:
    """Return the result objects of a job without making them, in the order in which they are made.

    Of presentation states the first: only the images tell whether there are more (``results_pr.presentation_states``).
    """
    if job.purpose is Purpose.VERIFIED:
        return [result_object(job, "verified")]
    if job.purpose is Purpose.RETRACTION:
        return [result_object(job, "ko")]
    return [result_object(job, kind, number) for kind, count in _counts(job).items() for number in range(1, count + 1)]


def _counts(job: ReportJob) -> dict[str, int]:
    """Return how many objects of each kind are made of an answer."""
    counts = {
        "sr": 1,
        "sc": page_count(job),
        "pr": int(bool(job.findings)),
        "seg": int(bool(segment_numbers(job))),
    }
    return {kind: count for kind, count in counts.items() if kind in ("sr", *job.kinds)}


def segment_numbers(job: ReportJob) -> dict[int, int]:
    """Return the segment of each measured finding, by the finding's number in the report; both count from 1.

    Empty where no segmentation is made. Of multi-frame images, masks on frames of one image alone become segments.
    """
    if job.purpose is not Purpose.REPORT or "seg" not in job.kinds:
        return {}
    classes = {source.sop_instance_uid: source.sop_class_uid for source in job.sources}
    measured: list[int] = []
    images: set[str] = set()
    for number, record in enumerate(job.findings, start=1):
        mask = record.finding.mask
        own = {one.sop_instance_uid for one in mask.slices} if mask is not None else set()
        if own and own <= classes.keys():
            measured.append(number)
            images |= own
    if len(images) > 1 and any(classes[uid] != CTImageStorage for uid in images):
        return {}
    return {number: segment for segment, number in enumerate(measured, start=1)}


def tracking_identifier(job: ReportJob, number: int) -> tuple[str, str]:
    """Return the tracking UID and the tracking identifier of a finding by its number in the report."""
    return job.uid("finding", str(number)), f"Finding {number}"


def result_object(job: ReportJob, kind: str, number: int = 1) -> ResultObject:
    """Return one object of a job: its UIDs follow from the content of the report."""
    uid, about = job.uid(kind, "instance", str(number)), KINDS[kind]
    return ResultObject(
        kind=kind,
        sop_class_uid=about.sop_class_uid,
        sop_instance_uid=uid,
        series_instance_uid=job.uid(kind, "series"),
        series_number=about.series_number,
        modality=about.modality,
        instance_number=number,
        path=result_path(uid),
    )


def page_count(job: ReportJob) -> int:
    """Return the number of summary pages of a job."""
    return min(max(1, -(-len(job.findings) // FINDINGS_PER_PAGE)), MAX_PAGES)


def result_path(sop_instance_uid: str) -> str:
    """Return the path of a result's file in the store: a digest, never a UID."""
    name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
    return f"{RESULTS}/{name[:2]}/{name}.dcm"
