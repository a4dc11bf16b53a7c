"""Model cards: the metrics of ``GET /model_status``, sorted and plotted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from webapp.operations import plots
from webapp.operations.plots import Comparison, Curve, Histogram, Reliability

HEADLINES = (
    ("auc", "auc_interval", "Area under the ROC curve", "1 is perfect, 0.5 is chance"),
    ("ece", "ece_interval", "Calibration error", "0 is perfect; mean gap between predicted and observed share"),
    ("brier", "brier_interval", "Brier score", "0 is perfect; mean squared error of the probability"),
    ("sensitivity", "sensitivity_interval", "Sensitivity", "true positive rate"),
    ("specificity", "specificity_interval", "Specificity", "true negative rate"),
)
DRAWN = frozenset({"roc", "histogram", "reliability", "reliability_before"})
"""Metrics shown as plots, not as numbers."""


@dataclass(frozen=True, slots=True)
class Headline:
    """A main metric, with its interval and its value before calibration."""

    key: str
    label: str
    hint: str
    value: float
    interval: tuple[float, float] | None
    before: float | None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model; ``status`` are its fields of ``/model_status``."""

    status: Mapping[str, object]
    negative: str
    """Name of the negative class."""
    positive: str
    headlines: tuple[Headline, ...]
    figures: Mapping[str, object]
    """Other metrics, by name."""
    parts: Mapping[str, object]
    """Metrics that are tables."""
    before: Reliability | None
    after: Reliability | None
    roc: Curve | None
    histogram: Histogram | None
    comparison: Comparison | None


def model_cards(status: Mapping[str, object]) -> list[ModelCard]:
    """Return a card for every model in the status."""
    models = status.get("models") or ([status] if status.get("name") else [])
    return [_card(model) for model in models if isinstance(model, Mapping)] if isinstance(models, list) else []


def _card(status: Mapping[str, object]) -> ModelCard:
    given = status.get("metrics")
    metrics: Mapping[str, object] = given if isinstance(given, Mapping) else {}
    compared = plots.comparison(list(_compared(metrics)))
    classes = _classes(status.get("classes"))
    return ModelCard(
        status=status,
        negative=classes[0],
        positive=classes[1],
        headlines=tuple(_headlines(metrics, *classes)),
        figures={key: value for key, value in metrics.items() if key not in DRAWN and not _is_table(value)},
        parts={key: value for key, value in metrics.items() if key not in DRAWN and _is_table(value)},
        before=plots.reliability(metrics.get("reliability_before")),
        after=plots.reliability(metrics.get("reliability")),
        roc=plots.roc(metrics.get("roc"), metrics.get("auc"), classes[1]),
        histogram=plots.histogram(metrics.get("histogram"), classes),
        comparison=compared if compared and len(compared.rows) > 1 else None,
    )


def _classes(classes: object) -> tuple[str, str]:
    """Return the names of negative and positive class: the first and the last of the list."""
    names = [str(name).replace("_", " ") for name in classes] if isinstance(classes, list | tuple) else []
    return (names[0], names[-1]) if len(names) > 1 else ("negative", "positive")


def _headlines(metrics: Mapping[str, object], negative: str, positive: str) -> Iterator[Headline]:
    for key, interval, label, hint in HEADLINES:
        value, before, bounds = metrics.get(key), metrics.get(f"{key}_before"), metrics.get(interval)
        if isinstance(value, int | float):
            yield Headline(
                key,
                label,
                hint.format(negative=negative, positive=positive),
                float(value),
                (float(bounds[0]), float(bounds[1])) if isinstance(bounds, list | tuple) and len(bounds) == 2 else None,
                float(before) if isinstance(before, int | float) else None,
            )


def _is_table(value: object) -> bool:
    """Return whether a value is a mapping, or a list of mappings."""
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(inner, Mapping) for inner in value)
    )


def _compared(metrics: Mapping[str, object]) -> Iterator[tuple[str, str, Mapping[str, object], bool]]:
    """Yield the model, its baselines, and its subgroups."""
    yield "This model, all cases", _cases(metrics), metrics, True
    for name, figures in _named(metrics.get("baselines")):
        yield name, "for comparison", figures, False
    for name, figures in _named(metrics.get("subgroups")):
        yield name, _cases(figures), figures, False


def _named(table: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the entries of a mapping, or of a list whose entries have a ``name``."""
    pairs: list[tuple[object, object]] = []
    if isinstance(table, Mapping):
        pairs = list(table.items())
    elif isinstance(table, list | tuple):
        pairs = [(entry.get("name"), entry) for entry in table if isinstance(entry, Mapping)]
    for name, figures in pairs:
        if isinstance(name, str) and isinstance(figures, Mapping):
            yield name[:1].upper() + name[1:], figures


def _cases(figures: Mapping[str, object]) -> str:
    n = figures.get("n")
    return f"n {n}" if isinstance(n, int) else ""
