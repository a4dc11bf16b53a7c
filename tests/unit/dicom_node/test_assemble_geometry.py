"""The order of slices depends on where they lie and on nothing else."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.frames import FrameHeader, Sextuple, as_stored
from dicom_node.geometry import OrderedFrames, SeriesStack, build_stack, order_frames, repeated_places
from dicom_node.series import Refusal

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
    assert isinstance(ordered, OrderedFrames)
    assert list(ordered.frames) == frames
    built = build_stack(ordered)
    assert isinstance(built, SeriesStack)
    assert built.geometry.spacing_mm[0] == np.float64(built.geometry.spacing_mm[0])
    assert abs(built.geometry.spacing_mm[0] - spacing) < 1e-3
    for index in (0, count - 1):
        np.testing.assert_allclose((built.affine @ (index, 0, 0, 1))[:3], positions[index], atol=1e-3)


@given(st.integers(5, 60), st.data())
def test_a_missing_slice_inside_is_always_seen(count: int, data: st.DataObject) -> None:
    gone = data.draw(st.integers(1, count - 2))
    ordered = order_frames([frame(i, (0.0, 0.0, 1.25 * i)) for i in range(count) if i != gone])
    assert isinstance(ordered, OrderedFrames)
    refusal = build_stack(ordered)
    assert isinstance(refusal, Refusal)
    assert refusal.code in ("gaps", "uneven_spacing")


def test_rounded_positions_are_even() -> None:
    ordered = order_frames([frame(i, (0.0, 0.0, round(i * 0.62519, 2))) for i in range(60)])
    assert isinstance(ordered, OrderedFrames)
    assert isinstance(build_stack(ordered), SeriesStack)


def test_uneven_slices_are_refused() -> None:
    places = [0.0, 1.0, 2.0, 3.3, 4.0, 5.0, 6.0]
    ordered = order_frames([frame(i, (0.0, 0.0, z)) for i, z in enumerate(places)])
    assert isinstance(ordered, OrderedFrames)
    refusal = build_stack(ordered)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "uneven_spacing"


def test_frames_of_one_place_are_found() -> None:
    ordered = order_frames([frame(i, (0.0, 0.0, float(i // 2))) for i in range(6)])
    assert isinstance(ordered, OrderedFrames)
    assert repeated_places(ordered) == ((0, 1), (2, 3), (4, 5))


@given(st.integers(-32768, 65535))
def test_a_value_of_either_sign_names_the_same_stored_word(value: int) -> None:
    assert as_stored(value, 16, signed=True) % 65536 == value % 65536
    assert -32768 <= as_stored(value, 16, signed=True) <= 32767
    assert 0 <= as_stored(value, 16, signed=False) <= 65535
