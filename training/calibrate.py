"""``python -m training.calibrate --data DIR --out DIR --seed N``: calibrate trained networks into a bundle.

Reads what ``training.train`` left in ``--out``: margins of patients that the networks have not seen. Fits every
calibrator, ships the one with the lowest cross-validated negative log-likelihood (the plainest within one standard
error of it), conformal thresholds at 90 %, operating points and the domain gate; writes ``bundle.json`` and plots.

With ``--bundle`` it recalibrates a bundle at a site instead (``training.recalibration.recalibrate``), which touches no
weights.
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
from safetensors.torch import load_file

from inference.bundle import Bundle, write_recipe
from inference.calibration.calibration import CLASS_CALIBRATORS, calibrated_classes, conformal_class_thresholds
from inference.calibration.evidence import Evidence
from inference.calibration.temperatures import network_temperatures
from inference.displayed import CROSS_VALIDATION, Question
from inference.errors import BundleError
from inference.malignancy.ensemble import FEATURES
from inference.malignancy.submodels import GROUPS, Variant
from inference.metrics import binary_figures, plain
from inference.networks.planar import AttentionResNet
from inference.volumes.patch_views import ViewSpec
from training.data.features import attention_limit, measured_features, surroundings_limits
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError, read_rows
from training.data.splits import LeakError
from training.fitting.cards import ARCHITECTURE, DATA_SOURCES, INTENDED_USE, LIMITS, NAMES, write_card
from training.fitting.combination import (
    Unseen,
    calibrate_combination,
    class_temperature_figures,
    cross_calibrated_classes,
    cross_validated_class_nll,
    operating_points,
    temperature_figures,
    with_temperatures,
)
from training.fitting.coverage import display_coverage, held_out_cases, nested_cases
from training.fitting.plots import plot_reliability
from training.fitting.report_metrics import cross_fitted_coverage, disagreement_figures, figures_of_parts, size_parts
from training.fitting.separation import SizedCases, separation_of, size_figures
from training.fitting.split_predictions import Answers
from training.picture_gate import fit_gate

VERSION = "1.1.0"
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
"""Sensitivity of the filter on unseen nodules: at 0.95 a nodule-free scan had five false positives, at 0.90 one."""
DOUBTED_SHARE = 0.01
"""Share of unseen nodules below the filter's doubt threshold, which get no malignancy even when marked."""
FILTER_GATE = {"max_candidates": 300}
APART_QUANTILE = 0.90
"""Share of nodules with the largest disagreement of planar and volumetric networks, which is a stated doubt."""

Array = NDArray[np.float64]


def read_unseen(out: Path, data: Path, trained: dict[str, Any]) -> tuple[Unseen, list[str]]:
    """Return the margins of ``training.train``, with measured features for nodules, and the samples' names."""
    stored = np.load(out / "unseen.npz")
    usable = stored["labelled"] & np.isfinite(stored["margins"]).all(axis=0)
    names = [str(n) for n in stored["names"][usable]]
    features = None
    if trained["task"] == "nodule":
        row_of = {row.file: row for row in read_rows(data)}
        features = measured_features(data, [row_of[name] for name in names])
    unseen = Unseen(
        stored["margins"][:, usable],
        features,
        stored["labels"][usable],
        [str(g) for g in stored["groups"][usable]],
        trained["members"],
        (trained["classes"][0], trained["classes"][1]),
        "train and val, out of fold" if trained.get("training", {}).get("folds") else "val",
        Question.MALIGNANCY if trained["task"] == "nodule" else Question.NODULE,
    )
    return unseen, names


def calibrate_patches(out: Path, data: Path, trained: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the recipe of a nodule or filter bundle, from the margins of unseen patients."""
    unseen, names = read_unseen(out, data, trained)
    unseen = with_temperatures(unseen)
    groups = sorted({member["group"] for member in trained["members"]})
    features = FEATURES if trained["task"] == "nodule" else ()
    recipe, before, p = calibrate_combination(unseen, groups, features, seed)
    shown = display_coverage(nested_cases(unseen, groups, features, seed=seed), unseen.split)
    recipe["display_coverage"] = plain(shown)
    for name, values in (("before", before), ("after", p)):
        title = f"{name} calibration, unseen n = {len(p)}"
        plot_reliability(out / f"reliability_{name}.png", unseen.labels, values, title)
    np.savez(out / "cross_fitted.npz", names=np.array(names), before=before, probabilities=p, labels=unseen.labels)
    judged = binary_figures(unseen.labels, before, p, np.array(unseen.groups), draws=1000)
    judged |= cross_fitted_coverage(unseen.labels, p, unseen.groups, unseen.classes, seed=seed)
    gate: dict[str, Any] = dict(FILTER_GATE)
    if trained["task"] == "filter":
        recipe["operating_points"]["confirm"] = float(np.quantile(p[unseen.labels], 1 - CONFIRM_SENSITIVITY))
        recipe["operating_points"]["doubt"] = float(np.quantile(p[unseen.labels], DOUBTED_SHARE))
        recipe["combination"]["turns"] = 2
    else:
        row_of = {row.file: row for row in read_rows(data)}
        rows = [row_of[name] for name in names]
        gate = {**NODULE_GATE, **surroundings_limits(data, rows)}
        if (member := planar_member(out, trained)) is not None:
            gate["attention_in_lung"] = attention_limit(data, rows, member)
        diameter = np.array([row.diameter_mm for row in rows])
        sizes = {CROSS_VALIDATION: size_figures(SizedCases(p, unseen.labels, np.array(unseen.groups), diameter))}
        if separation := separation_of(sizes):
            recipe["separation"] = {**separation.to_json(), "size_classes": plain(sizes)}
        answers = size_answers(unseen, before, p, diameter)
        judged["by_size"] = figures_of_parts(answers, size_parts(answers.columns["diameter_mm"]))
        if all(set(own) <= set(groups) for own in GROUPS.values()):
            recipe["opinions"], gap_figures, apart = calibrate_submodels(unseen, p, seed)
            judged |= gap_figures
            gate["opinions_apart"] = apart
    if trained["task"] == "nodule" and "planar" in groups:
        single, _, _ = calibrate_combination(unseen, ["planar"], (), seed)
        recipe["single_slice"] = {key: single[key] for key in ("combination", "calibration", "conformal", "evidence")}
    recipe["calibration"]["cross_validated"] = plain(judged)
    recipe["calibration"]["networks"] = plain(temperature_figures(unseen))
    return {
        "members": unseen.members,
        **recipe,
        "gate": gate,
        "input_shape": [1, 1, 224, 224] if trained["task"] == "nodule" else [1, 2, 24, 24, 24],
    }


def planar_member(out: Path, trained: dict[str, Any]) -> tuple[ViewSpec, AttentionResNet] | None:
    """Return the shipped planar network and its view (for the attention gate); None without one."""
    members = [member for member in trained["members"] if member["kind"] == "planar"]
    weights = {name: tensor.float() for name, tensor in load_file(out / "model.safetensors").items()}
    loaded = Bundle(out, {"members": members}, weights).members(torch.device("cpu"))
    planar_members = ((ViewSpec.from_json(m["view"]), n) for m, n in loaded if isinstance(n, AttentionResNet))
    return next(planar_members, None)


def calibrate_submodels(unseen: Unseen, together: Array, seed: int) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Return the recipe parts of each submodel, their cross-fitted metrics, and the limit of their disagreement.

    The same patients and the same way as for the ensemble, whose cross-fitted probabilities are ``together``.
    """
    parts: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    cross_fitted_p: dict[str, Array] = {}
    for variant, groups in GROUPS.items():
        parts[variant.value], before, p = calibrate_combination(unseen, list(groups), FEATURES, seed)
        cross_fitted_p[variant] = p
        figures[variant.value] = {
            **binary_figures(unseen.labels, before, p, np.array(unseen.groups), draws=1000),
            **cross_fitted_coverage(unseen.labels, p, unseen.groups, unseen.classes, seed=seed),
        }
    planar, volumetric = cross_fitted_p[Variant.PLANAR], cross_fitted_p[Variant.VOLUMETRIC]
    apart = float(np.quantile(np.abs(planar - volumetric), APART_QUANTILE))
    gap = disagreement_figures(unseen.labels, together, planar, volumetric, apart)
    return parts, {"opinions": figures, "disagreement": gap}, apart


def size_answers(unseen: Unseen, before: Array, p: Array, diameter_mm: Array) -> Answers:
    """Return the cross-fitted answers with the readers' and the automatic diameters."""
    longest = FEATURES.index("longest_mm")
    automatic = np.zeros(len(p)) if unseen.features is None else np.nan_to_num(np.exp(unseen.features[:, longest]))
    return Answers(
        labels=unseen.labels,
        labelled=np.ones(len(p), dtype=bool),
        groups=np.array(unseen.groups),
        before=before,
        after=p,
        columns={"diameter_mm": diameter_mm, "automatic_diameter_mm": automatic},
    )


def calibrate_slices(out: Path, data: Path, trained: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the recipe of a slice bundle, from the logits of the validation clusters."""
    held = np.load(out / "validation.npz")
    logits, labels, groups = held["logits"], held["labels"], [str(g) for g in held["groups"]]
    figures = cross_validated_class_nll(logits, labels, groups, seed=seed)
    temperature = CLASS_CALIBRATORS["temperature"](logits, labels)["temperature"]
    vector, (plain_nll, error) = figures["vector"], figures["temperature"]
    kind = "vector" if vector[0] < plain_nll - error else "none"
    parameters = CLASS_CALIBRATORS[kind](logits / temperature, labels) if kind != "none" else {}
    p = cross_calibrated_classes(logits, labels, groups, kind, seed=seed)
    positive = trained["classes"].index("malignant")
    is_positive = labels == positive
    split = "train and val, out of fold" if trained["training"].get("folds") else "val"
    evidence = Evidence.of(split, Question.SLICE, p[:, positive], is_positive, groups)
    before = calibrated_classes(logits, "none", {})[:, positive]
    for name, values in (("before", before), ("after", p[:, positive])):
        title = f"{name} calibration, unseen n = {len(p)}"
        plot_reliability(out / f"reliability_{name}.png", is_positive, values, title)
    judged = binary_figures(is_positive, before, p[:, positive], np.array(groups), draws=1000)
    return {
        "members": [{**member, "temperature": temperature} for member in trained["members"]],
        "calibration": {
            "kind": kind,
            "parameters": parameters,
            "n": len(p),
            "cross_validated_nll": {name: list(pair) for name, pair in figures.items()},
            "cross_validated": plain(judged),
            "networks": plain([class_temperature_figures(logits, labels, groups, judged)]),
        },
        "conformal": conformal_class_thresholds(p, labels, tuple(trained["classes"])),
        "operating_points": operating_points(p[:, positive], is_positive),
        "evidence": evidence.to_json(),
        "display_coverage": plain(display_coverage(held_out_cases(evidence, seed=seed), split)),
        "gate": fit_gate(out, data),
        "input_shape": [1, 1, 224, 224],
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
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
        trained = json.loads((args.out / "members.json").read_text())
        refuse_leaks(trained["task"], args.data)
        if trained["task"] == "slice":
            recipe = calibrate_slices(args.out, args.data, trained, args.seed)
        else:
            recipe = calibrate_patches(args.out, args.data, trained, args.seed)
    except LeakError as error:
        print(f"training.calibrate: {error}", file=sys.stderr)
        return 2
    except (DataError, OSError, ValueError) as error:
        print(f"training.calibrate: {error}; run training.train with the same --out first", file=sys.stderr)
        return 2
    task = trained["task"]
    recipe = {
        "task": task,
        "name": NAMES[task],
        "version": VERSION,
        "architecture": ARCHITECTURE[task],
        "classes": trained["classes"],
        **recipe,
        "training_data": {**DATA_SOURCES[task], **trained["training"]},
        "metrics": {},
        "intended_use": INTENDED_USE[task],
        "limits": LIMITS[task],
        "weights_sha256": file_sha256(args.out / "model.safetensors"),
    }
    write_recipe(args.out, recipe)
    write_card(args.out, recipe)
    calibration = recipe["calibration"]
    print(json.dumps({"task": task, "out": str(args.out), "kind": calibration["kind"],
                      "temperatures": network_temperatures(recipe), "n": calibration["n"],
                      "operating_points": recipe["operating_points"], "conformal": recipe["conformal"]}))  # fmt: skip
    return 0


def _recalibrate(args: argparse.Namespace) -> int:
    from training.recalibration.recalibrate import recalibrate_at_site  # which builds on this module

    try:
        summary = recalibrate_at_site(args)
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.calibrate: {error}", file=sys.stderr)
        return 2
    print(json.dumps(summary))
    return 0


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
