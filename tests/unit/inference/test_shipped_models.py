"""The shipped bundles load, say what they are, and keep answering the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import SHIPPED, read_bundle
from inference.ensemble import Ensemble, feature_vector
from inference.patches import cut_patch, z_extent_of
from inference.predictor import load_models
from inference.segmentation import measure_nodule
from inference.slice_classifier import SliceClassifier
from inference.types import Abstention, CtVolume

TASKS = ("nodule", "filter", "slice")


def chest(*, radius_mm: float = 6.0, vessel: bool = False) -> CtVolume:
    """Lung of -850 HU with a ball (or a vessel along z) of 40 HU in its middle, and mild noise."""
    shape, spacing = (40, 96, 96), (1.25, 0.7, 0.7)
    z, y, x = np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij")
    in_plane = (y * 0.7) ** 2 + (x * 0.7) ** 2
    inside = in_plane < radius_mm**2 if vessel else in_plane + (z * 1.25) ** 2 < radius_mm**2
    noise = np.random.default_rng(0).normal(0, 15, shape)
    return CtVolume((np.where(inside, 40, -850) + noise).astype(np.int16), spacing, np.diag([1.25, 0.7, 0.7, 1.0]))


def answer(task: str, volume: CtVolume, diameter_mm: float) -> float:
    """Calibrated probability of the middle of the volume."""
    ensemble = Ensemble(read_bundle(SHIPPED / task), torch.device("cpu"))
    extent = z_extent_of(diameter_mm) if task == "nodule" else None
    measure = measure_nodule(volume, (20, 48, 48))
    assert not isinstance(measure, Abstention)
    patch = cut_patch(volume, (20, 48, 48), z_extent_mm=extent)
    return float(ensemble.answer([patch], feature_vector(measure.features())[None]).probabilities[0])


@pytest.mark.parametrize("task", TASKS)
def test_a_shipped_bundle_is_whole_and_names_what_it_was_measured_on(task: str) -> None:
    recipe = read_bundle(SHIPPED / task).recipe
    assert recipe["task"] == task
    assert recipe["metrics"]["split"] == "test"
    assert recipe["metrics"]["n"] > 100
    assert recipe["training_data"]["seed"] == 0
    assert len(recipe["training_data"]["split_sha256"]) == 64
    files = {path.name for path in (SHIPPED / task).iterdir()}
    assert {"MODEL_CARD.md", "reliability_before.png", "reliability_after.png"} <= files
    assert (SHIPPED / task / "model.safetensors").stat().st_size < 8_000_000


def test_all_models_load_and_state_their_parameters() -> None:
    models = load_models(None, "cpu")
    counts = {status.task: status.parameter_count for status in models.statuses}
    assert counts["slice"] == 2_792_483
    assert counts["nodule"] == 3_498_151
    assert len(models.nodule.sha256) == 64


def test_a_large_ball_is_called_more_malignant_than_a_small_one() -> None:
    assert answer("nodule", chest(radius_mm=9.0), 18.0) > answer("nodule", chest(radius_mm=2.5), 5.0) + 0.3


def test_the_filter_tells_a_ball_from_a_vessel() -> None:
    assert answer("filter", chest(radius_mm=4.0), 8.0) > answer("filter", chest(radius_mm=2.0, vessel=True), 8.0)


def test_a_slice_model_never_answers_for_noise(tmp_path: Path) -> None:
    classifier = SliceClassifier(read_bundle(SHIPPED / "slice"), torch.device("cpu"))
    noise = np.random.default_rng(0).integers(0, 256, (300, 300)).astype(np.uint8)
    prediction = classifier.predict(noise)
    assert prediction.predicted_class is None
    assert not prediction.is_in_domain
    assert prediction.abstentions[0].code == "unlike_training"
    attention = classifier.attention(noise)
    assert attention.shape == (300, 300)
    assert 0.0 <= attention.min() <= attention.max() <= 1.0


def test_one_slice_alone_is_graded_by_the_planar_network() -> None:
    analyzer = load_models(None, "cpu").nodule
    small, large = (
        analyzer.analyse_slice(chest(radius_mm=r).volume_hu[20], (0.7, 0.7), (48.0, 48.0)) for r in (2.5, 9.0)
    )
    assert small.malignancy_probability is not None
    assert large.malignancy_probability is not None
    assert large.malignancy_probability > small.malignancy_probability + 0.3
    assert large.prediction_set


@pytest.mark.parametrize(
    ("spacing_mm", "place", "code"),
    [((0.7, 0.7), (10.0, 10.0), "no_nodule_here"), ((2.0, 2.0), (48.0, 48.0), "pixel_spacing")],
)
def test_one_slice_is_not_graded_where_nothing_is_or_scale_is_unknown(
    spacing_mm: tuple[float, float], place: tuple[float, float], code: str
) -> None:
    finding = load_models(None, "cpu").nodule.analyse_slice(chest().volume_hu[20], spacing_mm, place)
    assert finding.malignancy_probability is None
    assert [a.code for a in finding.abstentions] == [code]
