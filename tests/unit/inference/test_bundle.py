"""A bundle is loaded only as it was released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.bundle import build_network, read_bundle, recipe_digest, write_recipe, write_weights
from inference.errors import BundleError
from inference.malignancy.ensemble import FEATURES, Ensemble, combine
from inference.malignancy.submodels import submodel_recipes
from inference.types import CtVolume
from inference.volumes.patch_views import ViewSpec
from inference.volumes.patches import PatchCentre, cut_patch
from inference.volumes.preprocessing import PreprocessingSpec

CUBE = ViewSpec((PreprocessingSpec(size=32),), volumetric=True)
MEMBER = {"kind": "volumetric", "widths": [4, 8], "in_channels": 1, "prefix": "volumetric0", "group": "volumetric",
          "view": CUBE.to_json()}  # fmt: skip


def combination(*groups: str, weight: float = 1.0) -> dict[str, Any]:
    """Plain mean of the groups' margins, times ``weight``."""
    n = len(groups)
    return {"groups": list(groups), "features": [], "mean": [0.0] * n, "std": [1.0] * n, "weights": [weight / n] * n,
            "bias": 0.0, "turns": 8}  # fmt: skip


def recipe(sha256: str, **changes: Any) -> dict[str, Any]:
    return {
        "task": "nodule",
        "name": "tiny",
        "version": "0",
        "classes": ["benign", "malignant"],
        "members": [MEMBER],
        "combination": combination("volumetric"),
        "calibration": {"kind": "temperature", "parameters": {"temperature": 2.0}, "temperature": 2.0},
        "weights_sha256": sha256,
        **changes,
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    write_recipe(tmp_path, recipe(write_weights(tmp_path, {"volumetric0": build_network(MEMBER)})))
    return tmp_path


def test_a_bundle_is_read_back_and_answers(bundle: Path) -> None:
    ensemble = Ensemble(read_bundle(bundle), torch.device("cpu"))
    rng = np.random.default_rng(0)
    volume = CtVolume(rng.integers(-900, 100, (30, 60, 60)).astype(np.int16), (1.5, 0.7, 0.7), np.eye(4))
    answer = ensemble.answer([cut_patch(volume, (15, 30, 30)), cut_patch(volume, (5, 10, 50))])
    assert answer.probabilities.shape == (2,)
    assert ensemble.answer([]).probabilities.shape == (0,)
    assert ensemble.answer_at(volume, []).probabilities.shape == (0,)
    at_once = ensemble.answer_at(volume, [PatchCentre((15, 30, 30)), PatchCentre((5, 10, 50))])
    assert at_once.probabilities == pytest.approx(answer.probabilities, abs=2e-3)


def test_turning_the_patch_by_90_degrees_does_not_change_the_answer(bundle: Path) -> None:
    ensemble = Ensemble(read_bundle(bundle), torch.device("cpu"))
    rng = np.random.default_rng(0)
    hu = rng.integers(-900, 100, (31, 61, 61)).astype(np.int16)
    rotated = np.ascontiguousarray(np.rot90(hu, axes=(1, 2)))
    margins = [
        ensemble.margins([cut_patch(CtVolume(v, (1.5, 0.7, 0.7), np.eye(4)), (15, 30, 30))]) for v in (hu, rotated)
    ]
    assert margins[0] == pytest.approx(margins[1], abs=0.02)  # bfloat16


def _flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))


def _truncate(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _not_finite(folder: Path) -> None:
    network = build_network(MEMBER)
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    write_recipe(folder, recipe(write_weights(folder, {"volumetric0": network})))


def _other_architecture(folder: Path) -> None:
    written = json.loads((folder / "bundle.json").read_text())
    written["members"][0]["widths"] = [4, 16]
    (folder / "bundle.json").write_text(json.dumps(written))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip_a_byte, "sha256 differs"),
        (_truncate, "sha256 differs"),
        (_not_finite, "not finite"),
        (_other_architecture, "do not fit"),
        (lambda f: (f / "model.safetensors").unlink(), "no readable model bundle"),
        (lambda f: (f / "bundle.json").write_text("{"), "no readable model bundle"),
        (lambda f: (f / "bundle.json").write_text('{"format": 99}'), "not of format"),
    ],
)
def test_an_altered_bundle_is_refused_in_words(bundle: Path, damage: Any, said: str) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=said):
        Ensemble(read_bundle(bundle), torch.device("cpu"))


def test_what_changes_an_answer_changes_the_digest_and_metrics_do_not() -> None:
    base = recipe("0" * 64)
    assert recipe_digest(base) != recipe_digest(recipe("1" * 64))
    assert recipe_digest(base) != recipe_digest(recipe("0" * 64, combination=combination("volumetric", weight=0.5)))
    assert recipe_digest(base) == recipe_digest(recipe("0" * 64, metrics={"auc": 0.9}))


def test_evidence_and_separation_are_part_of_what_answers() -> None:
    base = recipe("0" * 64)
    evidence = {"split": "test", "scores": [0.5], "labels": [1], "groups": [0]}
    digests = {recipe_digest(recipe("0" * 64, **parts)) for parts in (
        {}, {"evidence": evidence}, {"evidence": {**evidence, "labels": [0]}}, {"separation": {"from_mm": 8.0}},
    )}  # fmt: skip
    assert len(digests) == 4
    assert recipe_digest(base) in digests


def test_points_are_not_clipped() -> None:
    limited = {"kind": "none", "parameters": {}, "limits": [0.002, 0.998]}
    steep = combination("volumetric", weight=3.0)
    answer = combine(np.array([[-12.0, 12.0]]), recipe("0" * 64, calibration=limited, combination=steep))
    assert answer.probabilities[0] < 1e-5
    assert answer.probabilities[1] > 1 - 1e-5


def test_an_opinion_is_never_bounded_by_the_ensembles_cases() -> None:
    evidence = {"split": "test", "scores": [0.5], "labels": [1], "groups": [0]}
    planar = {"combination": combination("planar"), "calibration": {"kind": "none", "parameters": {}}}
    both = recipe("0" * 64, evidence=evidence, opinions={"planar": planar})
    assert submodel_recipes(both)["ensemble"]["evidence"] == evidence
    assert "evidence" not in submodel_recipes(both)["planar"]
    held = recipe("0" * 64, evidence=evidence, opinions={"planar": {**planar, "evidence": {**evidence, "split": "x"}}})
    assert submodel_recipes(held)["planar"]["evidence"]["split"] == "x"


def test_measured_features_count_and_missing_ones_count_as_average() -> None:
    number = FEATURES.index("longest_mm")
    combined = {**combination("volumetric"), "features": ["longest_mm"], "mean": [0.0, 2.0], "std": [1.0, 0.5],
             "weights": [1.0, 2.0]}  # fmt: skip
    features = np.zeros((3, len(FEATURES)))
    features[:, number] = (2.5, 2.0, np.nan)
    answer = combine(np.zeros((1, 3)), recipe("0" * 64, combination=combined), features)
    assert answer.margins == pytest.approx([2.0, 0.0, 0.0])
    assert answer.uncalibrated == pytest.approx([0.5] * 3)
