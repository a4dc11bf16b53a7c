"""Rounded probabilities still sum to one, and percentages agree with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.http import rounding

shares = st.lists(st.floats(0, 1), min_size=2, max_size=5).filter(lambda values: sum(values) > 1e-6)


def test_the_documented_example() -> None:
    confidence = rounding.confidence({"benign": 0.12341, "malignant": 0.87659})
    assert confidence == {"benign": 0.1234, "malignant": 0.8766}
    assert rounding.percent(confidence) == {"benign": 12.3, "malignant": 87.7}


@given(shares)
def test_sums_stay_whole(values: list[float]) -> None:
    total = sum(values)
    confidence = rounding.confidence({str(index): value / total for index, value in enumerate(values)})
    assert sum(round(share * 10_000) for share in confidence.values()) == 10_000
    assert sum(round(share * 10) for share in rounding.percent(confidence).values()) == 1_000


@given(st.floats(0, 1))
def test_two_classes_are_rounded_by_less_than_one_unit(malignant: float) -> None:
    exact = {"benign": 1 - malignant, "malignant": malignant}
    confidence = rounding.confidence(exact)
    percent = rounding.percent(confidence)
    for name, share in exact.items():
        assert abs(confidence[name] - share) <= 0.000_051
        assert abs(percent[name] - 100 * confidence[name]) <= 0.051
        assert confidence[name] == round(confidence[name], 4)
        assert percent[name] == round(percent[name], 1)


def test_no_classes_give_no_shares() -> None:
    assert rounding.confidence({}) == {}
    assert rounding.percent({"a": 0.0}) == {"a": 0.0}


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "< 0.1 %"), (1.0, "> 99.9 %"), (0.5, "50.0 %"), (0.0449, "4.5 %"), (0.99899, "99.9 %")]
)
def test_people_never_read_zero_or_a_hundred(share: float, text: str) -> None:
    assert rounding.percent_text(share) == text
