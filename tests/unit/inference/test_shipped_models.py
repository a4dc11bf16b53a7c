"""The shipped bundles load, say what they are, and keep answering the same."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.bundle import SHIPPED, read_bundle
from inference.description import describe_models
from inference.errors import BundleError
from inference.loading import Models, load_models
from inference.malignancy.ensemble import Ensemble, feature_vector
from inference.malignancy.submodels import GROUPS, Variant, answering, doubts, submodel_recipes
from inference.nodules.measurement import measure_nodule
from inference.ood.attention_check import attention_in_lung
from inference.predictor import NoduleAnalyzer
from inference.slices.slice_classifier import SliceClassifier
from inference.types import Abstention, CtVolume
from inference.volumes.patches import cut_patch, z_extent_of

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
    counts = {status.task: status.parameter_count for status in models.description.statuses}
    assert counts["slice"] == 2_792_483
    assert counts["nodule"] == 3_498_151
    assert len(models.nodule.sha256) == 64
    assert models.description == describe_models(None, "cpu")
    assert models.description.sha256 == models.nodule.sha256


def test_models_are_described_without_torch() -> None:
    code = "import sys; from inference.description import describe_models; describe_models(None, 'cpu')"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_large_ball_is_called_more_malignant_than_a_small_one() -> None:
    assert answer("nodule", chest(radius_mm=9.0), 18.0) > answer("nodule", chest(radius_mm=2.5), 5.0) + 0.3


def test_the_filter_distinguishes_a_ball_from_a_vessel() -> None:
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


def test_one_slice_alone_is_graded_by_the_planar_network(shipped_models: Models) -> None:
    analyzer = shipped_models.nodule
    small, large = (
        analyzer.analyse_slice(chest(radius_mm=r).volume_hu[20], (0.7, 0.7), (48.0, 48.0)) for r in (2.5, 9.0)
    )
    assert small.malignancy_probability is not None
    assert large.malignancy_probability is not None
    assert large.malignancy_probability > small.malignancy_probability + 0.3
    assert large.prediction_set


@pytest.mark.parametrize(
    ("spacing_mm", "point", "code"),
    [((0.7, 0.7), (10.0, 10.0), "no_nodule_here"), ((2.0, 2.0), (48.0, 48.0), "implausible_pixel_spacing")],
)
def test_one_slice_is_not_graded_where_nothing_is_or_scale_is_unknown(
    shipped_models: Models, spacing_mm: tuple[float, float], point: tuple[float, float], code: str
) -> None:
    finding = shipped_models.nodule.analyse_slice(chest().volume_hu[20], spacing_mm, point)
    assert finding.malignancy_probability is None
    assert [a.code for a in finding.abstentions] == [code]


OPINIONS = ("ensemble", "planar", "volumetric")


def test_each_opinion_answers_under_an_identity_and_with_figures_of_its_own() -> None:
    shipped = read_bundle(SHIPPED / "nodule")
    bundles = {name: answering(shipped, name) for name in OPINIONS}
    assert len({bundle.sha256 for bundle in bundles.values()}) == 3
    assert bundles["ensemble"] is shipped
    for name in ("planar", "volumetric"):
        recipe = bundles[name].recipe
        assert recipe["combination"]["groups"] == list(GROUPS[Variant(name)])
        assert recipe["calibration"]["n"] == shipped.recipe["calibration"]["n"]
        assert recipe["metrics"]["auc"] == shipped.recipe["metrics"]["opinions"][name]["auc"]
        assert recipe["metrics"]["n"] == shipped.recipe["metrics"]["n"]


def test_a_finding_records_every_submodel_whichever_answers() -> None:
    volume, opinions_by_variant = chest(radius_mm=4.5), {}
    for name in OPINIONS:
        finding = load_models(None, "cpu", "torch-float32", name).nodule.analyse_point(volume, (20, 48, 48))
        opinions = finding.attributes["opinions"]
        assert isinstance(opinions, dict)
        assert finding.malignancy_probability == pytest.approx(opinions[name]["probability"], abs=1e-4)
        assert finding.attributes["malignancy_margin"] == opinions[name]["margin"]
        opinions_by_variant[name] = opinions
    assert opinions_by_variant["ensemble"] == opinions_by_variant["planar"] == opinions_by_variant["volumetric"]
    planar, volumetric = (opinions_by_variant["ensemble"][name]["probability"] for name in ("planar", "volumetric"))
    assert planar != volumetric


def test_opinions_far_apart_are_a_stated_doubt() -> None:
    assert doubts({"planar": 0.41, "volumetric": 0.62}, 0.2) == ("the 2D and the 3D networks disagree",)
    assert doubts({"planar": 0.41, "volumetric": 0.60}, 0.2) == ()
    assert doubts({"planar": 0.1, "volumetric": 0.9}, 1.0) == ()
    assert doubts({"planar": 0.1}, 0.2) == ()


def test_a_bundle_without_opinions_says_so_when_one_is_asked_for() -> None:
    shipped = read_bundle(SHIPPED / "nodule")
    older = replace(shipped, recipe={k: v for k, v in shipped.recipe.items() if k != "opinions"})
    assert answering(older, "ensemble") is older
    assert submodel_recipes(older.recipe) == {}
    with pytest.raises(BundleError, match="has no calibration of these networks alone; set it to ensemble"):
        answering(older, "planar")


def test_a_network_that_looks_away_from_the_lung_gets_no_answer() -> None:
    """The same ball in lung, and where soft tissue fills all but a rim around it."""
    shipped, nodule_filter = (read_bundle(SHIPPED / task) for task in ("nodule", "filter"))
    member = Ensemble(shipped, torch.device("cpu")).planar_member
    assert member is not None
    free, walled = chest(radius_mm=4.0), chest(radius_mm=4.0)
    walled.volume_hu[:, :, 58:] = 50
    shares = []
    for volume in (free, walled):
        measure = measure_nodule(volume, (20, 48, 48))
        assert not isinstance(measure, Abstention)
        shares.append(attention_in_lung(member, volume, measure.center_index, measure.mask, measure.mask_box))
    assert shares[0] == pytest.approx(1.0)
    assert shares[1] < 0.9
    gate = {**shipped.recipe["gate"], "attention_in_lung": (shares[0] + shares[1]) / 2}
    strict = replace(shipped, recipe={**shipped.recipe, "gate": gate})
    analyzer = NoduleAnalyzer(*(Ensemble(b, torch.device("cpu")) for b in (strict, nodule_filter)))
    codes = [[a.code for a in analyzer.analyse_point(v, (20, 48, 48)).abstentions] for v in (free, walled)]
    assert codes == [[], ["attention_outside_lung"]]
