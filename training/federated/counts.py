"""Federated calibration: sites count margins in fixed bins, the server fits a calibrator to the sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.calibration.calibration import calibrated, fit_platt, fit_temperature
from inference.metrics import auc, brier_score, calibration_floor, expected_calibration_error

EDGES = 8.0 * np.sinh(np.linspace(-4.0, 4.0, 65)) / np.sinh(4.0)
"""Bins of the logit margin: 0.04 wide at 0, where a young network's margins lie, 0.9 at 8; the outermost are open."""
MIDDLES = (EDGES[:-1] + EDGES[1:]) / 2


@dataclass(frozen=True, slots=True)
class MarginCounts:
    """Number of benign and malignant nodules in each bin of the margin, ``(64,)`` each."""

    benign: NDArray[np.int64]
    malignant: NDArray[np.int64]

    @classmethod
    def of(cls, margins: NDArray[np.float64], labels: NDArray[np.bool_]) -> MarginCounts:
        """Count margins ``(n,)`` with their labels (True: malignant)."""
        inside = np.clip(np.nan_to_num(margins), EDGES[0], EDGES[-1])
        benign, malignant = (np.histogram(inside[labels == label], EDGES)[0] for label in (False, True))
        return cls(benign.astype(np.int64), malignant.astype(np.int64))

    @classmethod
    def received(cls, benign: Sequence[int], malignant: Sequence[int]) -> MarginCounts:
        """Check and convert the counts of a site.

        Raises
        ------
        ValueError
            Not 64 counts of each kind, or one is negative.
        """
        counts = cls(np.array(benign, dtype=np.int64), np.array(malignant, dtype=np.int64))
        if not counts.benign.shape == counts.malignant.shape == MIDDLES.shape:
            raise ValueError(f"a site must send {len(MIDDLES)} counts of each class")
        if (counts.benign < 0).any() or (counts.malignant < 0).any():
            raise ValueError("a site sent a negative count")
        return counts

    def __add__(self, other: MarginCounts) -> MarginCounts:
        """Return the sum."""
        return MarginCounts(self.benign + other.benign, self.malignant + other.malignant)

    @classmethod
    def sum(cls, counts: Sequence[MarginCounts]) -> MarginCounts:
        """Return the sum of all."""
        return cls(
            np.sum([c.benign for c in counts], axis=0, dtype=np.int64),
            np.sum([c.malignant for c in counts], axis=0, dtype=np.int64),
        )

    def samples(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return reconstructed margins (bin centres) and labels."""
        margins = np.concatenate([np.repeat(MIDDLES, self.benign), np.repeat(MIDDLES, self.malignant)])
        labels = np.arange(len(margins)) >= self.benign.sum()
        return margins, labels


def fit_jointly(counts: MarginCounts) -> dict[str, Any]:
    """Fit temperature and Platt scaling on the counts of all sites; return the recipe's calibrator.

    Platt's is taken where both classes have ten nodules: a slope and an intercept from less say little.

    Raises
    ------
    ValueError
        A class has no nodule.
    """
    margins, labels = counts.samples()
    few = min(int(labels.sum()), int((~labels).sum()))
    if few == 0:
        raise ValueError("calibration needs benign and malignant nodules")
    if few < 10:
        return {"kind": "temperature", "parameters": fit_temperature(margins, labels)}
    return {"kind": "platt", "parameters": fit_platt(margins, labels)}


def figures_of(counts: MarginCounts, calibrator: dict[str, Any]) -> dict[str, Any]:
    """Return metrics from counts: AUC (ties within a bin count half), Brier score, ECE and its floor."""
    margins, labels = counts.samples()
    if not len(labels):
        return {"n": 0}
    p = calibrated(margins, calibrator["kind"], calibrator["parameters"])
    floor, low, high = calibration_floor(p)
    return {
        "n": len(labels),
        "malignant": int(labels.sum()),
        "auc": auc(labels, margins),
        "brier": brier_score(labels, p),
        "ece": expected_calibration_error(labels, p),
        "ece_floor": floor,
        "ece_floor_interval": [low, high],
    }
