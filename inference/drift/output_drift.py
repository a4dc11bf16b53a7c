"""Output drift: probabilities, findings per series and unanswered series against a reference.

As for the series themselves (``inference.drift.series_drift``) the unit is the series; findings of one patient are not
independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.drift.series_drift import (
    BOOTSTRAPS,
    LIMIT,
    PERMUTATIONS,
    Array,
    Stability,
    TooFew,
    is_shifted,
    stability,
)
from inference.metrics import wilson_interval

BINS = 10
MIN_FINDINGS = 20
"""Minimum number of findings in each set for a histogram."""
MIN_SERIES = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """The output of a model for one series; findings outside the validated range have no malignancy."""

    is_answered: bool
    nodule: tuple[float, ...] = ()
    malignancy: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """The share ``k`` of ``n`` with its 95 % interval (Wilson)."""

    k: int
    n: int
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over ``n`` series with its 95 % interval (bootstrap of series)."""

    mean: float
    n: int
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Counts:
    """Findings per answered series, reference and recent."""

    reference: Mean
    recent: Mean
    p: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the reference and recent sets."""

    reference: Share
    recent: Share
    p: float


@dataclass(frozen=True, slots=True)
class OutputDrift:
    """Result of a comparison of outputs, with the names of drifted parts."""

    nodule: Stability | TooFew
    malignancy: Stability | TooFew
    findings: Counts | TooFew
    unanswered: Shares
    drifted: tuple[str, ...]


def compare_answers(reference: Sequence[Answer], recent: Sequence[Answer]) -> OutputDrift:
    """Compare the outputs of the same model for two sets of series."""
    answered = [[answer for answer in answers if answer.is_answered] for answers in (reference, recent)]
    nodule = _probabilities(*([answer.nodule for answer in answers] for answers in answered))
    malignancy = _probabilities(*([answer.malignancy for answer in answers] for answers in answered))
    findings = _counts(*(np.array([len(answer.nodule) for answer in answers], np.float64) for answers in answered))
    unanswered = compare_shares(
        *((sum(not answer.is_answered for answer in answers), len(answers)) for answers in (reference, recent))
    )
    drifted = [
        name
        for name, result in (("nodule_probability", nodule), ("malignancy_probability", malignancy))
        if isinstance(result, Stability) and is_shifted(result)
    ]
    if isinstance(findings, Counts) and findings.p < LIMIT:
        drifted.append("findings")
    if unanswered.p < LIMIT:
        drifted.append("unanswered")
    return OutputDrift(nodule, malignancy, findings, unanswered, tuple(drifted))


def compare_shares(reference: tuple[int, int], recent: tuple[int, int]) -> Shares:
    """Compare ``(k, n)`` of the reference and recent sets by Fisher's exact test, two-sided."""
    from scipy.stats import fisher_exact  # half a second; the worker, which watches, may never get to compare

    (k, n), (now_k, now_n) = reference, recent
    p = float(fisher_exact([[k, n - k], [now_k, now_n - now_k]]).pvalue) if n and now_n else 1.0
    return Shares(share(k, n), share(now_k, now_n), p)


def share(k: int, n: int) -> Share:
    """Return the share ``k`` of ``n`` with its interval."""
    return Share(k, n, wilson_interval(k, n))


def _probabilities(reference: Sequence[Sequence[float]], recent: Sequence[Sequence[float]]) -> Stability | TooFew:
    fewest = min(sum(map(len, reference)), sum(map(len, recent)))
    if fewest < MIN_FINDINGS:
        return TooFew("findings", fewest, MIN_FINDINGS)
    return stability(_histograms(reference), _histograms(recent), _smoothed)


def _histograms(series: Sequence[Sequence[float]]) -> Array:
    """Count the probabilities of each series: ``(series, BINS)``."""
    return np.array([np.histogram(values, BINS, (0.0, 1.0))[0] for values in series], np.float64)


def _smoothed(counts: Array) -> Array:
    """Return shares of counts, each bin with half a finding added (smoothing)."""
    return np.asarray((counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + 0.5 * BINS))


def _counts(reference: Array, recent: Array) -> Counts | TooFew:
    """Compare numbers of findings by permuting series."""
    fewest = min(len(reference), len(recent))
    if fewest < MIN_SERIES:
        return TooFew("series", fewest, MIN_SERIES)
    rng, together, n = np.random.default_rng(0), np.concatenate([reference, recent]), len(reference)
    permuted = rng.permuted(np.tile(together, (PERMUTATIONS, 1)), axis=1)
    gaps = np.abs(permuted[:, :n].mean(axis=1) - permuted[:, n:].mean(axis=1))
    gap = abs(reference.mean() - recent.mean())
    p = (1 + int(np.sum(gaps >= gap - 1e-12))) / (1 + PERMUTATIONS)
    return Counts(_mean(reference, rng), _mean(recent, rng), p)


def _mean(values: Array, rng: np.random.Generator) -> Mean:
    drawn = values[rng.integers(0, len(values), (BOOTSTRAPS, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Mean(float(values.mean()), len(values), (float(low), float(high)))
