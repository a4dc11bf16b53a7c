"""``python -m training.evidence --data DIR --bundle DIR [--split NAME] [--run DIR]``: add evidence to a bundle.

Evidence are cases that neither networks nor combination nor calibrator were fitted on; what is shown of a probability
is bounded by those nearest in score (``inference.calibration.evidence``). ``training.calibrate`` writes it for the
bundles that it makes. This command writes it for one that has none or another: from the out-of-fold margins that
``training.train`` left in ``--run`` (nested: combination and calibrator are refitted without each patient), else from
``--split``. A nodule bundle also gets the size from which it separates benign from malignant nodules, by every evidence
that there is, and each bundle the table of what was shown and what was true, by decile.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bundle import SHIPPED, Bundle, read_bundle, recipe_digest, write_recipe
from inference.calibration.evidence import Evidence
from inference.displayed import CROSS_VALIDATION, TEST_SPLIT, Question
from inference.errors import BundleError
from inference.malignancy.ensemble import FEATURES, combine
from inference.malignancy.submodels import GROUPS, overlaid, submodel_recipes
from inference.metrics import plain
from training.calibrate import read_unseen
from training.data.features import measured_crops
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError, read_rows, rows_of
from training.data.splits import LeakError
from training.fitting.cards import ARCHITECTURE, LIMITS, write_card
from training.fitting.combination import calibrate_combination, with_temperatures
from training.fitting.coverage import display_coverage, held_out_cases, nested_cases
from training.fitting.separation import SizedCases, separation_of, size_figures
from training.fitting.split_predictions import Answers, answered, filter_answers, nodule_answers, slice_answers
from training.train import choose_device

Array = NDArray[np.float64]
QUESTIONS = {"nodule": Question.MALIGNANCY, "filter": Question.NODULE, "slice": Question.SLICE}
SIZES_MM = {
    "below 6 mm": (3.0, 6.0),
    "6 to 8 mm": (6.0, 8.0),
    "8 to 15 mm": (8.0, 15.0),
    "15 mm and more": (15.0, 40.0),
}
"""Size classes by the names under which ``training.calibrate`` records their figures."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Evidence for each answer of a recipe, the separating size, and the table by decile."""

    evidence: Evidence
    submodels: dict[str, Evidence]
    single_slice: Evidence | None
    coverage: dict[str, Any]
    sizes: dict[str, list[dict[str, Any]]]

    def into(self, recipe: dict[str, Any]) -> dict[str, Any]:
        """Return the recipe with its evidence, without the clipped points and bootstrap draws that it replaces."""
        changed: dict[str, Any] = {**bare(recipe), "evidence": self.evidence.to_json()}
        changed["display_coverage"] = plain(self.coverage)
        changed |= {"limits": LIMITS[recipe["task"]], "architecture": ARCHITECTURE[recipe["task"]]}
        for name, evidence in self.submodels.items():
            changed["opinions"] = {
                **changed["opinions"],
                name: {**bare(changed["opinions"][name]), "evidence": evidence.to_json()},
            }
        if self.single_slice is not None:
            changed["single_slice"] = {**bare(recipe["single_slice"]), "evidence": self.single_slice.to_json()}
        separation = separation_of(self.sizes)
        changed.pop("separation", None)
        if separation is not None:
            changed["separation"] = {**separation.to_json(), "size_classes": plain(self.sizes)}
        return changed


def bare(parts: dict[str, Any]) -> dict[str, Any]:
    """Return parts of a recipe without ``calibration.limits`` and ``combination.draws``, which are unused."""
    unread = {"calibration": "limits", "combination": "draws"}
    return {
        name: {key: value for key, value in part.items() if key != unread.get(name)} if name in unread else part
        for name, part in parts.items()
    }


def parts_of_split(bundle: Bundle, args: argparse.Namespace) -> Parts:
    """Return evidence from a split that the bundle was not fitted on."""
    device, splits = choose_device(args.device), args.split.split("+")
    answers = [ANSWERS[bundle.task](bundle, args.data, split, device) for split in splits]
    together = [one.where(one.labelled) for one in answers]
    if not any(len(one.labels) for one in together):
        raise DataError(f"no labelled sample of the split {args.split!r}")
    split, question = " and ".join(splits), QUESTIONS[bundle.task]
    labels = np.concatenate([one.labels for one in together])
    groups = [str(group) for one in together for group in one.groups]

    def evidence_of(scores: list[Array]) -> Evidence:
        return Evidence.of(split, question, np.concatenate(scores), labels, groups)

    submodels = {
        name: evidence_of([probabilities_of(one, recipe) for one in together])
        for name, recipe in submodel_recipes(bundle.recipe).items()
        if name in bundle.recipe.get("opinions", {})
    }
    single = None
    if "single_slice" in bundle.recipe:
        single_slice = overlaid(bundle.recipe, bundle.recipe["single_slice"])
        single = evidence_of([probabilities_of(one, single_slice) for one in together])
    evidence = evidence_of([one.after for one in together])
    coverage = display_coverage(held_out_cases(evidence, seed=args.seed), split)
    sizes = {}
    if bundle.task == "nodule":
        diameter = np.concatenate([one.columns["diameter_mm"] for one in together])
        scores = np.concatenate([one.after for one in together])
        sizes = {TEST_SPLIT: size_figures(SizedCases(scores, labels, np.array(groups), diameter), draws=args.draws)}
        sizes |= recorded_sizes(bundle.recipe)
    return Parts(evidence, submodels, single, coverage, sizes)


def probabilities_of(answers: Answers, recipe: dict[str, Any]) -> Array:
    """Return calibrated probabilities by other parts of a recipe, from the margins of all its networks."""
    return combine(answers.margins, recipe, answers.features if answers.features.size else None).probabilities


def recorded_sizes(recipe: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """AUC by size class that ``training.calibrate`` recorded out of fold, as ``size_figures`` has it.

    It is of all pairs of a class, which are at most 2 mm apart in the two smallest ones; judged as there.
    """
    recorded = recipe["calibration"].get("cross_validated", {}).get("by_size", {})
    rows = [
        {
            "from_mm": SIZES_MM[name][0],
            "to_mm": SIZES_MM[name][1],
            "n": own["n"],
            "malignant": own["positives"],
            "auc": float("nan") if own["auc"] is None else own["auc"],
            "auc_interval": own["auc_interval"],
            "separates": None if own["auc_interval"][0] is None else own["auc_interval"][0] > 0.5,
        }
        for name, own in recorded.items()
        if name in SIZES_MM
    ]
    return {CROSS_VALIDATION: rows} if rows else {}


def parts_of_run(bundle: Bundle, args: argparse.Namespace) -> Parts:
    """Return evidence from out-of-fold margins of a training run of the same recipe, nested by patient.

    Raises
    ------
    DataError
        The run has other networks than the bundle.
    """
    trained = json.loads((args.run / "members.json").read_text())
    if [member["group"] for member in trained["members"]] != [member["group"] for member in bundle.recipe["members"]]:
        raise DataError(f"{args.run} trained other networks than {bundle.folder} holds")
    unseen, names = read_unseen(args.run, args.data, trained)
    unseen = with_temperatures(unseen)
    groups = sorted({member["group"] for member in bundle.recipe["members"]})
    features = FEATURES if bundle.task == "nodule" else ()

    def scores_of(own: list[str], columns: tuple[str, ...]) -> Array:
        return calibrate_combination(unseen, own, columns, args.seed)[2]

    def fitted(own: list[str], columns: tuple[str, ...]) -> Evidence:
        return Evidence.of(unseen.split, unseen.question, scores_of(own, columns), unseen.labels, unseen.groups)

    held = bundle.recipe.get("opinions", {})
    submodels = {name.value: fitted(list(own), FEATURES) for name, own in GROUPS.items() if name in held}
    single = fitted(["planar"], ()) if "single_slice" in bundle.recipe else None
    scores = scores_of(groups, features)
    evidence = Evidence.of(unseen.split, unseen.question, scores, unseen.labels, unseen.groups)
    coverage = display_coverage(nested_cases(unseen, groups, features, seed=args.seed), unseen.split)
    sizes = {}
    if bundle.task == "nodule":
        diameter_of = {row.file: row.diameter_mm for row in read_rows(args.data)}
        held_out = parts_of_split(bundle, args).sizes[TEST_SPLIT]
        diameter = np.array([diameter_of[name] for name in names])
        nested = SizedCases(scores, unseen.labels, np.array(unseen.groups), diameter)
        sizes = {TEST_SPLIT: held_out, CROSS_VALIDATION: size_figures(nested, draws=args.draws)}
    return Parts(evidence, submodels, single, coverage, sizes)


def _nodules(bundle: Bundle, data: Path, split: str, device: torch.device) -> Answers:
    return nodule_answers(bundle, measured_crops(data, rows_of(data, split)), device)


def _slices(bundle: Bundle, data: Path, split: str, device: torch.device) -> Answers:
    """Return the answers for images that pass the gate."""
    return answered(slice_answers(bundle, data, split, device))


ANSWERS: dict[str, Callable[[Bundle, Path, str, torch.device], Answers]] = {
    "nodule": _nodules,
    "filter": filter_answers,
    "slice": _slices,
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.evidence", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test", help="splits joined by +, none of which the bundle was fitted on")
    parser.add_argument("--run", type=Path, default=None, help="the folder of a training.train run with --folds")
    parser.add_argument("--bundle", type=Path, default=None, help="bundle folder; default: the shipped one of --task")
    parser.add_argument("--task", choices=sorted(QUESTIONS), default="nodule", help="which shipped bundle")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    try:
        bundle = read_bundle(args.bundle or SHIPPED / args.task)
        refuse_leaks(bundle.task, args.data)
        parts = parts_of_run(bundle, args) if args.run else parts_of_split(bundle, args)
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.evidence: {error}", file=sys.stderr)
        return 2
    recipe = parts.into(bundle.recipe)
    write_recipe(bundle.folder, {key: value for key, value in recipe.items() if key != "format"})
    write_card(bundle.folder, recipe)
    print(json.dumps({
        "task": bundle.task, "split": parts.evidence.split, "n": len(parts.evidence.labels),
        "patients": parts.evidence.group_count, "neighbours": parts.evidence.neighbour_count,
        "separates_from_mm": recipe.get("separation", {}).get("from_mm"),
        "failing_deciles": parts.coverage["failing"], "bundle_sha256": recipe_digest(recipe),
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
