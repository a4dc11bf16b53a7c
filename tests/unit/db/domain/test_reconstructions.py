"""Reconstructions of one acquisition are recognised and ranked by measures."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.domain.reconstructions import Reconstruction, choose

THIN = Reconstruction(
    frame_of_reference_uid="1.2.3",
    patient_position="HFS",
    coverage_mm=(-300.0, 0.0),
    acquisition_dates=("20260105",),
    acquisition_times_s=(33300.0, 33308.5),
    acquisition_numbers=("2",),
    irradiation_event_uids=("1.2.3.9",),
    slice_mm=1.0,
    lung_ml=4200.0,
    noise_hu=25.0,
)


def changed(**values: Any) -> Reconstruction:
    return replace(THIN, **values)


def chosen(*reconstructions: Reconstruction) -> list[int]:
    """Return the indices of the series that are analysed, in any order of arrival the same ones."""
    results = set()
    for order in permutations(range(len(reconstructions))):
        choice = choose({str(index): reconstructions[index] for index in order})
        results.add(tuple(sorted(int(series) for series, best in choice.items() if series == best)))
    (only,) = results
    return list(only)


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({}, True),
        ({"slice_mm": 5.0, "noise_hu": 8.0}, True),
        ({"coverage_mm": (-150.0, 0.0)}, True),  # truncated
        ({"frame_of_reference_uid": "1.2.4"}, False),
        ({"frame_of_reference_uid": ""}, False),
        ({"patient_position": "HFP"}, False),
        ({"patient_position": ""}, True),
        ({"acquisition_dates": ("20260106",)}, False),
        ({"acquisition_dates": ()}, True),
        ({"acquisition_numbers": ("3",)}, False),
        ({"acquisition_numbers": ("2", "3")}, True),
        ({"acquisition_numbers": ()}, True),
        ({"irradiation_event_uids": ("1.2.3.10",)}, False),
        ({"irradiation_event_uids": ()}, True),
        ({"acquisition_times_s": (33309.0, 33312.0)}, True),
        ({"acquisition_times_s": (33330.0, 33338.5)}, False),  # the second breath hold
        ({"acquisition_times_s": (33200.0, 33280.0)}, False),
        ({"acquisition_times_s": None}, True),
        ({"coverage_mm": (1.0, 300.0)}, False),
        ({"coverage_mm": (-30.0, 270.0)}, False),  # the next acquisition overlaps by a few slices
        ({"coverage_mm": (0.0, 0.0)}, False),
        ({"refusal": "coarse_slices", "lung_ml": None}, True),
    ],
)
def test_what_is_of_one_acquisition(other: dict[str, object], is_same: bool) -> None:
    assert THIN.is_of_acquisition(changed(**other)) is is_same
    assert changed(**other).is_of_acquisition(THIN) is is_same


def test_a_series_without_a_frame_of_reference_is_of_no_acquisition_but_analysed() -> None:
    unknown = changed(frame_of_reference_uid="")
    assert not unknown.is_of_acquisition(unknown)
    assert chosen(unknown, unknown, THIN) == [0, 1, 2]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"unvalidated": ("grain",)}),  # a sharp kernel
        ({}, {"unvalidated": ("noise_hu",), "slice_mm": 0.6}),
        ({"noise_hu": 20.0}, {"noise_hu": 60.0}),  # two kernels, both validated
        ({"slice_mm": 0.6}, {"slice_mm": 1.0}),
        ({"slice_mm": 1.0}, {"slice_mm": 5.0}),
        ({"slice_mm": 0.6}, {"slice_mm": 5.0}),
        ({"slice_mm": 0.4, "noise_hu": 20.0}, {"slice_mm": 0.2, "noise_hu": 30.0}),  # too fine to matter
        ({"slice_mm": 2.5}, {"slice_mm": 1.0, "lung_ml": 2000.0}),  # truncated coverage
        ({"slice_mm": 1.0}, {"slice_mm": 1.5, "lung_ml": 4300.0}),  # as much lung, within what is measured
        ({"slice_mm": 2.5}, {"slice_mm": 0.6, "refusal": "gaps"}),
        ({"unvalidated": ("grain", "noise_hu")}, {"refusal": "coarse_slices", "lung_ml": None, "noise_hu": None}),
        ({}, {"caveat_count": 1}),
        ({}, {"noise_hu": None, "unvalidated": ("noise_hu", "grain", "lung_hu"), "lung_ml": 0.0}),
    ],
)
def test_the_better_one_is_chosen(better: dict[str, object], worse: dict[str, object]) -> None:
    assert chosen(changed(**worse), changed(**better)) == [1]


@pytest.mark.parametrize(
    ("study", "expected"),
    [
        ((THIN, changed(slice_mm=0.6), changed(slice_mm=5.0, noise_hu=9.0)), [1]),
        ((THIN, changed(noise_hu=60.0), changed(refusal="coarse_slices", lung_ml=None)), [0]),
        ((THIN, changed(frame_of_reference_uid="1.2.4", slice_mm=5.0)), [0, 1]),
        ((THIN, Reconstruction(refusal="localizer")), [0, 1]),
        ((changed(refusal="gaps"), changed(refusal="coarse_slices", noise_hu=99.0)), [0]),
        ((THIN, changed(acquisition_times_s=(33330.0, 33338.0)), changed(slice_mm=5.0)), [0, 1]),
        ((), []),
    ],
)
def test_of_each_acquisition_of_a_study_one_is_chosen(study: tuple[Reconstruction, ...], expected: list[int]) -> None:
    assert chosen(*study) == expected


def test_no_acquisition_is_left_out_for_one_that_could_belong_to_either() -> None:
    """The third has no acquisition number: it is replaced by the first, which then does not stand for the second."""
    second = changed(acquisition_numbers=("3",), irradiation_event_uids=(), slice_mm=2.0)
    either = changed(acquisition_numbers=(), irradiation_event_uids=(), slice_mm=5.0)
    assert chosen(THIN, second, either) == [0, 1]


def test_of_equal_ones_the_first_is_chosen() -> None:
    assert choose({"a": THIN, "b": THIN}) == {"a": "a", "b": "a"}


@given(
    st.lists(
        st.builds(
            changed,
            frame_of_reference_uid=st.sampled_from(["", "1", "2"]),
            coverage_mm=st.tuples(st.floats(-300, 0), st.floats(0, 300)),
            acquisition_numbers=st.sampled_from([(), ("1",), ("2",)]),
            slice_mm=st.sampled_from([0.6, 1.0, 5.0]),
            lung_ml=st.floats(0, 5000),
            refusal=st.sampled_from(["", "gaps"]),
        ),
        max_size=6,
    )
)
def test_each_is_chosen_or_replaced_by_a_chosen_one_of_its_acquisition(study: list[Reconstruction]) -> None:
    reconstructions = {str(index): each for index, each in enumerate(study)}
    choice = choose(reconstructions)
    assert choice.keys() == reconstructions.keys()
    for series, best in choice.items():
        assert choice[best] == best
        assert series == best or reconstructions[series].is_of_acquisition(reconstructions[best])


def test_values_survive_json() -> None:
    assert Reconstruction.of_values(json.loads(json.dumps(THIN.values()))) == THIN
    assert Reconstruction.of_values({**THIN.values(), "of_a_later_release": 1}) == THIN
