"""Samples for recalibration from a site's database: margins of findings and their labels."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from sqlalchemy.exc import SQLAlchemyError

from db.analyses.findings import findings_with_patients
from db.database import AUDIT_KEY_BYTES, Database
from db.domain.errors import DbError
from db.domain.findings import FindingOrigin, FindingRecord, Verdict
from db.engine import schema
from inference.bundle import Bundle
from inference.calibration.calibration import calibrated
from inference.malignancy.submodels import Variant
from training.data.nodules import DataError

Array = NDArray[np.float64]
OTHER_REASONS = {"calcified", "lymph node"}
"""Rejection reasons for true nodules; such verdicts are no labels for the filter."""
FAR = 60.0
"""Range of margins, in nats."""


@dataclass(frozen=True, slots=True)
class SiteSamples:
    """Samples of a site: margins of ``n`` findings before calibration, and labels."""

    margins: Array
    labels: NDArray[np.bool_]
    patients: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    """Counts of left-out findings by reason, and of margins by source."""
    digests: tuple[str, ...] = ()
    """Identities of the models."""
    submodels: dict[str, Array] = field(default_factory=dict)
    """Margins of the submodels, if every finding has them."""


def margin_of(probability: float, calibration: dict[str, Any]) -> float | None:
    """Return the margin for a calibrated ``probability``; None where the calibrator is flat."""
    kind, parameters = calibration["kind"], calibration["parameters"]
    if kind == "isotonic":
        return None

    def above(z: float) -> float:
        return float(calibrated(np.array([z]), kind, parameters)[0]) - probability

    if above(-FAR) >= 0 or above(FAR) <= 0:
        return None
    return float(brentq(above, -FAR, FAR, xtol=1e-6))


def submodel_margins(record: FindingRecord) -> dict[str, float]:
    """Return the recorded margin of each variant; empty without submodels."""
    records = record.finding.attributes.get("opinions")
    return {name: float(own["margin"]) for name, own in records.items()} if isinstance(records, dict) else {}


def _stored_margin(record: FindingRecord, task: str, calibration: dict[str, Any] | None) -> tuple[float | None, str]:
    """Return the margin of a finding and its source; not inverted without ``calibration``."""
    attributes = record.finding.attributes
    stored = attributes.get(f"{'malignancy' if task == 'nodule' else 'nodule'}_margin")
    if task == "nodule" and (records := submodel_margins(record)):
        stored = records[Variant.ENSEMBLE]  # whichever opinion answered
    if isinstance(stored, (int, float)):
        return float(stored), "margin_stored"
    of = record.finding
    probability = of.malignancy_probability if task == "nodule" else of.nodule_probability
    if probability is None or calibration is None:
        return None, "no_margin"
    margin = margin_of(probability, calibration)
    return margin, "no_margin" if margin is None else "margin_inverted"


def verdict_label(record: FindingRecord) -> tuple[bool | None, str]:
    """Return whether readers confirmed the nodule; None with the reason if they did not decide."""
    if record.origin is not FindingOrigin.MODEL:
        return None, "marked_by_a_reader"
    if record.assessment is None:
        return None, "without_verdict"
    if record.assessment.verdict is Verdict.UNSURE:
        return None, "unsure"
    if record.assessment.verdict is Verdict.REJECT and record.assessment.reason.strip().casefold() in OTHER_REASONS:
        return None, "rejected_as_another_kind_of_nodule"
    return record.assessment.verdict is Verdict.ACCEPT, ""


def read_labels(path: Path) -> dict[str, bool]:
    """Read ``finding_id`` and ``malignant`` (1 or 0) from a CSV file, for example of pathology.

    Raises
    ------
    DataError
        Other columns or values, or a finding with two labels.
    """
    labels: dict[str, bool] = {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if not {"finding_id", "malignant"} <= set(reader.fieldnames or ()):
            raise DataError(f"{path.name} needs the columns finding_id and malignant")
        for number, line in enumerate(reader, start=2):
            value, finding_id = line["malignant"].strip(), line["finding_id"].strip()
            if value not in {"0", "1"}:
                raise DataError(f"{path.name}, line {number}: malignant must be 0 or 1")
            if labels.setdefault(finding_id, value == "1") != (value == "1"):
                raise DataError(f"{path.name}, line {number}: the finding has two different labels")
    return labels


def samples_from(
    records: Iterable[tuple[str, FindingRecord]],
    target: Bundle,
    digest: str,
    labels: dict[str, bool] | None,
    same_bundle_digests: tuple[str, ...] = (),
) -> SiteSamples:
    """Return samples of the model ``digest``; one per nodule, by the latest verdict.

    Findings of the models that ``target`` was recalibrated from, and of the same bundle when another submodel answered
    (``same_bundle_digests``), count with their stored margins: the networks are the same. Those of any other model are
    left out.
    """
    ancestors = (set(target.recipe.get("site", {}).get("digests", ())) | set(same_bundle_digests)) - {digest}
    counts: Counter[str] = Counter()
    latest: dict[tuple[object, ...], tuple[float, bool, str, datetime, dict[str, float]]] = {}
    for patient, record in records:
        own = record.model.sha256 == digest
        if not own and record.model.sha256 not in ancestors:
            counts["of_another_model"] += 1
            continue
        label, why = verdict_label(record) if labels is None else (labels.get(record.id), "without_label")
        if label is None:
            counts[why] += 1
            continue
        margin, source = _stored_margin(record, target.task, target.recipe["calibration"] if own else None)
        if margin is None:
            counts[source] += 1
            continue
        moment = record.assessment.created_at if record.assessment else record.created_at
        nodule_key = (record.series_instance_uid, *(round(v, 1) for v in record.finding.position_mm))
        if nodule_key in latest:
            counts["same_place_again"] += 1
        if nodule_key not in latest or latest[nodule_key][3] < moment:
            latest[nodule_key] = (margin, label, patient, moment, submodel_margins(record))
            counts[source] += 1
    values = list(latest.values())
    return SiteSamples(
        np.array([v[0] for v in values]),
        np.array([v[1] for v in values], dtype=bool),
        [v[2] for v in values],
        dict(counts),
        (digest, *sorted(ancestors)),
        {
            name: np.array([v[4][name] for v in values])
            for name in target.recipe.get("opinions", {})
            if values and all(name in v[4] for v in values)
        },
    )


def read_database(url: str) -> tuple[tuple[str, FindingRecord], ...]:
    """Return every finding in a node's database with an opaque patient id (read only).

    Raises
    ------
    DataError
        There is no such database, or its schema is another version's.
    """
    try:
        if not schema.is_current(url):
            raise DataError("the database has another schema than this version: run lungnode db upgrade first")
        database = Database(url, bytes(AUDIT_KEY_BYTES))  # the trail's key is for writing only
        try:
            with database.read() as session:
                return findings_with_patients(session)
        finally:
            database.dispose()
    except (DbError, SQLAlchemyError) as error:
        raise DataError(f"the database cannot be read ({type(error).__name__})") from error
