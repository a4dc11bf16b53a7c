"""Recalibrate a bundle at a site, on its readers' verdicts or on labels of its own; the weights stay as they are.

A verdict judges the finding: accepted, a nodule is there; rejected, none is. So verdicts recalibrate the ``filter``,
whose question that is. Whether a nodule is malignant no verdict says: the ``nodule`` bundle wants labels, of findings
in the database (``--labels``) or of a user's own series (``--data``).

Verdicts exist only for what the filter let pass. They tell how often such a finding is a nodule, and nothing of what
was held back: the threshold of the filter stays at the margin where it was.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from sqlalchemy.exc import SQLAlchemyError

from db import schema
from db.domain import FindingOrigin, FindingRecord, Verdict
from db.engine import AUDIT_KEY_BYTES, Database
from db.errors import DbError
from db.findings import findings_with_patients
from inference.bundle import Bundle, bundle_folders, read_bundle, write_recipe
from inference.calibration import CALIBRATORS, calibrated, conformal_thresholds, fit_temperature
from inference.ensemble import Ensemble, combine
from inference.predictor import analyzer_digest
from training.calibrate import choose_calibrator, cross_calibrated, cross_validated_nll, operating_points
from training.cards import write_card
from training.features import measured_features
from training.metrics import auc, binary_figures, bootstrap_interval, negative_log_likelihood, plain
from training.nodules import DataError, read_rows
from training.plots import plot_reliability
from training.tasks import read_nodule_task

MIN_SAMPLES = 30
MIN_PATIENTS = 10
"""Of each class: fewer say too little, and ten folds by patient would lack a class."""
OTHER_REASONS = {"calcified", "lymph node"}
"""Reasons to reject what is a nodule all the same: such verdicts do not judge the filter."""
FAR = 60.0
"""Margins lie within this, in nats."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SiteSamples:
    """What a site knows: margins of ``n`` findings before calibration, and what turned out."""

    margins: Array
    labels: NDArray[np.bool_]
    patients: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    """How many were left out and why, and where margins came from."""
    digests: tuple[str, ...] = ()
    """Identities of the models that gave them."""


def margin_of(probability: float, calibration: dict[str, Any]) -> float | None:
    """The margin that a calibrator turned into ``probability``; None where the calibrator is flat there.

    A probability at one of ``calibration.limits`` stands for all margins beyond: the nearest of them is returned.
    """
    kind, parameters = calibration["kind"], calibration["parameters"]
    if kind == "isotonic":
        return None

    def above(z: float) -> float:
        return float(calibrated(np.array([z]), kind, parameters)[0]) - probability

    if above(-FAR) >= 0 or above(FAR) <= 0:
        return None
    return float(brentq(above, -FAR, FAR, xtol=1e-6))


def _stored_margin(record: FindingRecord, task: str, calibration: dict[str, Any] | None) -> tuple[float | None, str]:
    """The margin of one finding, and where it is from; it is not inverted where ``calibration`` is None."""
    stored = record.finding.attributes.get(f"{'malignancy' if task == 'nodule' else 'nodule'}_margin")
    if isinstance(stored, (int, float)):
        return float(stored), "margin_stored"
    of = record.finding
    probability = of.malignancy_probability if task == "nodule" else of.nodule_probability
    if probability is None or calibration is None:
        return None, "no_margin"
    margin = margin_of(probability, calibration)
    at_limit = probability in calibration.get("limits", ())
    return margin, "no_margin" if margin is None else "margin_at_limit" if at_limit else "margin_inverted"


def verdict_label(record: FindingRecord) -> tuple[bool | None, str]:
    """Whether readers say that a nodule is where the model found one; None, and why, where they do not say."""
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
    """``finding_id`` and ``malignant`` (1 or 0) of a CSV file, say from pathology.

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
    records: Iterable[tuple[str, FindingRecord]], target: Bundle, digest: str, labels: dict[str, bool] | None
) -> SiteSamples:
    """Findings of the model ``digest`` with an answer; one for each place, the latest verdict counts.

    Findings of the models that ``target`` was recalibrated from count with their stored margins: the networks are the
    same. Those of any other model are left out.
    """
    ancestors = set(target.recipe.get("site", {}).get("digests", ())) - {digest}
    counts: Counter[str] = Counter()
    kept: dict[tuple[object, ...], tuple[float, bool, str, datetime]] = {}
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
        place = (record.series_instance_uid, *(round(v, 1) for v in record.finding.position_mm))
        if place in kept:
            counts["same_place_again"] += 1
        if place not in kept or kept[place][3] < moment:
            kept[place] = (margin, label, patient, moment)
            counts[source] += 1
    values = list(kept.values())
    return SiteSamples(
        np.array([v[0] for v in values]),
        np.array([v[1] for v in values], dtype=bool),
        [v[2] for v in values],
        dict(counts),
        (digest, *sorted(ancestors)),
    )


def read_database(url: str) -> tuple[tuple[str, FindingRecord], ...]:
    """Every finding in a node's database with our own opaque id of its patient; nothing is written.

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


def check_enough(samples: SiteSamples, classes: tuple[str, str]) -> None:
    """Raise DataError where a class has too few samples or patients to calibrate on."""
    patients = np.array(samples.patients)
    for name, own in ((classes[0], ~samples.labels), (classes[1], samples.labels)):
        n, people = int(own.sum()), len(set(patients[own])) if own.any() else 0
        if n < MIN_SAMPLES or people < MIN_PATIENTS:
            left_out = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in sorted(samples.counts.items()))
            raise DataError(
                f"{n} findings of {people} patients count as {name}; recalibration wants {MIN_SAMPLES} of "
                f"{MIN_PATIENTS} in each class (seen: {left_out or 'nothing else'})"
            )


def carried_threshold(old: dict[str, Any], threshold: float, kind: str, parameters: dict[str, Any]) -> float:
    """The probability that the new calibrator gives where the old one gave ``threshold``: the same findings pass.

    Raises
    ------
    DataError
        One of the calibrators is flat there, and would let everything pass or nothing.
    """
    margin = margin_of(threshold, old)
    if margin is None:
        raise DataError("the calibration that the bundle has cannot be inverted at its threshold")
    below, at = calibrated(np.array([margin - 0.5, margin]), kind, parameters)
    if at - below < 1e-6:
        raise DataError("the new calibration is flat at the threshold: everything would pass, or nothing")
    return float(at)


def recalibrated(bundle: Bundle, samples: SiteSamples, *, site: str, seed: int, today: datetime) -> dict[str, Any]:
    """The recipe of ``bundle`` with another calibration, thresholds and operating points, and what they rest on.

    ``figures`` of the result are cross-validated by patient, before and after.

    Raises
    ------
    DataError
        Too few samples, or the calibration that the bundle has is as good here.
    """
    old, classes = bundle.recipe["calibration"], tuple(bundle.recipe["classes"])
    check_enough(samples, (classes[0], classes[1]))
    z, labels, n = samples.margins, samples.labels, len(samples.labels)
    if auc(labels, z) <= 0.5:
        raise DataError(f"what turned out does not follow the margins of {bundle.name} here: no calibration mends that")
    figures = cross_validated_nll(z, labels, samples.patients, seed=seed)
    if bundle.task == "filter":
        figures.pop("isotonic")  # flat below its lowest sample: it would let everything pass
    kind = choose_calibrator(figures)
    parameters = CALIBRATORS[kind](z, labels) if kind != "none" else {}
    limits = [1 / (n + 2), 1 - 1 / (n + 2)]
    points: dict[str, float] = {}
    if bundle.task == "filter":
        kept = {name: bundle.recipe["operating_points"].get(name) for name in ("doubt", "confirm")}
        points = {n: carried_threshold(old, v, kind, parameters) for n, v in kept.items() if v is not None}
        limits = [
            min(limits[0], *(v / 2 for v in points.values())),
            max(limits[1], *((1 + v) / 2 for v in points.values())),
        ]
    least, most = old.get("limits", (0.0, 1.0))
    before = np.clip(calibrated(z, old["kind"], old["parameters"]), least, most)
    after = np.clip(cross_calibrated(z, labels, samples.patients, kind, seed=seed), limits[0], limits[1])
    nll_before, nll_after = (negative_log_likelihood(labels, p) for p in (before, after))
    if nll_after >= nll_before:
        raise DataError(
            f"the calibration of {bundle.name} {bundle.version} is as good on these {n} findings "
            f"(negative log-likelihood {nll_before:.4f}, recalibrated {nll_after:.4f}): keep it"
        )
    change = bootstrap_interval(
        lambda i: negative_log_likelihood(labels[i], after[i]) - negative_log_likelihood(labels[i], before[i]),
        np.array(samples.patients),
    )
    temperature = float(parameters.get("temperature", fit_temperature(z, labels)["temperature"]))
    return {
        **bundle.recipe,
        "version": f"{bundle.version.split('+')[0]}+site.{site}.{today:%Y%m%d}",
        "calibration": {
            "kind": kind,
            "parameters": parameters,
            "temperature": temperature,
            "limits": limits,
            "n": n,
            "cross_validated_nll": {name: list(pair) for name, pair in figures.items()},
        },
        "conformal": conformal_thresholds(after, labels, (classes[0], classes[1])),
        "operating_points": {**operating_points(after, labels), **points},
        "metrics": {
            "split": f"findings of site {site}, cross-validated by patient",
            **plain(binary_figures(labels, before, after, np.array(samples.patients), draws=1000)),
            "nll_change_interval": list(change),
        },
        "site": {
            "name": site,
            "date": f"{today:%Y-%m-%d}",
            "n": n,
            "positives": int(labels.sum()),
            "patients": len(set(samples.patients)),
            "counts": samples.counts,
            "from": {"version": bundle.version, "sha256": bundle.sha256},
            "digests": list(samples.digests),
        },
    }


def write_site_bundle(bundle: Bundle, recipe: dict[str, Any], samples: SiteSamples, out: Path, *, seed: int) -> None:
    """Write the recipe beside a copy of the very weights, with plots and a model card."""
    out.mkdir(parents=True, exist_ok=True)
    if out.resolve() == bundle.folder.resolve():
        raise DataError("--out is the bundle's own folder: the calibration that it has would be lost")
    shutil.copyfile(bundle.folder / "model.safetensors", out / "model.safetensors")
    old, new = bundle.recipe["calibration"], recipe["calibration"]
    before = calibrated(samples.margins, old["kind"], old["parameters"])
    after = cross_calibrated(samples.margins, samples.labels, samples.patients, new["kind"], seed=seed)
    for name, p in (("before", before), ("after", after)):
        title = f"{name} recalibration, cross-validated, n = {len(p)}"
        plot_reliability(out / f"reliability_{name}.png", samples.labels, p, title)
    write_recipe(out, {key: value for key, value in recipe.items() if key != "format"})
    write_card(out, recipe)


def bundle_of(folder: Path, task: str) -> tuple[Bundle, str]:
    """The bundle of ``task`` in ``folder`` (a bundle, or a folder of them), and the identity that findings name.

    Raises
    ------
    DataError
        ``folder`` is a bundle of another task.
    """
    bundles = {name: read_bundle(path) for name, path in bundle_folders(folder).items() if name != "slice"}
    if (folder / "bundle.json").is_file() and read_bundle(folder).task != task:
        raise DataError(
            "verdicts judge whether a finding is a nodule and recalibrate a filter bundle; "
            "a nodule bundle wants labels of malignancy (--labels, or --data)"
        )
    return bundles[task], analyzer_digest(bundles["nodule"], bundles["filter"])


def samples_of_data(bundle: Bundle, data: Path, device: torch.device) -> SiteSamples:
    """Margins of ``bundle`` for the labelled nodules of a user's own series, whatever their split."""
    task = read_nodule_task(data)
    chosen = np.flatnonzero(task.labelled)
    if len(chosen) == 0:
        raise DataError(f"no labelled nodule in {data}")
    margins = Ensemble(bundle, device).margins([task.patches[i] for i in chosen])
    rows = {row.file: row for row in read_rows(data)}
    features = measured_features(data, [rows[task.names[i]] for i in chosen])
    z = combine(margins, bundle.recipe, features).margins
    return SiteSamples(z, task.labels[chosen], [task.groups[i] for i in chosen], {"from_series": len(chosen)})


def recalibrate_at_site(args: argparse.Namespace) -> dict[str, Any]:
    """What ``training.calibrate --bundle`` does; gives its summary.

    Raises
    ------
    DataError, BundleError, OSError
        What is missing, in words; nothing was written.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,32}", args.site):
        raise DataError("--site is a short name of letters, digits and hyphens")
    labels = read_labels(args.labels) if args.labels else None
    bundle, digest = bundle_of(args.bundle, "nodule" if labels is not None or args.data else "filter")
    if args.from_database:
        samples = samples_from(read_database(args.from_database), bundle, digest, labels)
    else:
        samples = samples_of_data(bundle, args.data, torch.device("cpu"))
    recipe = recalibrated(bundle, samples, site=args.site, seed=args.seed, today=datetime.now(UTC))
    write_site_bundle(bundle, recipe, samples, args.out, seed=args.seed)
    shown = ("n", "positives", "nll_before", "nll", "nll_change_interval", "ece_before", "ece", "ece_floor")
    return {
        "task": bundle.task,
        "out": str(args.out),
        "version": recipe["version"],
        "kind": recipe["calibration"]["kind"],
        **{name: recipe["metrics"][name] for name in shown},
        "patients": recipe["site"]["patients"],
        "counts": samples.counts,
        "operating_points": recipe["operating_points"],
        "conformal": recipe["conformal"],
    }
