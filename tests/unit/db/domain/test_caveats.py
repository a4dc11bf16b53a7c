"""Kinds of caveats: declared once, each with a code, a text, and values that must all be named."""

from __future__ import annotations

from string import Formatter

import pytest

from db.domain.caveats import ABOUT_FINDINGS, PARTIAL_COVERAGE, Caveat


def stated(kind: Caveat) -> str:
    fields = {name for _, name, _, _ in Formatter().parse(kind.value.text) if name}
    return kind.stated(**dict.fromkeys(fields, "3")).text


@pytest.mark.parametrize("kind", Caveat)
def test_a_kind_is_a_sentence_with_its_values_filled_in(kind: Caveat) -> None:
    assert kind.code == kind.name.lower()
    assert stated(kind)[0].isupper() or stated(kind)[0].isdigit()
    assert stated(kind).endswith(".")
    assert "{" not in stated(kind)


def test_a_value_that_is_not_named_is_an_error() -> None:
    with pytest.raises(KeyError):
        Caveat.THICK_SLICES.stated()


def test_only_caveats_of_coverage_say_that_the_lungs_are_partly_in_view() -> None:
    assert not PARTIAL_COVERAGE & ABOUT_FINDINGS
