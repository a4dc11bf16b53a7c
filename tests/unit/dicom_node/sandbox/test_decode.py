"""Stored words become the same HU by a sum as by the table of all words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicom_node.sandbox.decode import StoredCoding, hu_shift, hu_table

EVERY_WORD = np.arange(1 << 16, dtype=np.uint16)

codings = st.integers(1, 16).flatmap(
    lambda bits: st.builds(
        StoredCoding,
        bits_allocated=st.just(16),
        bits_stored=st.just(bits),
        high_bit=st.one_of(st.just(bits - 1), st.integers(0, 15)),
        pixel_representation=st.integers(0, 1),
        padding=st.one_of(
            st.none(), st.tuples(st.integers(-32768, 65535), st.integers(0, 2000)).map(lambda at: (at[0], sum(at)))
        ),
    )
)


@given(coding=codings, intercept=st.one_of(st.integers(-2048, 2048), st.integers(-100_000, 100_000)))
@example(coding=StoredCoding(16, 16, 15, 1, (-2000, -2000)), intercept=-1024)
@example(coding=StoredCoding(16, 12, 11, 0, (63536, 63536)), intercept=-1024)
@example(coding=StoredCoding(16, 12, 14, 1, None), intercept=0)
def test_a_sum_gives_what_the_table_does_for_every_word(coding: StoredCoding, intercept: int) -> None:
    shift = hu_shift(coding, 1.0, float(intercept))
    if shift is not None:
        for target in (np.empty(EVERY_WORD.shape, np.int16), EVERY_WORD.copy().view(np.int16)):
            words = EVERY_WORD if target[1] != 1 else target.view(np.uint16)
            shift.apply(words, target)
            np.testing.assert_array_equal(target, hu_table(coding, 1.0, float(intercept)))


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", [12, 13, 16])
@pytest.mark.parametrize("padding", [None, (-2000, -2000)])
def test_what_scanners_store_is_summed(bits: int, signed: int, padding: tuple[int, int] | None) -> None:
    coding = StoredCoding(16, bits, bits - 1, signed, padding if signed and bits > 11 else None)
    assert hu_shift(coding, 1.0, -1024.0) is not None


@pytest.mark.parametrize(
    ("slope", "intercept", "coding"),
    [
        (2.0, -1024.0, StoredCoding(16, 16, 15, 1, None)),
        (1.0, -1024.5, StoredCoding(16, 16, 15, 1, None)),
        (1.0, -1024.0, StoredCoding(16, 16, 15, 1, (100, 100))),
        (1.0, 40_000.0, StoredCoding(16, 16, 15, 1, None)),
        (1.0, -1024.0, StoredCoding(8, 8, 7, 0, None)),
    ],
)
def test_what_no_sum_can_give_is_left_to_the_table(slope: float, intercept: float, coding: StoredCoding) -> None:
    assert hu_shift(coding, slope, intercept) is None
