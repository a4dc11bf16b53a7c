"""Calibration of logits to probabilities, and conformal prediction sets.

Binary models are calibrated on the logit margin ``z`` (malignant minus benign, natural-log odds); models of any number
of classes on their logits ``(n, classes)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

Array = NDArray[np.float64]


def _minimum(loss: Callable[[Array], float], start: Array, bounds: Sequence[tuple[float, float]]) -> Array:
    """Return where L-BFGS-B finds the minimum of a loss within bounds."""
    from scipy.optimize import minimize  # takes half a second to import, and serving only applies calibrators

    return np.asarray(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)


def _nll(z: Array, labels: Array) -> float:
    return float(np.mean(np.logaddexp(0.0, z) - labels * z))


def fit_temperature(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """One temperature by L-BFGS on the negative log-likelihood (Guo et al. 2017, sec. 4.2)."""
    y = labels.astype(float)
    best = _minimum(lambda v: _nll(z / math.exp(v[0]), y), np.zeros(1), bounds=[(-4.0, 4.0)])
    return {"temperature": float(np.exp(best[0]))}


def fit_bias_corrected_temperature(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Temperature and a bias (Alexandari et al. 2020); for two classes the same family as Platt and vector scaling."""
    y = labels.astype(float)
    best = _minimum(lambda v: _nll(z / math.exp(v[0]) + v[1], y), np.zeros(2), bounds=[(-4.0, 4.0), (-10, 10)])
    return {"temperature": float(np.exp(best[0])), "bias": float(best[1])}


def fit_platt(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Slope >= 0 and intercept against targets that stay away from 0 and 1 (Platt 1999, sec. 2.2)."""
    positives = int(labels.sum())
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))
    best = _minimum(
        lambda v: _nll(v[0] * z + v[1], targets),
        np.array([1.0, 0.0]),
        bounds=[(0.0, 100.0), (-20.0, 20.0)],
    )
    return {"slope": float(best[0]), "intercept": float(best[1])}


def fit_beta(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Beta calibration with a, b >= 0 (Kull et al. 2017, eq. 3)."""
    y = labels.astype(float)
    log_p, log_q = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
    best = _minimum(
        lambda v: _nll(v[0] * log_p - v[1] * log_q + v[2], y),
        np.array([1.0, 1.0, 0.0]),
        bounds=[(0.0, 20.0), (0.0, 20.0), (-20.0, 20.0)],
    )
    return {"a": float(best[0]), "b": float(best[1]), "c": float(best[2])}


def fit_isotonic(z: Array, labels: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Isotonic regression by pooling adjacent violators (Zadrozny & Elkan 2002), each block smoothed by one each.

    Smoothing can turn the order of two blocks round (0 of 1 becomes 1/3, 1 of 10 becomes 1/6): such are pooled too.
    """
    values, positions = np.unique(z, return_inverse=True)
    positives, counts = np.bincount(positions, weights=labels), np.bincount(positions)
    blocks = [
        _Block(*b) for b in zip(positives.tolist(), counts.tolist(), values.tolist(), values.tolist(), strict=True)
    ]
    blocks = _pooled(blocks, 0.0)
    blocks = _pooled(blocks, 1.0)
    return {"z": [(b.low + b.high) / 2 for b in blocks], "p": [b.share(1.0) for b in blocks]}


class _Block(NamedTuple):
    """Neighbouring samples that share one probability."""

    positives: float
    n: float
    low: float
    high: float

    def share(self, added: float) -> float:
        """Return the share of positives with ``added`` cases of each class."""
        return (self.positives + added) / (self.n + 2 * added)


def _pooled(blocks: list[_Block], added: float) -> list[_Block]:
    """Merge neighbouring blocks whose shares do not rise."""
    merged: list[_Block] = []
    for block in blocks:
        last = block
        while merged and merged[-1].share(added) >= last.share(added):
            before = merged.pop()
            last = _Block(before.positives + last.positives, before.n + last.n, before.low, last.high)
        merged.append(last)
    return merged


CALIBRATORS: dict[str, Callable[[Array, NDArray[np.bool_]], dict[str, Any]]] = {
    "temperature": fit_temperature,
    "bias_corrected_temperature": fit_bias_corrected_temperature,
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""Fitting functions by calibrator name, simplest first, on margins and labels."""


def calibrated(z: Array, kind: str, parameters: dict[str, Any]) -> Array:
    """Probabilities of the positive class by one fitted calibrator; ``none`` is the plain sigmoid."""
    if kind == "none":
        return np.asarray(expit(z))
    if kind == "temperature":
        return np.asarray(expit(z / parameters["temperature"]))
    if kind == "bias_corrected_temperature":
        return np.asarray(expit(z / parameters["temperature"] + parameters["bias"]))
    if kind == "platt":
        return np.asarray(expit(parameters["slope"] * z + parameters["intercept"]))
    if kind == "beta":
        log_p, log_q = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
        return np.asarray(expit(parameters["a"] * log_p - parameters["b"] * log_q + parameters["c"]))
    if kind == "isotonic":
        return np.interp(z, parameters["z"], parameters["p"])
    raise ValueError(f"unknown calibrator {kind}")


def fit_class_temperature(logits: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    """One temperature for all classes by L-BFGS on the negative log-likelihood (Guo et al. 2017, sec. 4.2)."""
    best = _minimum(lambda v: _class_nll(logits / math.exp(v[0]), labels), np.zeros(1), bounds=[(-4.0, 4.0)])
    return {"temperature": float(np.exp(best[0]))}


def fit_vector(logits: Array, labels: NDArray[np.int64]) -> dict[str, list[float]]:
    """A scale and a bias of each class' logit (vector scaling, Guo et al. 2017, sec. 4.2)."""
    classes = logits.shape[1]
    best = _minimum(
        lambda v: _class_nll(logits * v[:classes] + v[classes:], labels),
        np.concatenate([np.ones(classes), np.zeros(classes)]),
        bounds=[(0.0, 50.0)] * classes + [(-20.0, 20.0)] * classes,
    )
    return {"scale": best[:classes].tolist(), "bias": best[classes:].tolist()}


def _class_nll(logits: Array, labels: NDArray[np.int64]) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


CLASS_CALIBRATORS: dict[str, Callable[[Array, NDArray[np.int64]], dict[str, Any]]] = {
    "temperature": fit_class_temperature,
    "vector": fit_vector,
}
"""The same for logits and class indices."""


def calibrated_classes(logits: Array, kind: str, parameters: dict[str, Any]) -> Array:
    """Probabilities ``(n, classes)`` by one fitted calibrator of logits; ``none`` is the plain softmax."""
    if kind == "none":
        return np.asarray(softmax(logits, axis=1))
    if kind == "temperature":
        return np.asarray(softmax(logits / parameters["temperature"], axis=1))
    if kind == "vector":
        scale, bias = np.array(parameters["scale"]), np.array(parameters["bias"])
        return np.asarray(softmax(logits * scale + bias, axis=1))
    raise ValueError(f"unknown calibrator {kind}")


def conformal_thresholds(
    probabilities: Array, labels: NDArray[np.bool_], classes: tuple[str, str], *, coverage: float = 0.9
) -> dict[str, float]:
    """Lowest probability of each class that keeps it in the set, from the positive class' probabilities ``(n,)``."""
    both = np.stack([1 - probabilities, probabilities], axis=1)
    return conformal_class_thresholds(both, labels.astype(np.int64), classes, coverage=coverage)


def conformal_class_thresholds(
    probabilities: Array, labels: NDArray[np.int64], classes: tuple[str, ...], *, coverage: float = 0.9
) -> dict[str, float]:
    """Lowest probability of each class that keeps it in the set, by class-conditional split-conformal prediction.

    The nonconformity of a sample is one minus the probability ``(n, classes)`` of its own class; the threshold is its
    ``ceil((n + 1) coverage) / n`` quantile within the class (Vovk 2012; Angelopoulos & Bates 2023, sec. 4.4).
    """
    thresholds: dict[str, float] = {}
    for number, name in enumerate(classes):
        nonconformity = np.sort(1 - probabilities[labels == number, number])
        rank = math.ceil((len(nonconformity) + 1) * coverage)
        thresholds[name] = 0.0 if rank > len(nonconformity) else float(1 - nonconformity[rank - 1])
    return thresholds


def prediction_set(probability: float, thresholds: dict[str, float], classes: tuple[str, str]) -> tuple[str, ...]:
    """Return the prediction set of a binary probability; it always contains the more probable class."""
    return class_set({classes[0]: 1 - probability, classes[1]: probability}, thresholds)


def class_set(probabilities: Mapping[str, float], thresholds: Mapping[str, float]) -> tuple[str, ...]:
    """Return the prediction set by conformal thresholds; it always contains the most probable class.

    A class may miss its threshold and still be the most probable. The set then holds it beside the others, so that it
    never contradicts the class; a larger set covers no less.
    """
    top = max(probabilities, key=lambda name: probabilities[name])
    return tuple(name for name, p in probabilities.items() if p >= thresholds[name] or name == top)
