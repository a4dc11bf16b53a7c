"""Weights of networks and features: ridge logistic regression on unseen patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from inference.malignancy.ensemble import FEATURE_LIMIT
from inference.metrics import negative_log_likelihood
from training.data.splits import group_folds

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 10


@dataclass(frozen=True, slots=True)
class Stack:
    """A fitted combination over standardised columns: first the groups' margins, then the features."""

    mean: Array  # (columns,)
    std: Array  # (columns,)
    weights: Array  # (columns,)
    bias: float

    def margins(self, columns: Array) -> Array:
        """Return the combined margins of ``(n, columns)``."""
        return np.clip((columns - self.mean) / self.std, -FEATURE_LIMIT, FEATURE_LIMIT) @ self.weights + self.bias


def fit_stack(columns: Array, labels: Labels, penalty: float) -> Stack:
    """Fit a ridge logistic regression by L-BFGS; the bias is not penalised."""
    mean, std = columns.mean(axis=0), columns.std(axis=0) + 1e-9
    x = np.clip((columns - mean) / std, -FEATURE_LIMIT, FEATURE_LIMIT)
    y, n = labels.astype(float), len(labels)

    def loss(v: Array) -> tuple[float, Array]:
        z = x @ v[:-1] + v[-1]
        error = 1.0 / (1.0 + np.exp(-z)) - y
        nll = float(np.mean(np.logaddexp(0.0, z) - y * z))
        slope = np.append(x.T @ error / n + penalty / n * v[:-1], error.mean())
        return nll + 0.5 * penalty / n * float(v[:-1] @ v[:-1]), slope

    best = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    return Stack(mean, std, best[:-1], float(best[-1]))


def cross_fitted(columns: Array, labels: Labels, groups: list[str], penalty: float, *, seed: int) -> Array:
    """Return cross-fitted margins, by combinations fitted without the sample's patient."""
    fold = group_folds(groups, list(labels), folds=FOLDS, seed=seed)
    z = np.zeros(len(labels))
    for k in range(FOLDS):
        z[fold == k] = fit_stack(columns[fold != k], labels[fold != k], penalty).margins(columns[fold == k])
    return z


def choose_penalty(columns: Array, labels: Labels, groups: list[str], *, seed: int) -> tuple[float, dict[str, float]]:
    """Return the penalty of the lowest cross-fitted negative log-likelihood, and all results."""
    losses = {
        penalty: negative_log_likelihood(
            labels, 1 / (1 + np.exp(-cross_fitted(columns, labels, groups, penalty, seed=seed)))
        )
        for penalty in PENALTIES
    }
    return min(losses, key=lambda p: losses[p]), {str(p): v for p, v in losses.items()}


def combination_of(stack: Stack, groups: list[str], features: tuple[str, ...]) -> dict[str, Any]:
    """Return JSON values for ``inference.malignancy.ensemble.combine``."""
    return {
        "groups": groups,
        "features": list(features),
        "mean": [float(v) for v in stack.mean],
        "std": [float(v) for v in stack.std],
        "weights": [float(v) for v in stack.weights],
        "bias": stack.bias,
    }
