"""The gate of the slice model: what it judges, what it refuses, and that it leaves the network alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle import SHIPPED, read_bundle
from inference.calibration.calibration import class_set, prediction_set
from inference.ood.picture_gate import PictureGate, content_of, measure
from inference.slices.slice_classifier import SliceClassifier, gate_of
from training.data.slices import read_full_picture
from training.picture_distortions import ACCEPTABLE, FOREIGN, UNACCEPTABLE, Grey
from training.picture_gate import network_sha256

FOLDER = SHIPPED / "slice"
NETWORK_SHA256 = "c3d0bdf094144aea2ca34e494b473e5ed579c1d50f43ca0e02daa2fac4f029c0"
"""Of the network's own tensors: fitting the gate anew does not change them."""
PICTURES = 12


@pytest.fixture(scope="module")
def gate() -> PictureGate:
    return gate_of(read_bundle(FOLDER))


def body(rows: int = 200, columns: int = 300) -> Grey:
    """An ellipse of noise on black."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    noise = np.random.default_rng(0).integers(40, 200, (rows, columns))
    return np.where(x**2 + y**2 < 1, noise, 0).astype(np.uint8)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_frame_is_left_out_whatever_its_grey_level(level: int) -> None:
    inner = content_of(body())
    framed = np.pad(body(), ((30, 0), (80, 120)), constant_values=level)
    twice = np.pad(framed, ((10, 40), (20, 20)), constant_values=255 - level)
    for picture in (framed, twice):
        assert np.array_equal(content_of(picture), inner)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_uniform_picture_can_be_measured(gate: PictureGate, level: int) -> None:
    flat = np.full((100, 140), level, np.uint8)
    assert content_of(flat).shape == flat.shape
    assert all(np.isfinite(value) for value in (measure(flat).levels, measure(flat).comb, measure(flat).mirror))
    assert gate.why_unlike(flat)


@pytest.mark.parametrize("shape", [(64, 64), (64, 3000), (3000, 64), (65, 66)])
def test_any_shape_can_be_judged(gate: PictureGate, shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert gate.why_unlike(picture)[0].code == "unlike_training"


@pytest.mark.parametrize("name", FOREIGN)
def test_pictures_that_are_no_slice_are_refused(gate: PictureGate, name: str) -> None:
    for seed in range(3):
        reasons = gate.why_unlike(FOREIGN[name](np.random.default_rng(seed)))
        assert reasons[0].code == "unlike_training"
        assert "Upload the DICOM series as a zip" in reasons[0].text


def slices_of(data: Path, split: str) -> list[Grey]:
    folder = data / "iq_oth_nccd"
    with (folder / "manifest.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["split"] == split and not line["duplicate_of"]]
    return [read_full_picture(folder / line["file"]) for line in lines[:: max(1, len(lines) // PICTURES)]]


def share_refused(gate: PictureGate, pictures: list[Grey], distort: Callable[..., Grey]) -> float:
    return float(
        np.mean([bool(gate.why_unlike(distort(one, np.random.default_rng(i)))) for i, one in enumerate(pictures)])
    )


MISSED = {"rotated by 180": 0.0, "edges (Sobel)": 0.75, "salt and pepper": 0.75}
"""Distortions that the gate refuses less often than nine times in ten: a chest on its back is nearly symmetric."""


@pytest.mark.parametrize("name", UNACCEPTABLE)
def test_distorted_slices_are_refused(gate: PictureGate, research_data: Path, name: str) -> None:
    assert share_refused(gate, slices_of(research_data, "val"), UNACCEPTABLE[name]) >= MISSED.get(name, 0.9)


@pytest.mark.parametrize("name", ACCEPTABLE)
def test_the_same_slice_in_another_frame_or_size_is_answered(gate: PictureGate, research_data: Path, name: str) -> None:
    assert share_refused(gate, slices_of(research_data, "val"), ACCEPTABLE[name]) <= 0.1


def test_a_coloured_picture_is_not_answered(research_data: Path) -> None:
    classifier = SliceClassifier(read_bundle(FOLDER), torch.device("cpu"))
    (picture, *_) = slices_of(research_data, "val")
    assert classifier.predict(picture).is_in_domain
    codes = [reason.code for reason in classifier.predict(picture, is_coloured=True).abstentions]
    assert codes == ["unlike_training", "coloured"]


def test_the_gate_is_fitted_apart_from_the_network() -> None:
    assert network_sha256(FOLDER) == NETWORK_SHA256


THRESHOLDS = json.loads((FOLDER / "bundle.json").read_text())["conformal"]


@pytest.mark.parametrize(
    ("malignant", "expected"),
    [
        (0.0, ("benign",)),
        (0.03, ("benign",)),
        (0.10, ("benign", "malignant")),
        (0.45, ("benign", "malignant")),
        (0.55, ("malignant",)),
        (1.0, ("malignant",)),
    ],
)
def test_the_set_of_the_shipped_model_holds_its_class(malignant: float, expected: tuple[str, ...]) -> None:
    assert class_set({"benign": 1 - malignant, "malignant": malignant}, THRESHOLDS) == expected


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_most_probable_class_is_always_in_the_set(probability: float, low: float, high: float) -> None:
    classes = prediction_set(probability, {"benign": low, "malignant": high}, ("benign", "malignant"))
    assert ("malignant" if probability > 0.5 else "benign") in classes
    assert ("malignant" in classes) or probability < max(high, 0.5) or probability == 0.5
