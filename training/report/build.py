"""``python -m training.report --data DIR --out docs/model``: measure the bundles and write the model report.

Writes ``figures.json`` and, from it alone, a card for each task, plots and an index. ``--render`` writes cards and
plots anew from the ``figures.json`` that is there. What a bundle records of itself (``training.evaluate --record``)
stands in the report as it is; the report refuses a bundle whose answers are not those that were recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inference.bundle import Bundle, bundle_folders, read_bundle
from inference.calibration.evidence import read_evidence
from inference.displayed import Question
from inference.errors import BundleError
from inference.metrics import auc, binary_figures, plain
from training.data.features import measured_crops
from training.data.leaks import refuse_leaks
from training.data.nodules import DataError, rows_of
from training.data.series_io import read_scan
from training.data.splits import LeakError
from training.fitting.report_metrics import (
    DRAWS,
    baseline_figures,
    calibration_figures,
    coverage_with_intervals,
    nodule_splits,
    operating_figures,
    pathology_figures,
    samples_of,
    slice_splits,
    subgroup_figures,
    undecided_figures,
)
from training.fitting.split_predictions import Answers, answered, filter_answers, nodule_answers, slice_answers
from training.fitting.tasks import scan_sources
from training.report.density import density_figures
from training.report.explanations import explanation_figures
from training.report.pages import write_pages
from training.report.plots import write_plots
from training.report.robustness import ROTATIONS, Bench, lung_points, print_progress, robustness_figures
from training.train import choose_device, commit_of_code

TASKS = ("nodule", "filter", "slice")
TOLERANCE = 0.005
"""Accepted difference of an AUC from the recorded one; processors round bfloat16 differently."""
DENSITY_POINTS = 25
REPORTED_KEYS = ("name", "version", "architecture", "classes", "intended_use", "limits", "training_data", "calibration",
        "conformal", "operating_points", "gate", "weights_sha256", "input_shape",
        "display_coverage", "separation", "detection")  # fmt: skip


class ReportError(Exception):
    """The report cannot be written."""


@dataclass(frozen=True, slots=True)
class Job:
    """Inputs of one run of the report."""

    data: Path
    split: str
    bundles: dict[str, Bundle]
    device: torch.device
    rotations: int
    progress: Callable[[str], None]
    robustness: dict[str, Any] | None = None
    """Output of ``training.report.robustness --out``; None measures it now, which takes long."""
    seeds: tuple[Bundle, ...] = ()
    """Slice bundles trained with other seeds, for the variation of metrics."""


def nodule_figures(job: Job) -> dict[str, Any]:
    """Return all results of the nodule model."""
    bundle = job.bundles["nodule"]
    job.progress("nodule: answers and subgroups")
    crops = measured_crops(job.data, rows_of(job.data, job.split))
    everyone = nodule_answers(bundle, crops, job.device)
    answers = everyone.where(everyone.labelled)
    baselines = {
        "diameter by readers": answers.columns["diameter_mm"],
        "automatic diameter": answers.columns["automatic_diameter_mm"],
    }
    figures = {
        **task_figures(bundle, answers, baselines),
        "samples": samples_of(everyone),
        "splits": nodule_splits(job.data),
        "subgroups": subgroup_figures(answers),
        "undecided": undecided_figures(everyone),
        "pathology": pathology_figures(job.data, everyone),
    }
    job.progress("nodule: explanations")
    figures["explanations"] = explanation_figures(bundle, crops, job.device)
    job.progress("nodule: density")
    figures["density"] = scan_density(job.data)
    figures["robustness"] = job.robustness or measured_robustness(job, bundle)
    return figures


def measured_robustness(job: Job, bundle: Bundle) -> dict[str, Any]:
    """Return the results of ``training.report.robustness``."""
    job.progress("nodule: robustness")
    bench = Bench.of(bundle, job.bundles["filter"], job.device, rotations=job.rotations)
    results = robustness_figures(job.data, job.split, bench, progress=job.progress)
    return {"bundle_sha256": bundle.sha256, "turns": job.rotations, **results}


def scan_density(data: Path) -> dict[str, Any] | None:
    """Return the density results in a series without nodules; None without one."""
    try:
        volume = read_scan(scan_sources(data)[0])
    except DataError:
        return None
    return density_figures(volume, [point.index for point in lung_points(volume, DENSITY_POINTS, seed=1)])


def filter_figures(job: Job) -> dict[str, Any]:
    """Return all results of the filter."""
    job.progress("filter")
    bundle = job.bundles["filter"]
    answers = filter_answers(bundle, job.data, job.split, job.device)
    baselines = {
        "brightness at the place": answers.columns["centre_hu"],
        "contrast with its surroundings": answers.columns["contrast_hu"],
    }
    return {**task_figures(bundle, answers, baselines), "samples": samples_of(answers)}


def slice_figures(job: Job) -> dict[str, Any]:
    """Return all results of the slice model."""
    job.progress("slice")
    bundle = job.bundles["slice"]
    everyone = slice_answers(bundle, job.data, job.split, job.device)
    answers = answered(everyone)
    baselines = {
        "share of dark pixels": answers.columns["dark_pixels"],
        "8x8 thumbnail": answers.columns["thumbnail"],
    }
    return {
        **task_figures(bundle, answers, baselines),
        "samples": samples_of(answers),
        "splits": slice_splits(job.data, len(bundle.recipe["classes"])),
        "in_domain_share": float(everyone.columns["in_domain"].mean()),
        "seeds": [seed_figures(job, each) for each in (bundle, *job.seeds)] if job.seeds else [],
    }


def seed_figures(job: Job, bundle: Bundle) -> dict[str, Any]:
    """Return the main metrics of one slice bundle, named by its seed."""
    answers = answered(slice_answers(bundle, job.data, job.split, job.device))
    figures = binary_figures(answers.labels, answers.before, answers.after, answers.groups, draws=DRAWS)
    return {"seed": bundle.recipe["training_data"]["seed"], **figures}


def task_figures(bundle: Bundle, answers: Answers, baselines: dict[str, Any]) -> dict[str, Any]:
    """Return the results of every task; ``metrics`` are those recorded in the bundle and shown by the service.

    Raises
    ------
    ReportError
        The bundle's recorded figures are not those of its answers.
    """
    metrics = bundle.recipe["metrics"]
    measured_auc, recorded = auc(answers.labels, answers.after), metrics["auc"]
    if metrics["n"] != len(answers.labels) or (recorded is not None and abs(measured_auc - recorded) > TOLERANCE):
        raise ReportError(
            f"{bundle.folder} records n = {metrics['n']}, AUC {recorded}, but gives n = {len(answers.labels)}, AUC "
            f"{measured_auc:.4f}; record it anew: python -m training.evaluate --record --bundle {bundle.folder} ..."
        )
    return {
        "bundle": bundle_record(bundle),
        "metrics": metrics,
        "baselines": baseline_figures(answers, baselines),
        "calibration": calibration_figures(answers),
        "coverage": coverage_with_intervals(answers, bundle),
        "operating_points": operating_figures(answers, bundle),
    }


def bundle_record(bundle: Bundle) -> dict[str, Any]:
    """Return the report's description of a bundle."""
    evidence = read_evidence(bundle.recipe, Question.MALIGNANCY)
    record = {
        "sha256": bundle.sha256,
        **{key: bundle.recipe[key] for key in REPORTED_KEYS if key in bundle.recipe},
        "combination": bundle.recipe.get("combination", {}),
    }
    if evidence is not None:
        record["evidence"] = {
            "split": evidence.split,
            "n": len(evidence.labels),
            "groups": evidence.group_count,
            "neighbours": evidence.neighbour_count,
        }
    return record


def refreshed(figures: dict[str, Any], bundles: dict[str, Bundle], leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Return earlier results with the current bundles' records; ``leave_out`` names tasks not to check.

    Raises
    ------
    ReportError
        Other networks, or other recorded figures: these have to be measured anew.
    """
    bundles = {task: bundle for task, bundle in bundles.items() if task not in leave_out}
    for task, bundle in bundles.items():
        before = figures[task]["bundle"]
        if before["weights_sha256"] != bundle.recipe["weights_sha256"]:
            raise ReportError(f"the {task} bundle has other weights than were measured: leave out --refresh")
        if figures[task]["metrics"] != bundle.recipe["metrics"]:
            raise ReportError(f"the {task} bundle records other figures than were measured: leave out --refresh")
    renewed = {task: {**figures[task], "bundle": bundle_record(bundle)} for task, bundle in bundles.items()}
    return dict(plain({**figures, **renewed}))


FIGURES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "nodule": nodule_figures,
    "filter": filter_figures,
    "slice": slice_figures,
}


def measure(job: Job, tasks: Sequence[str] = TASKS, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return results of ``tasks``, measured; those of others are from ``earlier``, an earlier report's.

    Raises
    ------
    ReportError
        A bundle holds no figures of this split, or other ones than it should.
    """
    for task in ("nodule", "slice"):  # the filter learns from the same crops
        refuse_leaks(task, job.data)
    for task, bundle in job.bundles.items():
        if bundle.recipe["metrics"].get("split") != job.split:
            raise ReportError(
                f"the {task} bundle holds no figures of the split {job.split!r}: run python -m training.evaluate "
                f"--record --split {job.split} --bundle {bundle.folder} first"
            )
    renewed = {task: FIGURES[task](job) for task in tasks}
    before = {} if earlier is None or len(renewed) == len(TASKS) else refreshed(earlier, job.bundles, leave_out=tasks)
    return dict(plain({**before, "split": job.split, "commit": commit_of_code(), **renewed}))


def write_report(out: Path, figures: dict[str, Any]) -> None:
    """Write cards and plots from the results, replacing those of an earlier report."""
    for old in out.glob("*.png"):
        old.unlink()
    write_plots(out, figures)
    write_pages(out, figures)


def main(argv: list[str] | None = None) -> int:
    """Run the command; prints one JSON object last."""
    parser = argparse.ArgumentParser(prog="python -m training.report", description="Measure and write the report.")
    parser.add_argument("--data", type=Path, default=None, help="folder of the layout that docs/data.md describes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report, say docs/model")
    parser.add_argument("--bundles", type=Path, default=None, help="folder of bundles; default: the shipped ones")
    parser.add_argument("--split", default="test", help="the held-out split that the bundles' figures are of")
    parser.add_argument("--rotations", type=int, default=ROTATIONS, help="rotations averaged under distortion")
    parser.add_argument(
        "--robustness",
        type=Path,
        default=None,
        help="file of training.report.robustness --out, instead of distorting anew",
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=TASKS, default=TASKS, help="measure only these; the others keep their figures"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--seeds", type=Path, nargs="*", default=[], help="slice bundles of other seeds, measured beside"
    )
    parser.add_argument("--render", action="store_true", help="only write cards and plots from figures.json")
    parser.add_argument(
        "--refresh", action="store_true", help="take evidence and texts of the bundles anew, measure nothing"
    )
    args = parser.parse_args(argv)
    started = time.monotonic()
    earlier = args.out / "figures.json"
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        if args.render:
            figures = json.loads(earlier.read_text())
        elif args.refresh:
            bundles = {task: read_bundle(folder) for task, folder in bundle_folders(args.bundles).items()}
            figures = refreshed(json.loads(earlier.read_text()), bundles)
            earlier.write_text(json.dumps(figures, separators=(",", ":")) + "\n")
        else:
            figures = measure(job_of(args), args.tasks, json.loads(earlier.read_text()) if earlier.exists() else None)
            earlier.write_text(json.dumps(figures, separators=(",", ":")) + "\n")
        write_report(args.out, figures)
    except (BundleError, DataError, LeakError, ReportError, OSError) as error:
        print(f"training.report.build: {error}", file=sys.stderr)
        return 2
    files = sorted(path.name for path in args.out.iterdir())
    size_bytes = sum(path.stat().st_size for path in args.out.iterdir())
    print(json.dumps({"out": str(args.out), "files": files, "bytes": size_bytes,
                      "seconds": round(time.monotonic() - started, 1)}))  # fmt: skip
    return 0


def job_of(args: argparse.Namespace) -> Job:
    """Return the job of the command line."""
    if args.data is None:
        raise DataError("--data is needed unless --render or --refresh is given")
    bundles = {task: read_bundle(folder) for task, folder in bundle_folders(args.bundles).items()}
    seeds = tuple(read_bundle(folder) for folder in args.seeds)
    robustness = json.loads(args.robustness.read_text()) if args.robustness else None
    progress = print_progress("report", 6 if robustness else 29)
    return Job(args.data, args.split, bundles, choose_device(args.device), args.rotations, progress, robustness, seeds)


if __name__ == "__main__":
    raise SystemExit(main())
