"""Moments, texts and numbers as both databases keep them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from db.domain.errors import InvalidRecordError
from db.engine.session import TEXT_LIMIT, check_finite, check_share, checked_json, free_text, new_id
from db.tables.column_types import UtcDateTime

DIALECTS = [sqlite.dialect(), postgresql.dialect()]
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)  # noqa: DTZ001 (Hypothesis adds zones)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(moment=moments)
def test_a_moment_reads_back_as_itself_in_utc(dialect: object, moment: datetime) -> None:
    column = UtcDateTime()
    read = column.process_result_value(column.process_bind_param(moment, dialect), dialect)  # type: ignore[arg-type]
    assert read == moment
    assert read is not None
    assert read.tzinfo is UTC


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), DIALECTS[0])  # noqa: DTZ001 (what is refused)


@given(st.text(st.characters()))
def test_free_text_can_be_stored_and_is_otherwise_unchanged(text: str) -> None:
    stored = free_text(text)
    assert "\0" not in stored
    stored.encode()
    if "\0" not in text and not any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        assert stored == text[:TEXT_LIMIT]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001, 1.001])
def test_what_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(InvalidRecordError):
        check_share("malignancy_probability", value)


@given(st.none() | st.floats(0, 1))
def test_a_probability_or_none_is_taken(value: float | None) -> None:
    check_share("malignancy_probability", value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.none())
def test_finite_numbers_are_taken(value: float | None) -> None:
    check_finite("diameter_mm", value)


@pytest.mark.parametrize("value", [{"a": float("inf")}, {"a": {1, 2}}, {"a": b"x"}])
def test_what_is_no_json_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(InvalidRecordError, match="JSON"):
        checked_json("attributes", value)


def test_ids_are_opaque_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {32}
