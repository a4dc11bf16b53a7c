"""``python -m training.calibrate --data DIR --out DIR --seed N``: make a bundle whose numbers mean something.

Reads what ``training.train`` left in ``--out``: margins of patients that the networks have not seen. Fits every
calibrator, ships the one with the lowest cross-validated negative log-likelihood (the plainest within one standard
error of it), conformal thresholds at 90 %, operating points and the domain gate; writes ``bundle.json`` and plots.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

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
from inference.ensemble import combine
from inference.pictures import picture_descriptor
from training.cards import ARCHITECTURE, DATA_SOURCES, INTENDED_USE, LIMITS, NAMES, write_card
from training.leaks import refuse_leaks
from training.metrics import expected_calibration_error, negative_log_likelihood
from training.nodules import DataError
from training.plots import plot_reliability
from training.slices import read_slices
from training.splits import LeakError, group_folds

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
    """The plainest calibrator (``figures`` are in the order of their table) within one standard error of the best."""
    fitted = {kind: figure for kind, figure in figures.items() if kind != "none"}
    best, error = min(fitted.values())
    return next(kind for kind, figure in fitted.items() if figure[0] <= best + error)


def operating_points(p: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Thresholds with sensitivity 0.95 and with specificity 0.90 on unseen patients."""
    return {
        "sensitivity_95": float(np.quantile(p[labels], 0.05)),
        "specificity_90": float(np.quantile(p[~labels], 0.90)),
    }


def calibrate_patches(out: Path, made: dict[str, Any], seed: int) -> dict[str, Any]:
    """Recipe of a nodule or filter bundle from the margins of unseen patients."""
    unseen = np.load(out / "unseen.npz")
    usable = unseen["labelled"] & np.isfinite(unseen["margins"]).all(axis=0)
    margins, labels = unseen["margins"][:, usable], unseen["labels"][usable]
    groups = [str(g) for g in unseen["groups"][usable]]
    names = sorted({member["group"] for member in made["members"]})
    combination = {"weights": {name: 1 / len(names) for name in names}, "turns": 8 if made["task"] == "nodule" else 2}
    raw = {"members": made["members"], "combination": combination, "calibration": {"kind": "none", "parameters": {}}}
    z = combine(margins, raw).margins
    figures = cross_validated_nll(z, labels, groups, seed=seed)
    kind = choose_calibrator(figures)
    parameters = CALIBRATORS[kind](z, labels)
    p = calibrated(z, kind, parameters)
    points = operating_points(p, labels)
    if made["task"] == "filter":
        points["confirm"] = float(np.quantile(p[labels], 1 - CONFIRM_SENSITIVITY))
    for name, values in (("before", calibrated(z, "none", {})), ("after", p)):
        plot_reliability(out / f"reliability_{name}.png", labels, values, f"{name} calibration, unseen n = {len(p)}")
    extra = {}
    if made["task"] == "nodule" and "planar" in names:
        extra["single_slice"] = calibrate_single_slice(margins, labels, raw, made["classes"])
    temperature = float(parameters.get("temperature", fit_temperature(z, labels)["temperature"]))
    return {
        "members": made["members"],
        "combination": combination,
        "calibration": {
            "kind": kind,
            "parameters": parameters,
            "temperature": temperature,
            "limits": [1 / (len(p) + 2), 1 - 1 / (len(p) + 2)],
            "n": len(p),
            "cross_validated_nll": {name: list(pair) for name, pair in figures.items()},
            "ece_before": expected_calibration_error(labels, calibrated(z, "none", {})),
            "ece_after_in_sample": expected_calibration_error(labels, p),
        },
        "conformal": conformal_thresholds(p, labels, (made["classes"][0], made["classes"][1])),
        "operating_points": points,
        **extra,
        "gate": NODULE_GATE if made["task"] == "nodule" else FILTER_GATE,
        "input_shape": [1, 1, 224, 224],
    }


def calibrate_single_slice(
    margins: Array, labels: NDArray[np.bool_], raw: dict[str, Any], classes: list[str]
) -> dict[str, Any]:
    """What answers when only one slice was sent: the planar networks alone, which look at no other slice anyway."""
    combination = {"weights": {"planar": 1.0}, "turns": 8}
    z = combine(margins, {**raw, "combination": combination}).margins
    parameters = fit_temperature(z, labels)
    p = calibrated(z, "temperature", parameters)
    limits = [1 / (len(p) + 2), 1 - 1 / (len(p) + 2)]
    return {
        "combination": combination,
        "calibration": {"kind": "temperature", "parameters": parameters, **parameters, "limits": limits, "n": len(p)},
        "conformal": conformal_thresholds(p, labels, (classes[0], classes[1])),
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
    parameters = CLASS_CALIBRATORS[kind](logits, labels)
    p = calibrated_classes(logits, kind, parameters)
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
            "temperature": CLASS_CALIBRATORS["temperature"](logits, labels)["temperature"],
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
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the folder that training.train wrote")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        made = json.loads((args.out / "members.json").read_text())
        refuse_leaks(made["task"], args.data)
        if made["task"] == "slice":
            recipe = calibrate_slices(args.out, args.data, made, args.seed)
        else:
            recipe = calibrate_patches(args.out, made, args.seed)
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


def file_sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
