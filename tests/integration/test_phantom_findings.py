"""The generated chest CT of the demo, which no model was trained on: its nodules are found, and little else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import Phantom
from inference.loading import Models
from inference.types import CtVolume, VolumeAnalysis

MAX_OTHERS_PER_SCAN = 1
LIMIT = 8
"""Findings at most: fewer than the filter confirms, and as many as remain with one other besides those allowed."""


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom()


@pytest.fixture(scope="module")
def analysis(phantom: Phantom, shipped_models: Models) -> VolumeAnalysis:
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = phantom.spacing_mm
    affine[:3, 3], affine[3, 3] = phantom.origin_mm, 1.0
    analyzer = shipped_models.nodule
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analyzer, "gate", replace(analyzer.gate, max_findings=LIMIT))
        return analyzer.analyse(CtVolume(phantom.volume_hu, phantom.spacing_mm, affine))


def nodule_numbers(phantom: Phantom, analysis: VolumeAnalysis) -> list[int | None]:
    """The number of the nodule that each finding lies in, None for others."""
    numbers: list[int | None] = []
    for finding in analysis.findings:
        apart_mm = [
            float(np.linalg.norm((np.array(finding.index) - np.array(n.index)) * phantom.spacing_mm))
            for n in phantom.nodules
        ]
        nearest = int(np.argmin(apart_mm))
        is_hit = apart_mm[nearest] <= max(phantom.nodules[nearest].diameter_mm / 2, 5.0)
        numbers.append(nearest if is_hit else None)
    return numbers


def test_every_nodule_is_found_once(phantom: Phantom, analysis: VolumeAnalysis) -> None:
    numbers = [number for number in nodule_numbers(phantom, analysis) if number is not None]
    assert sorted(numbers) == list(range(len(phantom.nodules)))


def test_few_other_findings_and_none_called_malignant(phantom: Phantom, analysis: VolumeAnalysis) -> None:
    numbers = nodule_numbers(phantom, analysis)
    others = [f for f, number in zip(analysis.findings, numbers, strict=True) if number is None]
    assert len(others) <= MAX_OTHERS_PER_SCAN
    assert all((other.malignancy_probability or 0.0) <= 0.5 for other in others)


def test_what_is_excluded_does_not_count_towards_the_limit(analysis: VolumeAnalysis) -> None:
    assert int(str(analysis.measures["confirmed_count"])) > LIMIT >= len(analysis.findings)
    assert "FINDINGS_LIMITED" not in {remark.name for remark in analysis.remarks}
