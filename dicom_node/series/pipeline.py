"""Analysis of one series: order, HU, prediction, and the outcome as records; also of a point that a reader marked.

Here the language of predictions (``inference.types``) is translated into that of records (``db.domain``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np

from db.domain.analyses import AnalysisOutcome
from db.domain.caveats import Caveat
from db.domain.findings import FRAME_OF_REFERENCE_UID, NewFinding
from db.domain.masks import FindingAxes, FindingMask, MaskSlice
from db.domain.reasons import OVERRULABLE, Reason
from db.domain.scanners import Scanner, scanner_of
from db.domain.uids import is_uid
from dicom_node.encoding.errors import RefusedError, UnfitImagesError
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.series.assembly import load_series
from dicom_node.series.types import LoadedSeries, StoredInstance, reason_of
from inference.drift.series_drift import summarise
from inference.gate import GateThresholds
from inference.types import CtVolume, Line, NoduleFinding, NoduleMask, VolumeAnalysis

Progress = Callable[[float, str], None]
"""Called with the share that is done (0..1) and the name of the stage."""


class Analyzer(Protocol):
    """Detects and assesses nodules in a volume (``inference.predictor.NoduleAnalyzer``)."""

    @property
    def name(self) -> str:
        """Name of the model bundle."""
        ...

    @property
    def version(self) -> str:
        """Version of the model bundle."""
        ...

    @property
    def sha256(self) -> str:
        """Digest of all its weights and recipes."""
        ...

    @property
    def gate(self) -> GateThresholds:
        """Validated input of the nodule model."""
        ...

    def analyse(
        self, volume: CtVolume, *, progress: Progress | None = None, overruled: Collection[str] = ()
    ) -> VolumeAnalysis:
        """Detect and assess every nodule of a volume, despite abstentions with these codes."""
        ...

    def analyse_point(self, volume: CtVolume, index: tuple[float, float, float]) -> NoduleFinding:
        """Assess the point ``(slice, row, column)`` that a reader marked."""
        ...


def analyse_series(
    instances: Sequence[StoredInstance],
    analyzer: Analyzer,
    *,
    limits: DecodeLimits | None = None,
    overruled: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> AnalysisOutcome:
    """Analyse one series; every reason for the lack of an answer is part of the outcome.

    Parameters
    ----------
    instances
        The files of the series, in any order.
    analyzer
        The models.
    limits
        What decoding may use.
    overruled
        Codes of refusals that a radiologist overruled.
    progress
        Called with the progress of the analysis.
    """
    started = time.monotonic()
    measures: dict[str, object]
    try:
        loaded = load_series(instances, limits, analyzer.gate, overruled=overruled)
    except RefusedError as error:
        measures = {"load_s": round(time.monotonic() - started, 3), "instance_count": len(instances)}
        measures |= {"acquisition": error.attributes} if error.attributes else {}
        return AnalysisOutcome(reasons=(error.reason,), measures=measures)
    loaded_s = time.monotonic() - started
    analysis = analyzer.analyse(loaded.volume, progress=progress, overruled=overruled)
    measures = _measures(loaded) | _parameters(analyzer) | analysis.measures
    measures |= {"load_s": round(loaded_s, 3), "duration_s": round(time.monotonic() - started, 3)}
    doubts = (Caveat[f"OVERRULED_{code.upper()}"].stated() for code in sorted(overruled & OVERRULABLE))
    caveats = (*doubts, *loaded.caveats, *(Caveat[remark.name].stated(**remark.values) for remark in analysis.remarks))
    if analysis.abstentions:
        reasons = tuple(map(reason_of, analysis.abstentions))
        return AnalysisOutcome(reasons=reasons, measures=measures, caveats=caveats)
    new_findings = tuple(to_new_finding(finding, loaded) for finding in analysis.findings)
    return AnalysisOutcome(new_findings, measures=measures, caveats=(*caveats, *_caveats(analysis.findings)))


def analyse_point(
    loaded: LoadedSeries, analyzer: Analyzer, *, sop_instance_uid: str, frame_number: int, point: tuple[float, float]
) -> NewFinding:
    """Analyse the ``(row, column)`` that a reader marked in one slice of a loaded series.

    Raises
    ------
    UnfitImagesError
        The volume has no such slice (``no_such_frame``), or the point lies outside it.
    """
    index = slice_index(loaded, sop_instance_uid, frame_number)
    row, column = point
    source = loaded.geometry.slices[index]
    if not (-0.5 <= row <= source.rows - 0.5 and -0.5 <= column <= source.columns - 0.5):
        raise UnfitImagesError(Reason("outside_image", "The point lies outside the image."))
    return to_new_finding(analyzer.analyse_point(loaded.volume, (float(index), row, column)), loaded)


def to_new_finding(finding: NoduleFinding, loaded: LoadedSeries) -> NewFinding:
    """Convert a finding of a volume to one of its nearest slice."""
    nearest = int(np.clip(round(finding.index[0]), 0, len(loaded.geometry.slices) - 1))
    source = loaded.geometry.slices[nearest]
    return NewFinding(
        sop_instance_uid=source.sop_instance_uid,
        frame_number=source.frame_number,
        row=finding.index[1],
        column=finding.index[2],
        position_mm=loaded.volume.position_mm(finding.index),
        diameter_mm=finding.diameter_mm,
        nodule_probability=finding.nodule_probability,
        malignancy_probability=finding.malignancy_probability,
        interval=finding.interval,
        prediction_set=finding.prediction_set,
        reasons=tuple(map(reason_of, finding.abstentions)),
        attributes={**finding.attributes, **_frame_of_reference(loaded)},
        mask=None if finding.mask is None else _finding_mask(finding.mask, loaded),
    )


def _frame_of_reference(loaded: LoadedSeries) -> dict[str, object]:
    uid = loaded.geometry.frame_of_reference_uid
    return {FRAME_OF_REFERENCE_UID: uid} if is_uid(uid) else {}


def _finding_mask(mask: NoduleMask, loaded: LoadedSeries) -> FindingMask:
    """Convert a mask of a volume to one of the source frames."""
    first, row, column = mask.first_index
    count, rows, columns = mask.shape
    axes = mask.axes
    return FindingMask(
        slices=tuple(
            MaskSlice(source.sop_instance_uid, source.frame_number)
            for source in loaded.geometry.slices[first : first + count]
        ),
        row=row,
        column=column,
        rows=rows,
        columns=columns,
        runs=mask.runs,
        axes=(
            FindingAxes(axes.slice_index - first, _rounded(axes.long), _rounded(axes.short))
            if axes is not None
            else None
        ),
    )


def _rounded(line: Line) -> Line:
    """Round a line to hundredths of a pixel, as the database stores it."""
    (row, column), (end_row, end_column) = line
    return (round(row, 2), round(column, 2)), (round(end_row, 2), round(end_column, 2))


def scanner_of_series(loaded: LoadedSeries) -> Scanner:
    """Return the scanner of a loaded series."""
    return scanner_of(_whence(loaded))


def slice_index(loaded: LoadedSeries, sop_instance_uid: str, frame_number: int) -> int:
    """Return the index of the slice of a frame.

    Raises
    ------
    UnfitImagesError
        The volume has no such slice (``no_such_frame``).
    """
    for index, source in enumerate(loaded.geometry.slices):
        if source.sop_instance_uid == sop_instance_uid and source.frame_number == frame_number:
            return index
    raise UnfitImagesError(Reason("no_such_frame", "This image is not part of the series' volume."))


def _caveats(findings: Sequence[NoduleFinding]) -> tuple[Reason, ...]:
    """Return what is missing or doubtful of the findings as a group."""
    total = len(findings)
    counts = {
        Caveat.FINDINGS_UNRATED: sum(finding.malignancy_probability is None for finding in findings),
        Caveat.FINDINGS_UNMEASURED: sum(finding.diameter_mm is None for finding in findings),
        Caveat.SUBMODELS_DISAGREE: sum(bool(finding.attributes.get("doubts")) for finding in findings),
    }
    return tuple(kind.stated(count=count, total=total) for kind, count in counts.items() if count)


def _parameters(analyzer: Analyzer) -> dict[str, object]:
    """Return the algorithm parameters that a report states."""
    temperature = getattr(analyzer, "temperature", None)
    return {} if temperature is None else {"algorithm_parameters": {"temperature": f"{float(temperature):.4g}"}}


def _measures(loaded: LoadedSeries) -> dict[str, object]:
    """Return geometry and acquisition for the record, without patient identity."""
    slices, rows, columns = loaded.volume.volume_hu.shape
    return {
        "slice_count": slices,
        "rows": rows,
        "columns": columns,
        "summary": summarise(loaded.volume),
        **_whence(loaded),
    }


def _whence(loaded: LoadedSeries) -> dict[str, object]:
    spacing_mm = [round(float(value), 4) for value in loaded.volume.spacing_mm]
    return {"spacing_mm": spacing_mm, "acquisition": dict(loaded.attributes)}
