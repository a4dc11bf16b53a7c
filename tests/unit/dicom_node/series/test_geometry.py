"""The order of slices depends on where they lie and on nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.sandbox.frames import FrameHeader, Sextuple, as_stored
from dicom_node.series.geometry import SeriesStack, build_stack, order_frames, repeated_positions

AXIAL: Sextuple = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def frame(
    number: int, position_mm: tuple[float, float, float], orientation: Sextuple = AXIAL, spacing_mm: float = 0.7
) -> FrameHeader:
    return FrameHeader(
        path=f"{number}.dcm", sop_instance_uid=f"1.2.{number}", sop_class_uid="", transfer_syntax_uid="",
        frame_number=1, instance_number=number, acquisition_number=1, modality="CT", image_type=("AXIAL",),
        rows=512, columns=512, samples_per_pixel=1, bits_allocated=16, bits_stored=12, high_bit=11,
        pixel_representation=0, position_mm=position_mm, orientation=orientation,
        pixel_spacing_mm=(spacing_mm, spacing_mm), slope=1.0, intercept=-1024.0, rescale_type="HU", padding=None,
        frame_of_reference_uid="1.2.3", lossy="", burned_in="", attributes={},
    )  # fmt: skip


def rotated(degrees: float) -> Sextuple:
    """Slices turned about the left-right axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (1.0, 0.0, 0.0, 0.0, c, s)


stacks = st.builds(
    lambda count, spacing, start, degrees, flip: (count, spacing, start, degrees, flip),
    st.integers(2, 80),
    st.floats(0.3, 5.0),
    st.floats(-1500, 1500),
    st.floats(-15, 15),
    st.booleans(),
)


@given(stacks, st.randoms(use_true_random=False))
def test_order_survives_shuffling(stack: tuple[int, float, float, float, bool], random: object) -> None:
    count, spacing, start, degrees, flip = stack
    orientation = rotated(degrees)
    if flip:
        orientation = (*orientation[:3], *(-part for part in orientation[3:]))  # type: ignore[assignment]
    normal = np.cross(rotated(degrees)[:3], rotated(degrees)[3:])
    positions = [tuple(float(round(p, 4)) for p in (start + i * spacing) * normal) for i in range(count)]
    frames = [frame(i, p, orientation) for i, p in enumerate(positions)]  # type: ignore[arg-type]
    shuffled = list(frames)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ordered = order_frames(shuffled)
    assert list(ordered.frames) == frames
    built = build_stack(ordered)
    assert built.geometry.spacing_mm[0] == np.float64(built.geometry.spacing_mm[0])
    assert abs(built.geometry.spacing_mm[0] - spacing) < 1e-3
    for index in (0, count - 1):
        np.testing.assert_allclose((built.affine @ (index, 0, 0, 1))[:3], positions[index], atol=1e-3)


@given(st.integers(5, 60), st.data())
def test_a_missing_slice_inside_is_always_seen(count: int, data: st.DataObject) -> None:
    gone = data.draw(st.integers(1, count - 2))
    ordered = order_frames([frame(i, (0.0, 0.0, 1.25 * i)) for i in range(count) if i != gone])
    with pytest.raises(UnfitImagesError) as refused:
        build_stack(ordered)
    assert refused.value.reason.code in ("gaps", "uneven_spacing")


def test_rounded_positions_are_even() -> None:
    build_stack(order_frames([frame(i, (0.0, 0.0, round(i * 0.62519, 2))) for i in range(60)]))


def rounded(step_mm: float, spacing_mm: float, start_mm: float, count: int = 100) -> list[float]:
    return [float(step_mm * np.rint((start_mm + i * spacing_mm) / step_mm)) for i in range(count)]


def verdict(heights_mm: list[float]) -> SeriesStack | str:
    """Judge slices at these heights, numbered without a gap; the code of the refusal, or the stack."""
    ordered = order_frames([frame(i, (0.0, 0.0, z)) for i, z in enumerate(heights_mm)])
    try:
        return build_stack(ordered)
    except UnfitImagesError as error:
        return error.reason.code


ROUNDED = [
    (step, spacing, start)
    for step in (0.01, 0.1, 0.5, 1.0)
    for spacing in (0.45, 0.6, 0.625, 0.75, 0.8, 1.0, 1.25, 2.5, 5.0)
    for start in (-118.1, 1012.35, 0.0)
    if step <= 0.9 * spacing or step == spacing
]


@pytest.mark.parametrize(("step_mm", "spacing_mm", "start_mm"), ROUNDED)
def test_rounded_positions_are_even_and_a_missing_slice_still_shows(
    step_mm: float, spacing_mm: float, start_mm: float
) -> None:
    heights = rounded(step_mm, spacing_mm, start_mm)
    stack = verdict(heights)
    assert isinstance(stack, SeriesStack), stack
    assert stack.geometry.spacing_mm[0] == pytest.approx(spacing_mm, abs=step_mm / 50)
    for index in (0, 50, 99):
        height = (stack.affine @ (index, 0, 0, 1))[2]
        assert height == pytest.approx(start_mm + index * spacing_mm, abs=0.75 * step_mm)
    for gone in (1, 40, 98):  # image numbers follow each other here, as after a renumbering
        assert verdict(heights[:gone] + heights[gone + 1 :]) in ("gaps", "uneven_spacing")


def test_positions_rounded_by_more_than_half_a_slice_need_image_numbers_without_a_gap() -> None:
    heights = rounded(1.0, 1.25, 0.3)
    ordered = order_frames([frame(3 * i, (0.0, 0.0, z)) for i, z in enumerate(heights)])
    with pytest.raises(UnfitImagesError):
        build_stack(ordered)


def jittered(spacing_mm: float, share: float) -> list[float]:
    offsets = np.random.default_rng(3).uniform(-share, share, 100) * spacing_mm
    return [float(z) for z in np.arange(100) * spacing_mm + offsets]


@pytest.mark.parametrize("spacing_mm", [1.25, 2.5, 5.0])
@pytest.mark.parametrize(("share", "is_fit"), [(0.01, True), (0.04, True), (0.15, False), (0.3, False)], ids=str)
def test_precise_positions_may_lie_a_tenth_of_a_slice_off(spacing_mm: float, share: float, is_fit: bool) -> None:
    assert isinstance(verdict(jittered(spacing_mm, share)), SeriesStack) == is_fit


@pytest.mark.parametrize(("drift", "is_fit"), [(0.001, True), (0.01, True), (0.05, False), (0.2, False)])
def test_a_spacing_that_drifts_is_refused_where_slices_lie_a_tenth_off(drift: float, is_fit: bool) -> None:
    heights = [2.5 * (i + drift * i * i / 200) for i in range(100)]
    assert isinstance(verdict(heights), SeriesStack) == is_fit


@pytest.mark.parametrize("spacing_mm", [0.6, 1.25, 2.5, 5.0])
def test_a_slice_in_between_is_uneven(spacing_mm: float) -> None:
    heights = sorted([*(i * spacing_mm for i in range(60)), 30.5 * spacing_mm])
    assert verdict(heights) == "uneven_spacing"


def test_uneven_slices_are_refused() -> None:
    places = [0.0, 1.0, 2.0, 3.3, 4.0, 5.0, 6.0]
    ordered = order_frames([frame(i, (0.0, 0.0, z)) for i, z in enumerate(places)])
    with pytest.raises(UnfitImagesError) as refused:
        build_stack(ordered)
    assert refused.value.reason.code == "uneven_spacing"


def test_frames_of_one_place_are_found() -> None:
    ordered = order_frames([frame(i, (0.0, 0.0, float(i // 2))) for i in range(6)])
    assert repeated_positions(ordered) == ((0, 1), (2, 3), (4, 5))


@given(st.integers(-32768, 65535))
def test_a_value_of_either_sign_names_the_same_stored_word(value: int) -> None:
    assert as_stored(value, 16, signed=True) % 65536 == value % 65536
    assert -32768 <= as_stored(value, 16, signed=True) <= 32767
    assert 0 <= as_stored(value, 16, signed=False) <= 65535
