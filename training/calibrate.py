"""``python -m training.calibrate --data DIR --out DIR --seed N``: make a bundle whose numbers mean something.

Reads what ``training.train`` left in ``--out``: margins of patients that the networks have not seen. Fits every
calibrator, ships the one with the lowest cross-validated negative log-likelihood (the plainest within one standard
error of it), conformal thresholds at 90 %, operating points and the domain gate; writes ``bundle.json`` and plots.

With ``--bundle`` it recalibrates a bundle at a site instead (``training.sites``), which touches no weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.special import expit

from inference.bundle import write_recipe
from inference.calibration import (
    CALIBRATORS,
    CLASS_CALIBRATORS,
    calibrated,
    calibrated_classes,
    conformal_class_thresholds,
    conformal_thresholds,
    fit_temperature,
)
from inference.ensemble import FEATURES, stack_columns
from inference.errors import BundleError
from inference.pictures import picture_descriptor
from training.cards import ARCHITECTURE, DATA_SOURCES, INTENDED_USE, LIMITS, NAMES, write_card
from training.features import measured_features, surroundings_limits
from training.leaks import refuse_leaks
from training.metrics import binary_figures, negative_log_likelihood, plain
from training.nodules import DataError, read_rows
from training.plots import plot_reliability
from training.slices import read_slices
from training.splits import LeakError, group_folds
from training.stacking import (
    bootstrap_stacks,
    choose_penalty,
    combination_of,
    cross_fitted,
    fit_stack,
)

VERSION = "1.0.0"
NODULE_GATE = {
    "pixel_mm": [0.4, 1.0],
    "max_slice_mm": 3.5,
    "min_slices": 20,
    "diameter_mm": [3.0, 40.0],
    "max_findings": 10,
    "merge_mm": 5.0,
}
"""Ranges of the training data, a little widened: pixels 0.50 to 0.98 mm, slices 0.45 to 2.5 mm, nodules 3 to 33 mm."""
CONFIRM_SENSITIVITY = 0.90
"""Share of unseen nodules that the filter lets pass: at 0.95 a nodule-free scan showed five false ones, at 0.90 one."""
DOUBTED_SHARE = 0.01
"""Share of unseen nodules that the filter doubts so much that not even a reader's click gets a malignancy."""
FILTER_GATE = {"max_candidates": 300}

Array = NDArray[np.float64]


def cross_validated_nll(
    z: Array, labels: NDArray[np.bool_], groups: list[str], *, seed: int
) -> dict[str, tuple[float, float]]:
    """Mean and standard error of the NLL of each calibrator on folds that it was not fitted on, by group."""
    fold = group_folds(groups, list(labels), folds=10, seed=seed)
    figures: dict[str, tuple[float, float]] = {}
    for kind in ("none", *CALIBRATORS):
        losses = []
        for k in range(10):
            held = fold == k
            if not held.any() or len(set(labels[~held])) < 2:
                continue
            parameters = {} if kind == "none" else CALIBRATORS[kind](z[~held], labels[~held])
            losses.append(negative_log_likelihood(labels[held], calibrated(z[held], kind, parameters)))
        figures[kind] = (float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(len(losses))))
    return figures


def choose_calibrator(figures: dict[str, tuple[float, float]]) -> str:
    """None where nothing does better, else the plainest (``figures`` are in that order) within a standard error."""
    if figures["none"][0] <= min(nll for nll, _ in figures.values()):
        return "none"
    fitted = {kind: figure for kind, figure in figures.items() if kind != "none"}
    best, error = min(fitted.values())
    return next(kind for kind, figure in fitted.items() if figure[0] <= best + error)


def operating_points(p: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Thresholds with sensitivity 0.95 and with specificity 0.90 on unseen patients."""
    return {
        "sensitivity_95": float(np.quantile(p[labels], 0.05)),
        "specificity_90": float(np.quantile(p[~labels], 0.90)),
    }


@dataclass(frozen=True, slots=True)
class Unseen:
    """What the networks said of patients that they had not seen, and what is known of these samples."""

    margins: Array  # (members, n)
    features: Array | None  # (n, FEATURES)
    labels: NDArray[np.bool_]
    groups: list[str]
    members: list[dict[str, Any]]
    classes: tuple[str, str]


def read_unseen(out: Path, data: Path, made: dict[str, Any]) -> tuple[Unseen, list[str]]:
    """The margins that ``training.train`` left, with measured features for nodules, and the samples' names."""
    stored = np.load(out / "unseen.npz")
    usable = stored["labelled"] & np.isfinite(stored["margins"]).all(axis=0)
    names = [str(n) for n in stored["names"][usable]]
    features = None
    if made["task"] == "nodule":
        row_of = {row.file: row for row in read_rows(data)}
        features = measured_features(data, [row_of[name] for name in names])
    unseen = Unseen(
        stored["margins"][:, usable],
        features,
        stored["labels"][usable],
        [str(g) for g in stored["groups"][usable]],
        made["members"],
        (made["classes"][0], made["classes"][1]),
    )
    return unseen, names


def calibrate_combination(
    unseen: Unseen, groups: list[str], features: tuple[str, ...], seed: int
) -> tuple[dict[str, Any], Array, Array]:
    """Combine, choose a calibrator, set thresholds; also the cross-fitted probabilities before and after.

    Everything that is judged is cross-fitted: the combination and the calibrator of a sample have not seen its patient.
    """
    raw = {"groups": groups, "features": list(features)}
    columns = stack_columns(unseen.margins, unseen.members, raw, unseen.features)
    penalty, tried = choose_penalty(columns, unseen.labels, unseen.groups, seed=seed)
    z = cross_fitted(columns, unseen.labels, unseen.groups, penalty, seed=seed)
    figures = cross_validated_nll(z, unseen.labels, unseen.groups, seed=seed)
    kind = choose_calibrator(figures)
    parameters = CALIBRATORS[kind](z, unseen.labels) if kind != "none" else {}
    n = len(z)
    limits = [1 / (n + 2), 1 - 1 / (n + 2)]
    p = np.clip(cross_calibrated(z, unseen.labels, unseen.groups, kind, seed=seed), limits[0], limits[1])
    before = expit(columns[:, : len(groups)].mean(axis=1))
    stack = fit_stack(columns, unseen.labels, penalty)
    draws = list(bootstrap_stacks(columns, unseen.labels, unseen.groups, penalty, seed=seed))
    temperature = (
        1.0
        if kind == "none"
        else float(parameters.get("temperature", fit_temperature(z, unseen.labels)["temperature"]))
    )
    recipe = {
        "combination": {"turns": 8, **combination_of(stack, draws, groups, features), "penalty": penalty,
                        "cross_validated_nll": tried},
        "calibration": {"kind": kind, "parameters": parameters, "temperature": temperature, "limits": limits, "n": n,
                        "cross_validated_nll": {name: list(pair) for name, pair in figures.items()}},
        "conformal": conformal_thresholds(p, unseen.labels, unseen.classes),
        "operating_points": operating_points(p, unseen.labels),
    }  # fmt: skip
    return recipe, before, p


def cross_calibrated(z: Array, labels: NDArray[np.bool_], groups: list[str], kind: str, *, seed: int) -> Array:
    """Probabilities of each sample by a calibrator that was fitted without its patient."""
    fold = group_folds(groups, list(labels), folds=10, seed=seed)
    p = np.zeros(len(z))
    for k in range(10):
        parameters = CALIBRATORS[kind](z[fold != k], labels[fold != k]) if kind != "none" else {}
        p[fold == k] = calibrated(z[fold == k], kind, parameters)
    return p


def calibrate_patches(out: Path, data: Path, made: dict[str, Any], seed: int) -> dict[str, Any]:
    """Recipe of a nodule or filter bundle from the margins of unseen patients."""
    unseen, names = read_unseen(out, data, made)
    groups = sorted({member["group"] for member in made["members"]})
    recipe, before, p = calibrate_combination(unseen, groups, FEATURES if made["task"] == "nodule" else (), seed)
    for name, values in (("before", before), ("after", p)):
        title = f"{name} calibration, unseen n = {len(p)}"
        plot_reliability(out / f"reliability_{name}.png", unseen.labels, values, title)
    np.savez(out / "cross_fitted.npz", names=np.array(names), before=before, probabilities=p, labels=unseen.labels)
    judged = binary_figures(unseen.labels, before, p, np.array(unseen.groups), draws=1000)
    recipe["calibration"]["cross_validated"] = plain(judged)
    if made["task"] == "filter":
        recipe["operating_points"]["confirm"] = float(np.quantile(p[unseen.labels], 1 - CONFIRM_SENSITIVITY))
        recipe["operating_points"]["doubt"] = float(np.quantile(p[unseen.labels], DOUBTED_SHARE))
        recipe["combination"]["turns"] = 2
    if made["task"] == "nodule" and "planar" in groups:
        single, _, _ = calibrate_combination(unseen, ["planar"], (), seed)
        recipe["single_slice"] = {key: single[key] for key in ("combination", "calibration", "conformal")}
    gate: dict[str, Any] = dict(FILTER_GATE)
    if made["task"] == "nodule":
        known = set(names)
        gate = {**NODULE_GATE, **surroundings_limits(data, [row for row in read_rows(data) if row.file in known])}
    return {
        "members": made["members"],
        **recipe,
        "gate": gate,
        "input_shape": [1, 1, 224, 224] if made["task"] == "nodule" else [1, 2, 24, 24, 24],
    }


def cross_validated_class_nll(
    logits: Array, labels: NDArray[np.int64], groups: list[str], *, seed: int
) -> dict[str, tuple[float, float]]:
    """``cross_validated_nll`` for logits ``(n, classes)``."""
    fold = group_folds(groups, [bool(label) for label in labels], folds=10, seed=seed)
    folds = [fold == k for k in range(10) if 0 < (fold == k).sum() < len(fold)]
    figures: dict[str, tuple[float, float]] = {}
    for kind, fit in (("none", None), *CLASS_CALIBRATORS.items()):
        losses = []
        for held in folds:
            parameters = fit(logits[~held], labels[~held]) if fit else {}
            p = calibrated_classes(logits[held], kind, parameters)
            losses.append(float(-np.log(np.maximum(p[np.arange(len(p)), labels[held]], 1e-7)).mean()))
        figures[kind] = (float(np.mean(losses)), float(np.std(losses, ddof=1) / np.sqrt(len(losses))))
    return figures


def fit_picture_gate(out: Path, data: Path, classes: int) -> dict[str, float]:
    """Principal space of the training pictures' descriptors; limits where 99 % of the validation pictures lie."""
    slices = read_slices(data, classes)
    train = np.stack([picture_descriptor(p) for p in slices.pictures[slices.splits == "train"]])
    mean = train.mean(axis=0)
    _, singular, components = np.linalg.svd(train - mean, full_matrices=False)
    kept = components[:24]
    scale = np.maximum(singular[:24] / np.sqrt(len(train) - 1), 1e-3)
    weights = {k: v for k, v in load_file(out / "model.safetensors").items() if not k.startswith("gate.")}
    weights["gate.mean"] = torch.from_numpy(mean).float()
    weights["gate.components"] = torch.from_numpy(np.ascontiguousarray(kept)).float()
    weights["gate.scale"] = torch.from_numpy(scale).float()
    save_file(weights, out / "model.safetensors")
    val = np.stack([picture_descriptor(p) for p in slices.pictures[slices.splits == "val"]]) - mean
    projected = val @ kept.T
    distance = np.sqrt(np.mean((projected / scale) ** 2, axis=1))
    residual = np.linalg.norm(val - projected @ kept, axis=1)
    return {
        "max_distance": float(np.quantile(distance, 0.99) * 1.05),
        "max_residual": float(np.quantile(residual, 0.99) * 1.05),
    }


def calibrate_slices(out: Path, data: Path, made: dict[str, Any], seed: int) -> dict[str, Any]:
    """Recipe of a slice bundle from the logits of the validation clusters."""
    held = np.load(out / "validation.npz")
    logits, labels = held["logits"], held["labels"]
    figures = cross_validated_class_nll(logits, labels, [str(g) for g in held["groups"]], seed=seed)
    kind = choose_calibrator(figures)
    parameters = CLASS_CALIBRATORS[kind](logits, labels) if kind != "none" else {}
    p = calibrated_classes(logits, kind, parameters)
    fitted = CLASS_CALIBRATORS["temperature"](logits, labels)["temperature"]
    positive = made["classes"].index("malignant")
    is_positive = labels == positive
    before = calibrated_classes(logits, "none", {})[:, positive]
    for name, values in (("before", before), ("after", p[:, positive])):
        plot_reliability(out / f"reliability_{name}.png", is_positive, values, f"{name} calibration, val n = {len(p)}")
    return {
        "members": made["members"],
        "calibration": {
            "kind": kind,
            "parameters": parameters,
            "temperature": 1.0 if kind == "none" else fitted,
            "fitted_temperature": fitted,
            "n": len(p),
            "cross_validated_nll": {name: list(pair) for name, pair in figures.items()},
        },
        "conformal": conformal_class_thresholds(p, labels, tuple(made["classes"])),
        "operating_points": operating_points(p[:, positive], is_positive),
        "gate": fit_picture_gate(out, data, len(made["classes"])),
        "input_shape": [1, 1, 224, 224],
    }


def main(argv: list[str] | None = None) -> int:
    """Parse, calibrate, print one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description="Calibrate trained weights.")
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder that training.train wrote; with --bundle: a new one"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--bundle", type=Path, default=None, help="recalibrate this bundle, by --from-database or --data"
    )
    parser.add_argument("--from-database", metavar="URL", default=None, help="on the verdicts in a node's database")
    parser.add_argument("--labels", type=Path, default=None, help="CSV of finding_id and malignant (1 or 0)")
    parser.add_argument("--site", default="local", help="name of the site in the new bundle's version")
    args = parser.parse_args(argv)
    if args.from_database and not args.bundle:
        parser.error("--from-database wants the --bundle that is to be recalibrated")
    if not args.data and not args.from_database:
        parser.error("--data is missing (or --from-database with --bundle)")
    if args.bundle:
        return _recalibrate(args)
    try:
        made = json.loads((args.out / "members.json").read_text())
        refuse_leaks(made["task"], args.data)
        if made["task"] == "slice":
            recipe = calibrate_slices(args.out, args.data, made, args.seed)
        else:
            recipe = calibrate_patches(args.out, args.data, made, args.seed)
    except LeakError as error:
        print(f"training.calibrate: {error}", file=sys.stderr)
        return 2
    except (DataError, OSError, ValueError) as error:
        print(f"training.calibrate: {error}; run training.train with the same --out first", file=sys.stderr)
        return 2
    task = made["task"]
    recipe = {
        "task": task,
        "name": NAMES[task],
        "version": VERSION,
        "architecture": ARCHITECTURE[task],
        "classes": made["classes"],
        **recipe,
        "training_data": {**DATA_SOURCES[task], **made["training"]},
        "metrics": {},
        "intended_use": INTENDED_USE[task],
        "limits": LIMITS[task],
        "weights_sha256": file_sha256(args.out / "model.safetensors"),
    }
    write_recipe(args.out, recipe)
    write_card(args.out, recipe)
    calibration = recipe["calibration"]
    print(json.dumps({"task": task, "out": str(args.out), "kind": calibration["kind"],
                      "temperature": calibration["temperature"], "n": calibration["n"],
                      "operating_points": recipe["operating_points"], "conformal": recipe["conformal"]}))  # fmt: skip
    return 0


def _recalibrate(args: argparse.Namespace) -> int:
    from training.sites import recalibrate_at_site  # which builds on this module

    try:
        summary = recalibrate_at_site(args)
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.calibrate: {error}", file=sys.stderr)
        return 2
    print(json.dumps(summary))
    return 0


def file_sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
