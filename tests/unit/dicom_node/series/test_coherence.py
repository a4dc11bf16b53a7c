"""Slices that do not belong together show in their pixels, whatever their headers say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.mixed_stacks import COHERENT, MIXES, alternate, read_volumes
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import PhantomSpec
from dicom_node.sandbox.decode_process import DecodeProcess
from dicom_node.series.assembly import load_series
from dicom_node.series.coherence import is_mixed
from dicom_node.series.types import StoredInstance
from inference.gate import GateThresholds
from tests.support.factories import Defects, ct_series

LIMITS = GateThresholds()


@lru_cache
def phantom(seed: int) -> NDArray[np.int16]:
    return make_phantom(PhantomSpec(slices=60, rows=160, columns=160, pixel_spacing_mm=2.2, seed=seed)).volume_hu


@pytest.mark.parametrize("kind", COHERENT)
def test_a_coherent_phantom_passes(kind: str) -> None:
    for volume in COHERENT[kind](phantom(1)):
        assert not is_mixed(volume, LIMITS)


@pytest.mark.parametrize(
    "kind",
    [
        "breath: base 8 slices higher",
        "breath: base 4 slices higher, chest 3 % narrower",
        "softer kernel (blur of 0.7 pixels)",
        "lower dose (20 HU more noise)",
        "same breath displaced by 4 slices",
    ],
)
def test_alternate_slices_of_two_stacks_show(kind: str) -> None:
    assert is_mixed(alternate(phantom(1), MIXES[kind](phantom(1))), LIMITS)


def test_alternate_slices_of_two_patients_show() -> None:
    assert is_mixed(alternate(phantom(1), phantom(2)), LIMITS)


def test_stacks_that_alternate_in_part_of_the_range_show() -> None:
    volume = phantom(1).copy()
    volume[20:41] = alternate(volume[20:41], phantom(2)[20:41])
    assert is_mixed(volume, LIMITS)


def test_three_stacks_that_alternate_show() -> None:
    volume = phantom(1).copy()
    volume[1::3], volume[2::3] = phantom(2)[1::3], phantom(3)[2::3]
    assert is_mixed(volume, LIMITS)


@pytest.mark.parametrize("value", [-1024, 0])
def test_a_flat_volume_passes(value: int) -> None:
    assert not is_mixed(np.full((30, 64, 64), value, np.int16), LIMITS)


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5, 12])
def test_few_slices_are_judged_without_an_error(slices: int) -> None:
    assert not is_mixed(phantom(1)[20 : 20 + slices], LIMITS)


@pytest.fixture(scope="module")
def process() -> Iterator[DecodeProcess]:
    with DecodeProcess() as child:
        yield child


def mixed_series(folder: Path, *, number_step: int) -> list[StoredInstance]:
    """Two phantoms slice by slice under one header; image numbers sweep the stack twice, or once."""
    volume = alternate(phantom(1), phantom(2))

    def number(ds: object, index: int) -> None:
        ds.InstanceNumber = (index % 2) * number_step + index // (2 if number_step > 1 else 1)  # type: ignore[attr-defined]

    series = ct_series(folder, volume_hu=volume, spacing_mm=(2.0, 1.4, 1.4), defects=Defects(alter=number))
    return [StoredInstance("", path) for path in series.paths]


def test_a_mix_that_only_pixels_show_is_refused(tmp_path: Path, process: DecodeProcess) -> None:
    with pytest.raises(UnfitImagesError) as refused:
        load_series(mixed_series(tmp_path, number_step=0), process=process)
    assert refused.value.reason.code == "mixed_stacks"


def test_a_mix_that_pixels_and_image_numbers_show_is_parted(tmp_path: Path, process: DecodeProcess) -> None:
    result = load_series(mixed_series(tmp_path, number_step=100), process=process)
    np.testing.assert_array_equal(result.volume.volume_hu, phantom(1)[::2])
    assert "other_acquisitions_left_out" in [caveat.code for caveat in result.caveats]
    assert result.volume.spacing_mm[0] == pytest.approx(4.0)


@pytest.mark.data
def test_no_real_series_is_taken_for_a_mix(research_data: Path) -> None:
    for volume in read_volumes(research_data / "lidc_idri_dicom", 99):
        for part in (volume, volume[::2], volume[1::2], volume[::3]):
            assert not is_mixed(part, LIMITS)
