"""Recalibration of a bundle at a site, on readers' verdicts or own labels; the weights are unchanged.

A verdict judges the finding: accepted, a nodule is there; rejected, none is. So verdicts recalibrate the ``filter``,
whose question that is. Whether a nodule is malignant no verdict says: the ``nodule`` bundle wants labels, of findings
in the database (``--labels``) or of a user's own series (``--data``).

Verdicts exist only for what the filter let pass. They tell how often such a finding is a nodule, and nothing of what
was held back: the threshold of the filter stays at the margin where it was.
"""

from __future__ import annotations

import argparse
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import Bundle, bundle_folders, read_bundle, write_recipe
from inference.calibration.calibration import CALIBRATORS, calibrated, conformal_thresholds
from inference.calibration.evidence import Evidence
from inference.description import joint_digest
from inference.displayed import Question
from inference.malignancy.ensemble import Ensemble, combine
from inference.malignancy.submodels import answering, submodel_answers
from inference.metrics import auc, binary_figures, bootstrap_interval, negative_log_likelihood, plain
from training.data.features import measured_features
from training.data.nodules import DataError, read_rows
from training.fitting.cards import write_card
from training.fitting.combination import choose_calibrator, cross_calibrated, cross_validated_nll, operating_points
from training.fitting.plots import plot_reliability
from training.fitting.tasks import read_nodule_task
from training.recalibration.site_samples import SiteSamples, margin_of, read_database, read_labels, samples_from

MIN_SAMPLES = 30
MIN_PATIENTS = 10
"""Minimum number of samples per class, for ten folds by patient."""

Array = NDArray[np.float64]


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
    """Return the new probability that corresponds to the old ``threshold``, so that the same findings pass.

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


def calibration_of(
    n: int, kind: str, parameters: dict[str, Any], figures: dict[str, tuple[float, float]]
) -> dict[str, Any]:
    """Return the recipe's part ``calibration``, fitted on ``n`` samples."""
    return {
        "kind": kind,
        "parameters": parameters,
        "n": n,
        "cross_validated_nll": {name: list(pair) for name, pair in figures.items()},
    }


@dataclass(frozen=True, slots=True)
class SiteTarget:
    """Classes of the recalibrated bundle, and names of samples and reference standard in its evidence."""

    classes: tuple[str, str]
    split: str
    question: Question

    @classmethod
    def of(cls, recipe: dict[str, Any], site: str) -> SiteTarget:
        """Return the target of a recipe at a site: verdicts for a filter, own labels for a nodule model."""
        question = Question.NODULE if recipe["task"] == "filter" else Question.MALIGNANCY_AT_SITE
        return cls((str(recipe["classes"][0]), str(recipe["classes"][1])), f"findings of site {site}", question)


@dataclass(frozen=True, slots=True)
class Refit:
    """A calibrator chosen and fitted on a site's samples."""

    kind: str
    parameters: dict[str, Any]
    figures: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, z: Array, samples: SiteSamples, *, seed: int, without: tuple[str, ...] = ()) -> Refit:
        """Choose a calibrator by cross-validation (except the kinds ``without``) and fit it on all samples."""
        figures = cross_validated_nll(z, samples.labels, samples.patients, seed=seed)
        figures = {kind: pair for kind, pair in figures.items() if kind not in without}
        kind = choose_calibrator(figures)
        parameters = CALIBRATORS[kind](z, samples.labels) if kind != "none" else {}
        return cls(kind, parameters, figures)

    def compared(self, z: Array, samples: SiteSamples, old: dict[str, Any], *, seed: int) -> tuple[Array, Array]:
        """Return probabilities by the bundle's calibration and by this one, cross-fitted by patient."""
        before = calibrated(z, old["kind"], old["parameters"])
        return before, cross_calibrated(z, samples.labels, samples.patients, self.kind, seed=seed)

    def parts(self, z: Array, samples: SiteSamples, after: Array, target: SiteTarget) -> dict[str, Any]:
        """Return the recipe parts of this calibration; ``after`` are the cross-fitted probabilities."""
        evidence = Evidence.of(target.split, target.question, after, samples.labels, samples.patients)
        return {
            "calibration": calibration_of(len(z), self.kind, self.parameters, self.figures),
            "conformal": conformal_thresholds(after, samples.labels, target.classes),
            "operating_points": operating_points(after, samples.labels),
            "evidence": evidence.to_json(),
        }


def recalibrated_submodels(
    recipe: dict[str, Any], samples: SiteSamples, target: SiteTarget, *, seed: int
) -> dict[str, Any]:
    """Return the recalibrated submodels: unchanged where not improved, left out where margins are missing.

    A submodel calibrated on other patients than the ensemble would not be comparable with it.
    """
    carried: dict[str, Any] = {}
    for name, z in samples.submodels.items():
        carried[name] = parts = recipe["opinions"][name]
        refit = Refit.of(z, samples, seed=seed)
        before, after = refit.compared(z, samples, parts["calibration"], seed=seed)
        if negative_log_likelihood(samples.labels, after) < negative_log_likelihood(samples.labels, before):
            carried[name] = {**parts, **refit.parts(z, samples, after, target)}
    return {"opinions": carried} if "opinions" in recipe else {}


def recalibrated(bundle: Bundle, samples: SiteSamples, *, site: str, seed: int, today: datetime) -> dict[str, Any]:
    """Return the recipe of ``bundle`` with new calibration, thresholds, operating points and evidence.

    ``figures`` of the result are cross-validated by patient, before and after.

    Raises
    ------
    DataError
        Too few samples, or the calibration that the bundle has is as good here.
    """
    old, target = bundle.recipe["calibration"], SiteTarget.of(bundle.recipe, site)
    check_enough(samples, target.classes)
    z, labels, n = samples.margins, samples.labels, len(samples.labels)
    if auc(labels, z) <= 0.5:
        raise DataError(f"what turned out does not follow the margins of {bundle.name} here: no calibration mends that")
    without = ("isotonic",) if bundle.task == "filter" else ()  # flat below its lowest sample: all would pass
    refit, points = Refit.of(z, samples, seed=seed, without=without), dict[str, float]()
    if bundle.task == "filter":
        carried = {name: bundle.recipe["operating_points"].get(name) for name in ("doubt", "confirm")}
        points = {
            name: carried_threshold(old, value, refit.kind, refit.parameters)
            for name, value in carried.items()
            if value is not None
        }
    before, after = refit.compared(z, samples, old, seed=seed)
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
    parts = refit.parts(z, samples, after, target)
    return {
        **bundle.recipe,
        **recalibrated_submodels(bundle.recipe, samples, target, seed=seed),
        "version": f"{bundle.version.split('+')[0]}+site.{site}.{today:%Y%m%d}",
        **parts,
        "operating_points": {**parts["operating_points"], **points},
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
    """Write the bundle with the same weights, plots and a model card."""
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


def bundle_of(folder: Path, task: str) -> tuple[Bundle, str, tuple[str, ...]]:
    """Return the bundle of ``task`` in ``folder`` (a bundle, or a folder of them), and its identities in findings.

    The first is that of the ensemble's answer, the others those of each opinion that may answer instead.

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
    nodule, nodule_filter = bundles["nodule"], bundles["filter"]
    submodels = nodule.recipe.get("opinions", {})
    other_digests = tuple(joint_digest(answering(nodule, name).sha256, nodule_filter.sha256) for name in submodels)
    return bundles[task], joint_digest(nodule.sha256, nodule_filter.sha256), other_digests


def samples_of_data(bundle: Bundle, data: Path, device: torch.device) -> SiteSamples:
    """Return margins of ``bundle`` for the labelled nodules of a user's own series, of all splits."""
    task = read_nodule_task(data)
    chosen = np.flatnonzero(task.labelled)
    if len(chosen) == 0:
        raise DataError(f"no labelled nodule in {data}")
    margins = Ensemble(bundle, device).margins([task.patches[i] for i in chosen])
    rows = {row.file: row for row in read_rows(data)}
    features = measured_features(data, [rows[task.names[i]] for i in chosen])
    z = combine(margins, bundle.recipe, features).margins
    answers = submodel_answers(margins, bundle.recipe, features)
    return SiteSamples(
        z,
        task.labels[chosen],
        [task.groups[i] for i in chosen],
        {"from_series": len(chosen)},
        submodels={name: answers[name].margins for name in bundle.recipe.get("opinions", {})},
    )


def recalibrate_at_site(args: argparse.Namespace) -> dict[str, Any]:
    """Run ``training.calibrate --bundle``; return its summary.

    Raises
    ------
    DataError, BundleError, OSError
        What is missing, in words; nothing was written.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]{1,32}", args.site):
        raise DataError("--site is a short name of letters, digits and hyphens")
    labels = read_labels(args.labels) if args.labels else None
    bundle, digest, other_digests = bundle_of(args.bundle, "nodule" if labels is not None or args.data else "filter")
    if args.from_database:
        samples = samples_from(read_database(args.from_database), bundle, digest, labels, other_digests)
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
