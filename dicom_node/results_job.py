"""What goes into and comes out of the process that makes result objects; plain values, no datasets."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from db.domain import AnalysisRecord, FindingRecord
from dicom_node.uids import derived_uid

RECIPE = "results-1"
"""Part of every derived UID: changes with what the objects say, so that a new layout never reuses an old UID."""
SERIES_DESCRIPTION = "lungnode second reader, not a diagnosis"
MANUFACTURER = "lungnode"
SR_SERIES_NUMBER, SC_SERIES_NUMBER = 9801, 9802
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FINDINGS_PER_PAGE, MAX_PAGES = 4, 3


@dataclass(frozen=True, slots=True)
class SourceInstance:
    """A source image of the analysis; ``path`` is absolute."""

    sop_instance_uid: str
    sop_class_uid: str
    path: Path


@dataclass(frozen=True, slots=True)
class ReportJob:
    """An answered analysis with everything that its result objects say.

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
        Where result files go: the ``results`` folder of the store.
    """

    analysis: AnalysisRecord
    findings: tuple[FindingRecord, ...]
    sources: tuple[SourceInstance, ...]
    folder: Path
    station: str
    software_version: str
    algorithm_parameters: dict[str, str] = field(default_factory=dict)

    @property
    def content_digest(self) -> str:
        """Digest of what the report says: input, model, outcome. The moment of the analysis is not part of it."""
        said = {
            "recipe": RECIPE,
            "input": self.analysis.input_digest,
            "model": asdict(self.analysis.model),
            "parameters": self.algorithm_parameters,
            "reasons": [asdict(reason) for reason in self.analysis.reasons],
            "findings": [asdict(record.finding) for record in self.findings],
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()

    def uid(self, *role: str) -> str:
        """UID of something in this report: the same for the same series, model and content, whoever asks."""
        return derived_uid(
            "lungnode result", self.analysis.series_instance_uid, self.analysis.model.sha256, self.content_digest, *role
        )


@dataclass(frozen=True, slots=True)
class ResultObject:
    """A result object on disk. ``kind`` is ``sr`` or ``sc``; ``path`` is relative to the results folder."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    path: str


def expected_objects(job: ReportJob) -> list[ResultObject]:
    """Name all result objects of a job without making them: the structured report, then the pages of the summary."""
    report = ResultObject("sr", COMPREHENSIVE_3D_SR, job.uid("sr", "instance"), result_path(job.uid("sr", "instance")))
    uids = [job.uid("sc", "instance", str(number)) for number in range(1, page_count(job) + 1)]
    return [report, *(ResultObject("sc", SECONDARY_CAPTURE, uid, result_path(uid)) for uid in uids)]


def page_count(job: ReportJob) -> int:
    """How many pages the summary of a job has."""
    return min(max(1, -(-len(job.findings) // FINDINGS_PER_PAGE)), MAX_PAGES)


def result_path(sop_instance_uid: str) -> str:
    """Name of a result's file, relative to the results folder: a digest, never a UID."""
    name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
    return f"{name[:2]}/{name}.dcm"
