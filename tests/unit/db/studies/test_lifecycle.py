"""A study's state follows from its series'."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.domain.reasons import Reason
from db.domain.studies import StudyState
from db.studies.lifecycle import PRECEDENCE, SETTLED, study_state, unique

SCOUT = Reason("localizer", "A localizer is not analysed.")
LATE = Reason("timeout", "Took too long.")
R, Q, A, D, N, F = (
    StudyState.RECEIVING,
    StudyState.QUEUED,
    StudyState.ANALYSING,
    StudyState.ANALYSED,
    StudyState.NOT_ANALYSED,
    StudyState.FAILED,
)

series = st.lists(
    st.tuples(st.sampled_from(StudyState), st.lists(st.sampled_from([SCOUT, LATE]), max_size=2).map(tuple)), min_size=1
)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([R, A, Q, D, F, N], R),
        ([A, Q, D], A),
        ([Q, D, F], Q),
        ([D, F, N], D),
        ([D, N], D),
        ([F, N], F),
        ([N, N], N),
    ],
)
def test_the_state_furthest_from_an_answer_counts(states: list[StudyState], expected: StudyState) -> None:
    assert study_state([(state, ()) for state in states])[0] is expected


def test_an_analysed_study_states_failures_but_not_unchosen_series() -> None:
    assert study_state([(D, ()), (N, (SCOUT,)), (F, (LATE,))]) == (D, (LATE,))
    assert study_state([(D, ()), (N, (SCOUT,))]) == (D, ())


def test_reasons_are_those_of_the_state_each_once() -> None:
    assert study_state([(N, (SCOUT,)), (N, (SCOUT,)), (F, (LATE,))]) == (F, (LATE,))
    assert study_state([(N, (SCOUT,)), (N, (LATE, SCOUT))]) == (N, (SCOUT, LATE))
    assert study_state([(Q, (SCOUT,))]) == (Q, ())


def test_every_state_has_its_place() -> None:
    assert set(PRECEDENCE) == set(StudyState)


@given(series)
def test_the_order_of_series_never_matters_to_the_state(
    given_series: list[tuple[StudyState, tuple[Reason, ...]]],
) -> None:
    state, reasons = study_state(given_series)
    backwards, others = study_state(given_series[::-1])
    assert state is backwards
    assert set(reasons) == set(others)
    assert state in {own for own, _ in given_series}
    assert not reasons or state in SETTLED
    assert unique(reasons) == reasons
