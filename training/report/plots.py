"""Plots of the model report, drawn from its results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from inference.metrics import roc_points
from training.fitting.plots import ACCENT, INK, SOFT, WARM, draw_reliability

Array = NDArray[np.float64]
DARK = "#868e96"
DPI = 110
BAND_DRAWS = 400
NAMED_BASELINES = {
    "nodule": {"diameter by readers": "diameter_mm", "automatic diameter": "automatic_diameter_mm"},
    "filter": {"brightness at the place": "centre_hu", "contrast with its surroundings": "contrast_hu"},
    "slice": {"share of dark pixels": "dark_pixels", "8x8 thumbnail": "thumbnail"},
}
POSITIVE = {"nodule": "rated malignant", "filter": "nodule", "slice": "malignant"}
NEGATIVE = {"nodule": "rated benign", "filter": "not a nodule", "slice": "not malignant"}


@contextmanager
def _page(path: Path, *shape: int, size: tuple[float, float], **options: Any) -> Iterator[tuple[Figure, Any]]:
    """Figure with plain axes, saved as a small file with few colours."""
    figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", **options)
    for each in np.ravel(axes):
        each.spines[["top", "right"]].set_visible(False)
    yield figure, axes
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


class Samples:
    """Labelled samples of a task as arrays; missing values are NaN."""

    def __init__(self, results: dict[str, Any], *, labelled: bool = True) -> None:
        chosen = np.array(results["labelled"], dtype=bool) == labelled
        self._columns = {name: np.array(values, dtype=np.float64)[chosen] for name, values in results.items()}
        self.labels = self._columns["label"] > 0

    def __getitem__(self, name: str) -> Array:
        return self._columns[name]


def write_plots(out: Path, figures: dict[str, Any]) -> None:
    """Write all plots of the report to ``out``."""
    for task in ("nodule", "filter", "slice"):
        results = figures[task]
        samples = Samples(results["samples"])
        title = f"split {figures['split']}, n = {len(samples.labels)}"
        _reliability(out / f"{task}_reliability.png", samples, title)
        _roc(out / f"{task}_roc.png", task, samples, title)
        _histogram(out / f"{task}_histogram.png", task, samples, title)
        _coverage(out / f"{task}_coverage.png", results["coverage"], title)
        if shown := results["bundle"].get("display_coverage"):
            _shown(out / f"{task}_shown.png", shown)
    nodule = figures["nodule"]
    _errors(out / "nodule_errors.png", nodule["samples"])
    _subgroups(out / "nodule_subgroups.png", nodule["subgroups"])
    _robustness(out / "nodule_robustness.png", nodule["robustness"]["distortions"])
    if nodule["explanations"]:
        _explanations(out / "nodule_explanations.png", nodule["explanations"]["shares"])


def _reliability(path: Path, samples: Samples, title: str) -> None:
    with _page(path, 2, 2, size=(6.6, 4.4), height_ratios=(4, 1), sharex=True) as (figure, axes):
        for column, name in enumerate(("before", "after")):
            draw_reliability(axes[0, column], axes[1, column], samples.labels, samples[name])
            axes[0, column].set_title(f"{name} calibration", fontsize=10)
        axes[0, 0].set_ylabel("observed share")
        axes[1, 0].set_ylabel("n")
        figure.suptitle(title, fontsize=10, color=INK)


def _shown(path: Path, coverage: dict[str, Any]) -> None:
    """Plot the share of positives in each decile with exact limits, mean displayed bounds and mean score."""
    rows = coverage["deciles"]
    at = np.arange(1, len(rows) + 1)
    share, score = (np.array([row[name] for row in rows]) for name in ("share", "mean_point"))
    limits, bounds = (np.array([row[name] for row in rows]) for name in ("limits", "mean_shown"))
    with _page(path, size=(6.4, 3.6)) as (_, axes):
        axes.bar(at, bounds[:, 1] - bounds[:, 0], bottom=bounds[:, 0], width=0.7, color=WARM, alpha=0.35,
                 label="shown, mean bounds")  # fmt: skip
        axes.errorbar(
            at, share, np.abs(limits.T - share), fmt="o", color=ACCENT, capsize=3, label="share, exact limits"
        )
        axes.plot(at, score, "_", color=INK, markersize=14, label="mean score")
        axes.set(xlabel="decile of the score", ylabel="positive", ylim=(-0.02, 1.02), xticks=at)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        axes.set_title(f"{coverage['split']}, n = {coverage['n']}", fontsize=10)


def _curve(labels: NDArray[np.bool_], values: Array) -> tuple[list[float], list[float]]:
    points = roc_points(labels, values)
    return points["fpr"], points["tpr"]


def _band(samples: Samples, grid: Array) -> Array:
    """Return the 95 % band of sensitivity over ``grid`` by bootstrap of groups, ``(2, grid)``."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(samples["group"] == g) for g in np.unique(samples["group"])]
    curves = []
    for _ in range(BAND_DRAWS):
        chosen = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        if 0 < samples.labels[chosen].sum() < len(chosen):
            curves.append(np.interp(grid, *_curve(samples.labels[chosen], samples["after"][chosen])))
    return np.percentile(curves, [2.5, 97.5], axis=0)


def _roc(path: Path, task: str, samples: Samples, title: str) -> None:
    with _page(path, size=(4.6, 4.4)) as (_, axes):
        axes.plot([0, 1], [0, 1], color=SOFT, linestyle=":", linewidth=1)
        if 0 < samples.labels.sum() < len(samples.labels):
            grid = np.linspace(0, 1, 101)
            axes.fill_between(grid, *_band(samples, grid), color=ACCENT, alpha=0.18, linewidth=0)
            axes.plot(*_curve(samples.labels, samples["after"]), color=ACCENT, linewidth=2, label="model, 95 % band")
            styles = ((WARM, "-"), (DARK, "--"))
            for (name, column), (color, style) in zip(NAMED_BASELINES[task].items(), styles, strict=True):
                values = samples[column]
                false, true = _curve(samples.labels, values)
                if np.trapezoid(true, false) < 0.5:
                    false, true = _curve(samples.labels, -values)
                axes.plot(false, true, color=color, linestyle=style, linewidth=1.3, label=name)
            axes.legend(loc="lower right", frameon=False, fontsize=8)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_title(title, fontsize=10)


def _histogram(path: Path, task: str, samples: Samples, title: str) -> None:
    edges = np.linspace(0, 1, 21)
    with _page(path, 2, 1, size=(4.8, 3.2), sharex=True) as (figure, axes):
        for each, own, color, name in (
            (axes[0], samples.labels, WARM, POSITIVE[task]),
            (axes[1], ~samples.labels, ACCENT, NEGATIVE[task]),
        ):
            each.hist(samples["after"][own], bins=edges, color=color)
            each.set_title(f"{name}, n = {int(own.sum())}", fontsize=9, loc="left")
            each.set_ylabel("n")
        axes[1].set(xlabel="calibrated probability", xlim=(0, 1))
        figure.suptitle(title, fontsize=10, color=INK)


def _bars(axes: Axes, y: float, value: float | None, interval: Any, color: str, marker: str = "o") -> None:
    """Draw a value with its interval, if any."""
    if value is None:
        return
    if interval and interval[0] is not None:
        axes.plot(interval, [y, y], color=color, linewidth=1.4, alpha=0.6)
    axes.plot(value, y, marker, color=color, markersize=5)


def _coverage(path: Path, results: dict[str, Any], title: str) -> None:
    rows = [("all", results["coverage"], results["coverage_interval"])]
    rows += [(n, v, results["coverage_by_class_interval"][n]) for n, v in results["coverage_by_class"].items()]
    rows.append(("sets of one class", results["single_answers"], results["single_answers_interval"]))
    with _page(path, size=(4.8, 1.9)) as (_, axes):
        axes.axvspan(0.88, 0.92, color=SOFT, alpha=0.5, linewidth=0)
        for y, (_, value, interval) in enumerate(rows):
            _bars(axes, -y, value, interval, DARK if y == len(rows) - 1 else ACCENT)
        axes.set_yticks([-y for y in range(len(rows))], [name.replace("_", " ") for name, _, _ in rows])
        axes.set(xlim=(min(0.6, *(v for _, v, _ in rows if v is not None)) - 0.02, 1.01), ylim=(-len(rows) + 0.5, 0.5))
        axes.set_xlabel("share of samples; grey: 88 to 92 %", fontsize=9)
        axes.set_title(f"prediction sets, {title}", fontsize=10)


def _errors(path: Path, results: dict[str, Any]) -> None:
    samples, undecided = Samples(results), Samples(results, labelled=False)
    p, labels = samples["after"], samples.labels
    wrong = (p >= 0.5) != labels
    with _page(path, size=(6.0, 4.2)) as (_, axes):
        axes.axhline(0.5, color=SOFT, linewidth=1)
        three = undecided["mean_rating"] == 3.0
        axes.plot(undecided["diameter_mm"][three], undecided["after"][three], "x", color=DARK, markersize=4,
                  label=f"mean rating 3, n = {int(three.sum())}")  # fmt: skip
        for own, color, marker, name in ((~labels, ACCENT, "o", "benign"), (labels, WARM, "^", "malignant")):
            axes.plot(samples["diameter_mm"][own], p[own], marker, color=color, markersize=4.5, alpha=0.75,
                      label=f"rated {name}, n = {int(own.sum())}")  # fmt: skip
        axes.plot(samples["diameter_mm"][wrong], p[wrong], "o", markerfacecolor="none", markeredgecolor=INK,
                  markersize=10, label=f"on the wrong side, n = {int(wrong.sum())}")  # fmt: skip
        axes.set_xscale("log")
        ticks = [t for t in (3, 4, 6, 8, 10, 15, 20, 30) if t <= 1.2 * samples["diameter_mm"].max()]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.minorticks_off()
        axes.set(xlabel="diameter by readers, mm", ylabel="calibrated probability", ylim=(-0.03, 1.03))
        axes.legend(frameon=False, fontsize=8, loc="center right")


def _subgroups(path: Path, results: dict[str, Any]) -> None:
    rows = [(kind, name, part) for kind, parts in results.items() for name, part in parts.items()]
    with _page(path, size=(6.6, 0.27 * len(rows) + 1.2)) as (_, axes):
        for y, (_, _, part) in enumerate(rows):
            _bars(axes, -y, part["auc"], part["auc_interval"], ACCENT)
            _bars(axes, -y, part["reader_diameter_auc"], None, WARM, "|")
            _bars(axes, -y, part["automatic_diameter_auc"], None, DARK, "x")
        labels = [f"{name} ({part['positives']}/{part['n']})" for _, name, part in rows]
        axes.set_yticks([-y for y in range(len(rows))], labels, fontsize=8)
        kinds = [kind for kind, _, _ in rows]
        for y in range(1, len(rows)):
            if kinds[y] != kinds[y - 1]:
                axes.axhline(0.5 - y, color=SOFT, linewidth=0.6)
        axes.axvline(0.5, color=SOFT, linestyle=":", linewidth=1)
        axes.set(xlim=(0.2, 1.01), ylim=(-len(rows) + 0.4, 0.6))
        axes.set_xlabel(
            "AUC: dot with 95 % interval model, | readers' diameter, x automatic (malignant/all)", fontsize=8
        )


def _robustness(path: Path, results: dict[str, Any]) -> None:
    names = list(results)
    with _page(path, 1, 2, size=(7.4, 0.25 * len(names) + 1.2), width_ratios=(3, 1.3), sharey=True) as (_, axes):
        for y, name in enumerate(names):
            _bars(axes[0], -y, results[name]["alone"].get("auc"), None, WARM, "x")
            _bars(axes[0], -y, results[name]["served"].get("auc"), None, ACCENT)
            axes[1].barh(-y, results[name]["served"]["abstained"], color=DARK, height=0.6)
        usual = results[names[0]]["served"].get("auc")
        if usual is not None:
            axes[0].axvline(usual, color=SOFT, linewidth=1)
        axes[0].set_yticks([-y for y in range(len(names))], names, fontsize=8)
        axes[0].set_xlabel("AUC: dot as served, of those answered; x networks alone, of all", fontsize=8)
        axes[1].set_xlabel("share not answered", fontsize=8)
        axes[1].set_xlim(0, 1)


def _explanations(path: Path, results: dict[str, Any]) -> None:
    colors = {"attention": ACCENT, "gradient": WARM, "uniform": SOFT}
    parts = list(results)
    with _page(path, 1, 3, size=(7.4, 2.6), sharey=True) as (_, axes):
        for each, region in zip(axes, results[parts[0]]["uniform"], strict=True):
            for k, (name, color) in enumerate(colors.items()):
                means = [results[part][name][region]["mean"] for part in parts]
                each.bar(np.arange(len(parts)) + 0.27 * (k - 1), means, width=0.25, color=color, label=name)
            each.set_xticks(range(len(parts)), [p.replace(" and more", "+") for p in parts], fontsize=7, rotation=35)
            each.set_title(f"on the {region}", fontsize=9)
        axes[0].set(ylabel="mean share of the map", ylim=(0, 1))
        axes[0].legend(frameon=False, fontsize=7, loc="lower right")
