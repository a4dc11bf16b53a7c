"""``python -m training.report.froc --data DIR --bundle DIR --run DIR --split NAME``: detection in whole series.

Free-response ROC (Bunch et al. 1978; rates and mean of LUNA16, Setio et al. 2017): sensitivity at 1/8 to 8 other
findings a scan, and their mean (CPM), for nodules of ``--split`` pasted into the fully read series, each series judged
by the network that has not seen it (``--run``, the output of ``training.train --folds``). Real marks are counted
separately. ``--choose`` states a threshold with at most ``MAX_OTHERS_PER_SCAN`` other findings a scan as the bundle's
operating point, ``--confirm`` a given one; ``--record`` writes the figures into the bundle. Prints one JSON object
last.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from inference.bundle import SHIPPED, Bundle, read_bundle, write_recipe
from inference.errors import BundleError
from inference.metrics import exact_interval, plain
from training.data.features import measured_crops
from training.data.leaks import refuse_leaks
from training.data.marked_series import read_marked_series
from training.data.nodules import DataError, nodule_folder, read_rows
from training.data.splits import LeakError
from training.fitting.cards import write_card
from training.fitting.filter_samples import read_crop_nodules
from training.fitting.report_metrics import size_parts
from training.report.scan_candidates import ScanResult, Target, fold_ensemble, scan_result

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MAX_OTHERS_PER_SCAN = 1.0
"""Other findings a scan at the operating point, as commercial readers show (0.97 to 1.6)."""
DRAWS = 1000
EDGE = 1e-9
"""Distance from 0 and 1 to which probabilities are clipped before their log odds."""

Array = NDArray[np.float64]


def thresholds_at(others: Sequence[Array], rates: Sequence[float] = RATES) -> list[float]:
    """Return the lowest thresholds with at most ``rates`` other findings a scan.

    With n scans the rates are multiples of 1/n: lower ones are met by the threshold without any.
    """
    ranked = np.sort(np.concatenate([*others, np.zeros(0)]))[::-1]
    thresholds = []
    for rate in rates:
        allowed = int(np.floor(rate * len(others) + 1e-9))
        thresholds.append(float(np.nextafter(ranked[allowed], 2.0)) if allowed < len(ranked) else 0.0)
    return thresholds


def operating_threshold(others: Sequence[Array]) -> float:
    """Return the threshold with at most ``MAX_OTHERS_PER_SCAN`` other findings a scan.

    It lies midway, in log odds, between the last other finding that stays and the first that goes, so that rounding of
    an engine moves neither across it.
    """
    ranked = np.sort(np.concatenate([*others, np.zeros(0)]))[::-1]
    allowed = int(np.floor(MAX_OTHERS_PER_SCAN * len(others) + 1e-9))
    if allowed >= len(ranked):
        return 0.0
    bounds = np.clip([ranked[allowed], ranked[allowed - 1] if allowed else 1.0], EDGE, 1 - EDGE)
    return float(expit(logit(bounds).mean()))


def sensitivity(targets: Sequence[Target], threshold: float) -> float:
    """Return the share of targets that a candidate finds at a threshold."""
    p = np.array([t.probability for t in targets])
    return float(((p >= threshold) & (p > 0.0)).mean()) if len(p) else float("nan")


def froc_figures(others: Sequence[Array], targets: Sequence[Target], *, seed: int = 0) -> dict[str, Any]:
    """Return sensitivities at ``RATES`` and the CPM with intervals by bootstrap over the nodules' patients."""
    thresholds = np.array(thresholds_at(others))
    p = np.array([t.probability for t in targets]).reshape(-1)
    is_found = (p[:, None] >= thresholds) & (p[:, None] > 0.0)  # (targets, rates)
    _, patient = np.unique([t.patient_id for t in targets], return_inverse=True)
    count = int(patient.max()) + 1 if len(patient) else 0
    hits = np.stack([np.bincount(patient, column, count) for column in is_found.T.astype(float)], axis=1)
    of_patient = np.bincount(patient, minlength=count)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(DRAWS if count else 0):
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        draws.append((drawn @ hits) / (drawn @ of_patient))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0) if draws else (np.full(len(RATES), np.nan),) * 2
    cpm = np.percentile(np.mean(draws, axis=1), [2.5, 97.5]) if draws else (np.nan, np.nan)
    shares = is_found.mean(axis=0) if len(p) else np.full(len(RATES), np.nan)
    return {
        "n": len(p),
        "patients": count,
        "sensitivity": dict(zip(map(str, RATES), shares.tolist(), strict=True)),
        "interval": {str(rate): [float(a), float(b)] for rate, a, b in zip(RATES, low, high, strict=True)},
        "cpm": float(shares.mean()),
        "cpm_interval": [float(v) for v in cpm],
    }


def part_figures(
    others: Sequence[Array], targets: Sequence[Target], density: dict[tuple[str, float], str]
) -> dict[str, dict[str, Any]]:
    """Return ``froc_figures`` by size, attachment, density and series."""
    diameter = np.array([t.diameter_mm for t in targets])
    parts: dict[str, dict[str, list[Target]]] = {
        "size": {
            name: [t for t, chosen in zip(targets, mask, strict=True) if chosen]
            for name, mask in {"6 mm and more": diameter >= 6, **size_parts(diameter)}.items()
        }
    }
    for kind, name_of in (
        ("attachment", lambda t: t.attachment),
        ("density", lambda t: density.get((t.patient_id, t.diameter_mm), "not measured")),
        ("series", lambda t: t.series),
    ):
        for target in targets:
            parts.setdefault(kind, {}).setdefault(name_of(target), []).append(target)
    return {
        kind: {name: froc_figures(others, chosen) for name, chosen in sorted(named.items())}
        for kind, named in parts.items()
    }


def point_figures(results: Sequence[ScanResult], targets: Sequence[Target], threshold: float) -> dict[str, Any]:
    """Return the figures of one threshold: other findings by scan, and the nodules found."""
    by_scan = {r.series: int((r.others >= threshold).sum()) for r in results if r.others is not None}
    marks = [mark for r in results for mark in r.marks]
    marks_hit = sum(mark.probability >= threshold for mark in marks)
    return {
        "threshold": threshold,
        "other_findings": by_scan,
        "others_a_scan": float(np.mean(list(by_scan.values()))),
        "inserted_sensitivity": sensitivity(targets, threshold),
        "inserted": len(targets),
        "marks_found": marks_hit,
        "marks": len(marks),
        "marks_interval": list(exact_interval(marks_hit, len(marks))) if marks else None,
    }


def measured(
    bundle: Bundle, data: Path, run: Path | None, split: str, *, seed: int
) -> tuple[list[ScanResult], list[Target], dict[tuple[str, float], str]]:
    """Return the results of every series, all pasted nodules, and densities by patient and diameter."""
    series = read_marked_series(data)
    folds = {one.patient_id: fold for fold, one in enumerate(s for s in series if s.is_fully_read)}
    rows = [row for row in read_rows(data) if row.split == split and row.ratings_ok]
    if not rows or not folds:
        raise DataError(f"no nodule of the split {split!r}, or no fully read series, in {data}")
    crops = [nodule for nodule, _ in read_crop_nodules(nodule_folder(data), rows, len(folds), workers=2)]
    density = {
        (m.crop.row.patient_id, m.crop.row.diameter_mm): str(m.measure.density)
        for m in measured_crops(data, rows)
        if m.measure is not None
    }
    results = []
    for one in series:
        fold = folds.get(one.patient_id, -1)
        unseen = [nodule for nodule in crops if split not in {"train", "val"} or run is None or nodule.fold == fold]
        print(f"{one.patient_id} ...", file=sys.stderr, flush=True)
        results.append(scan_result(one, unseen, fold_ensemble(bundle, run, fold), seed=seed + max(fold, 0)))
    return results, [target for result in results for target in result.inserted], density


def plot_froc(path: Path, others: Sequence[Array], parts: dict[str, list[Target]], title: str) -> None:
    """Plot sensitivity against other findings a scan, a curve for each part."""
    rates = np.geomspace(0.125, 8.0, 60)
    figure, axes = plt.subplots(figsize=(5.2, 3.8), layout="constrained")
    for name, targets in parts.items():
        shares = [sensitivity(targets, threshold) for threshold in thresholds_at(others, rates.tolist())]
        axes.step(rates, shares, where="post", label=f"{name} (n = {len(targets)})")
    axes.set(xscale="log", xlabel="other findings a scan", ylabel="sensitivity", ylim=(0, 1.02), title=title)
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.minorticks_off()
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m training.report.froc", description="Detection in whole series.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=SHIPPED / "filter", help="folder of a filter bundle")
    parser.add_argument("--run", type=Path, default=None, help="folder of training.train with a network for each fold")
    parser.add_argument("--split", default="test", help="split of the nodules that are pasted")
    parser.add_argument("--out", type=Path, default=None, help="folder for froc.json and froc.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--choose", action="store_true", help="set the bundle's operating point (not on test)")
    parser.add_argument("--confirm", type=_share, default=None, help="set this operating point")
    parser.add_argument("--record", action="store_true", help="write the figures into the bundle's bundle.json")
    args = parser.parse_args(argv)
    if (args.choose or args.confirm is not None) and args.split not in {"train", "val"}:
        parser.error("--choose and --confirm need --split train or val: the others are only measured")
    started = time.monotonic()
    try:
        bundle = read_bundle(args.bundle)
        refuse_leaks("filter", args.data)
        figures = run_froc(bundle, args)
    except (BundleError, DataError, LeakError, OSError) as error:
        print(f"training.report.froc: {error}", file=sys.stderr)
        return 2
    print(json.dumps({**figures, "bundle_sha256": bundle.sha256, "seconds": round(time.monotonic() - started, 1)}))
    return 0


def _share(text: str) -> float:
    """Read a probability between 0 and 1 from the command line."""
    share = float(text)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return share


def run_froc(bundle: Bundle, args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and write what the options ask for."""
    results, targets, density = measured(bundle, args.data, args.run, args.split, seed=args.seed)
    others = [r.others for r in results if r.others is not None]
    recipe = dict(bundle.recipe)
    confirm = float(recipe["operating_points"]["confirm"])
    if args.choose or args.confirm is not None:
        confirm = args.confirm if args.confirm is not None else operating_threshold(others)
        recipe["operating_points"] = {**recipe["operating_points"], "confirm": confirm}
    figures: dict[str, Any] = plain({
        "split": args.split,
        "by_fold": args.run is not None,
        "scans": len(others),
        "operating_point": point_figures(results, targets, confirm),
        "inserted": froc_figures(others, targets),
        "parts": part_figures(others, targets, density),
        "marks": [
            {"series": m.series, "diameter_mm": m.diameter_mm, "probability": m.probability}
            for r in results for m in r.marks
        ],
        "highest_others": {r.series: sorted(r.others, reverse=True)[:10] for r in results if r.others is not None},
    })  # fmt: skip
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "froc.json").write_text(json.dumps(figures, indent=1) + "\n")
        sizes = {"6 mm and more": [t for t in targets if t.diameter_mm >= 6],
                 "below 6 mm": [t for t in targets if t.diameter_mm < 6]}  # fmt: skip
        title = f"nodules of {args.split} pasted into {len(others)} series"
        plot_froc(args.out / "froc.png", others, {"all": targets, **sizes}, title)
    if args.choose or args.confirm is not None or args.record:
        recipe["detection"] = figures
        write_recipe(bundle.folder, recipe)
        write_card(bundle.folder, recipe)
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
