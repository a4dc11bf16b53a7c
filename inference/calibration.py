"""From logits to probabilities that mean something, and to sets that cover.

All functions work on the logit margin ``z`` (malignant minus benign, natural-log odds) of a binary model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]


def _nll(z: Array, labels: Array) -> float:
    return float(np.mean(np.logaddexp(0.0, z) - labels * z))


def fit_temperature(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """One temperature by L-BFGS on the negative log-likelihood (Guo et al. 2017, sec. 4.2)."""
    y = labels.astype(float)
    best = minimize(lambda v: _nll(z / math.exp(v[0]), y), np.zeros(1), method="L-BFGS-B", bounds=[(-4.0, 4.0)])
    return {"temperature": float(np.exp(best.x[0]))}


def fit_bias_corrected_temperature(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Temperature and a bias (Alexandari et al. 2020); for two classes the same family as Platt and vector scaling."""
    y = labels.astype(float)
    best = minimize(
        lambda v: _nll(z / math.exp(v[0]) + v[1], y), np.zeros(2), method="L-BFGS-B", bounds=[(-4.0, 4.0), (-10, 10)]
    )
    return {"temperature": float(np.exp(best.x[0])), "bias": float(best.x[1])}


def fit_beta(z: Array, labels: NDArray[np.bool_]) -> dict[str, float]:
    """Beta calibration with a, b >= 0 (Kull et al. 2017, eq. 3)."""
    y = labels.astype(float)
    log_p, log_q = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
    best = minimize(
        lambda v: _nll(v[0] * log_p - v[1] * log_q + v[2], y),
        np.array([1.0, 1.0, 0.0]),
        method="L-BFGS-B",
        bounds=[(0.0, 20.0), (0.0, 20.0), (-20.0, 20.0)],
    )
    return {"a": float(best.x[0]), "b": float(best.x[1]), "c": float(best.x[2])}


def fit_isotonic(z: Array, labels: NDArray[np.bool_]) -> dict[str, list[float]]:
    """Isotonic regression by pooling adjacent violators (Zadrozny & Elkan 2002), each block smoothed by one each."""
    order = np.argsort(z, kind="stable")
    blocks: list[list[float]] = []  # positives, count, lowest z, highest z
    for value, label in zip(z[order], labels[order].astype(float), strict=True):
        blocks.append([label, 1.0, value, value])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2], last[3]]
    knots = [(b[2] + b[3]) / 2 for b in blocks]
    return {"z": [float(k) for k in knots], "p": [float((b[0] + 1) / (b[1] + 2)) for b in blocks]}


CALIBRATORS: dict[str, Callable[[Array, NDArray[np.bool_]], dict[str, Any]]] = {
    "temperature": fit_temperature,
    "bias_corrected_temperature": fit_bias_corrected_temperature,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}


def calibrated(z: Array, kind: str, parameters: dict[str, Any]) -> Array:
    """Probabilities of the positive class by one fitted calibrator; ``none`` is the plain sigmoid."""
    if kind == "none":
        return np.asarray(expit(z))
    if kind == "temperature":
        return np.asarray(expit(z / parameters["temperature"]))
    if kind == "bias_corrected_temperature":
        return np.asarray(expit(z / parameters["temperature"] + parameters["bias"]))
    if kind == "beta":
        log_p, log_q = -np.logaddexp(0.0, -z), -np.logaddexp(0.0, z)
        return np.asarray(expit(parameters["a"] * log_p - parameters["b"] * log_q + parameters["c"]))
    if kind == "isotonic":
        return np.interp(z, parameters["z"], parameters["p"])
    raise ValueError(f"unknown calibrator {kind}")


def conformal_thresholds(
    probabilities: Array, labels: NDArray[np.bool_], classes: tuple[str, str], *, coverage: float = 0.9
) -> dict[str, float]:
    """Lowest probability of each class that keeps it in the set, by class-conditional split-conformal prediction.

    The nonconformity of a sample is one minus the probability of its own class; the threshold is its
    ``ceil((n + 1) coverage) / n`` quantile within the class (Vovk 2012; Angelopoulos & Bates 2023, sec. 4.4).
    """
    thresholds: dict[str, float] = {}
    for name, own in ((classes[0], ~labels), (classes[1], labels)):
        p = probabilities[own] if name == classes[1] else 1 - probabilities[own]
        n = len(p)
        rank = math.ceil((n + 1) * coverage)
        nonconformity = np.sort(1 - p)
        thresholds[name] = 0.0 if rank > n else float(1 - nonconformity[rank - 1])
    return thresholds


def prediction_set(probability: float, thresholds: dict[str, float], classes: tuple[str, str]) -> tuple[str, ...]:
    """The classes that cannot be excluded; the more probable one is always among them."""
    own = {classes[0]: 1 - probability, classes[1]: probability}
    kept = tuple(name for name in classes if own[name] >= thresholds[name])
    return kept or (max(own, key=lambda name: own[name]),)
