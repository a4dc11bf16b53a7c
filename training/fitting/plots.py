"""Plots of metrics: reliability, ROC and histograms."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from inference.metrics import auc, expected_calibration_error, reliability_bins, roc_points

Array = NDArray[np.float64]
INK, ACCENT, WARM, SOFT = "#22303c", "#0b7285", "#e8590c", "#adb5bd"


def plot_reliability(
    path: Path, labels: NDArray[np.bool_], probabilities: Array, title: str, *, bins: int = 10
) -> None:
    """Plot observed share of positives against predicted probability, with Clopper-Pearson 95 % bars and counts."""
    figure, (top, low) = plt.subplots(2, 1, figsize=(4.2, 5.0), height_ratios=(4, 1), sharex=True, layout="constrained")
    draw_reliability(top, low, labels, probabilities, bins=bins)
    top.set(title=title, ylabel="observed share")
    low.set(ylabel="n")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_reliability(top: Axes, low: Axes, labels: NDArray[np.bool_], probabilities: Array, *, bins: int = 10) -> None:
    """Draw the reliability diagram on two axes that share x: shares above, counts below."""
    table = reliability_bins(labels, probabilities, bins)
    top.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1)
    top.vlines(table["mean"], table["low"], table["high"], color=ACCENT, linewidth=1.2, alpha=0.6)
    top.plot(table["mean"], table["observed"], "o", color=ACCENT, markersize=5)
    ece = expected_calibration_error(labels, probabilities)
    top.set(xlim=(0, 1), ylim=(0, 1))
    top.text(0.04, 0.92, f"ECE {ece:.3f}", color=INK)
    low.hist(probabilities, bins=[i / bins for i in range(bins + 1)], color=SOFT)
    low.set(xlabel="predicted probability")


def plot_roc(path: Path, labels: NDArray[np.bool_], scores: dict[str, Array], title: str) -> None:
    """Plot ROC curves of the model and its baselines."""
    figure, axes = plt.subplots(figsize=(4.4, 4.4), layout="constrained")
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", linewidth=1)
    for (name, values), color in zip(scores.items(), (ACCENT, WARM, SOFT), strict=False):
        points = roc_points(labels, values)
        axes.plot(points["fpr"], points["tpr"], color=color, label=f"{name}: {auc(labels, values):.3f}")
    axes.set(title=title, xlabel="1 - specificity", ylabel="sensitivity")
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_histogram(path: Path, labels: NDArray[np.bool_], probabilities: Array, title: str) -> None:
    """Plot histograms of the calibrated probabilities of both classes."""
    figure, axes = plt.subplots(figsize=(4.8, 3.0), layout="constrained")
    edges = [i / 20 for i in range(21)]
    axes.hist(probabilities[~labels], bins=edges, alpha=0.7, color=ACCENT, label="rated benign")
    axes.hist(probabilities[labels], bins=edges, alpha=0.7, color=WARM, label="rated malignant")
    axes.set(title=title, xlabel="calibrated probability", ylabel="n")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_intervals(path: Path, rows: list[tuple[str, float, tuple[float, float]]], title: str) -> None:
    """Plot values with intervals, one per row, with a line at the first row's value."""
    figure, axes = plt.subplots(figsize=(7.0, 0.9 + 0.28 * len(rows)), layout="constrained")
    heights = range(len(rows), 0, -1)
    axes.axvline(rows[0][1], color=SOFT, linestyle="--", linewidth=1)
    axes.hlines(heights, [low for _, _, (low, _) in rows], [high for _, _, (_, high) in rows], color=ACCENT)
    axes.plot([value for _, value, _ in rows], heights, "o", color=ACCENT, markersize=5)
    axes.set_yticks(list(heights), [name for name, _, _ in rows])
    axes.set(xlabel=title)
    figure.savefig(path, dpi=110)
    plt.close(figure)
