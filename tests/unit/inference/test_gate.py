"""Gates of bundles: checked at load, and one answer for headers, volumes and single slices."""

from __future__ import annotations

import json
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.bundle import SHIPPED, describe_bundle
from inference.description import checked_bundles, describe_models
from inference.errors import BundleError
from inference.gate import STATED, FilterThresholds, GateThresholds, PictureThresholds, read_gate
from inference.loading import load_models
from inference.predictor import NoduleAnalyzer
from inference.types import CtVolume

RECIPE = describe_bundle(SHIPPED / "nodule").recipe


def changed(**values: object) -> dict[str, Any]:
    return {**RECIPE, "gate": {**RECIPE["gate"], **values}}


def test_thresholds_are_those_of_the_bundle_and_cannot_be_changed() -> None:
    gate = read_gate(changed(of_another_release=1, min_slices=40), GateThresholds)
    assert (gate.min_slices, gate.pixel_mm, gate.max_slice_mm) == (40, (0.4, 1.0), 3.5)
    with pytest.raises(FrozenInstanceError):
        gate.min_slices = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pixel_mm", [1.0, 0.4]),
        ("pixel_mm", [0.4]),
        ("pixel_mm", 0.4),
        ("max_slice_mm", "3.5"),
        ("max_slice_mm", float("nan")),
        ("max_slice_mm", float("inf")),
        ("max_slice_mm", 0),
        ("min_slices", 0),
        ("min_slices", 19.5),
        ("min_slices", True),
        ("merge_mm", None),
        ("max_findings", -1),
        ("grain", [0.4, -0.4]),
        ("attention_in_lung", 1.5),
        ("opinions_apart", -0.1),
    ],
)
def test_an_impossible_threshold_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(BundleError, match=name):
        read_gate(changed(**{name: value}), GateThresholds)


@pytest.mark.parametrize("name", STATED)
def test_a_bundle_that_lacks_a_threshold_is_refused(name: str) -> None:
    gate = {key: value for key, value in RECIPE["gate"].items() if key != name}
    with pytest.raises(BundleError, match="lacks thresholds"):
        read_gate({**RECIPE, "gate": gate}, GateThresholds)


@pytest.mark.parametrize("gate", [None, [], "no"])
@pytest.mark.parametrize(
    ("task", "kind"), [("nodule", GateThresholds), ("filter", FilterThresholds), ("slice", PictureThresholds)]
)
def test_a_bundle_without_a_gate_is_refused(task: str, kind: type[GateThresholds], gate: object) -> None:
    with pytest.raises(BundleError, match=f"{task} bundle"):
        read_gate({"task": task, "gate": gate}, kind)


@pytest.mark.parametrize("task", ["nodule", "filter", "slice"])
def test_a_gate_is_checked_when_models_are_described_or_loaded(tmp_path: Path, task: str) -> None:
    bundle = tmp_path / task
    shutil.copytree(SHIPPED / task, bundle)
    recipe = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**recipe, "gate": {}}))
    for load in (describe_models, load_models):
        with pytest.raises(BundleError, match=f"gate of the {task} bundle"):
            load(bundle, "cpu")


def test_the_shipped_gates_are_valid() -> None:
    bundles = {task: describe_bundle(SHIPPED / task) for task in ("nodule", "filter", "slice")}
    assert checked_bundles(bundles, "ensemble") == bundles


@pytest.fixture(scope="module")
def analyzer() -> NoduleAnalyzer:
    return load_models(None, "cpu", "torch-float32").nodule


GEOMETRIES = [
    (20, (3.5, 0.7, 0.7), None),
    (20, (3.5 + 1e-6, 0.7, 0.7), None),
    (20, (3.52, 0.7, 0.7), "coarse_slices"),
    (20, (3.535, 0.7, 0.7), "coarse_slices"),
    (20, (7.0, 0.7, 0.7), "coarse_slices"),
    (400, (0.1, 0.7, 0.7), "implausible_spacing"),
    (19, (3.5, 0.7, 0.7), "too_few_slices"),
    (20, (1.25, 0.7, 0.7), "too_few_slices"),
    (20, (3.5, 0.4, 0.4), None),
    (20, (3.5, 1.0, 1.0), None),
    (20, (3.5, 0.39, 0.39), "implausible_pixel_spacing"),
    (20, (3.5, 1.01, 1.01), "implausible_pixel_spacing"),
    (20, (3.5, 0.7, 1.2), "implausible_pixel_spacing"),
    (20, (3.5, 0.7, 0.75), "non_square_pixels"),
    (20, (float("nan"), 0.7, 0.7), "too_few_slices"),
    (20, (3.5, float("nan"), 0.7), "implausible_pixel_spacing"),
]


@pytest.mark.parametrize(("slices", "spacing_mm", "code"), GEOMETRIES)
def test_headers_and_volumes_have_one_limit(
    analyzer: NoduleAnalyzer, slices: int, spacing_mm: tuple[float, float, float], code: str | None
) -> None:
    unfit = analyzer.gate.why_not_geometry(slices, spacing_mm)
    assert (unfit.code if unfit else None) == code
    if unfit is None:
        return
    volume = CtVolume(np.full((slices, 8, 8), -800, np.int16), spacing_mm, np.eye(4))
    assert analyzer.analyse(volume).abstentions == (unfit,)
    assert analyzer.analyse_point(volume, (0.0, 4.0, 4.0)).abstentions == (unfit,)
