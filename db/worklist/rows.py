"""Worklist pages by keyset paging, stable under arrivals and fast for any number of studies.

If a filter leaves few studies, an index finds these and they are sorted; otherwise studies are read in the order of an
index, and few of them are skipped.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.domain.worklist import ReadingLoad, WorklistItem, WorklistPage, WorklistQuery
from db.engine.session import now, record_of
from db.results.failures import reasons_of
from db.studies import patients
from db.tables.studies import PatientRow, StudyRow
from db.worklist import filters as worklist_filters
from db.worklist.details import StudyDetails, details_of_studies
from db.worklist.order import PagePosition, Segment, decode_cursor, encode_cursor, segments

PAGE_LIMIT = 500


def worklist_page(session: Session, query: WorklistQuery) -> WorklistPage:
    """Return one page.

    Raises
    ------
    InvalidCursorError
        If the cursor is malformed, altered or of another order.
    """
    limit = max(1, min(query.limit, PAGE_LIMIT))
    position = decode_cursor(session, query) if query.cursor is not None else None
    as_of = position.as_of if position else now(session)
    matches: list[tuple[int, StudyRow, PatientRow]] = []
    statement = worklist_filters.restricted(session, query, _statement())
    for number, segment in enumerate(segments(query, as_of)):
        if statement is not None and (position is None or number >= position.segment):
            after = position if position and number == position.segment else None
            part = _part(statement, segment, after).limit(limit + 1 - len(matches))
            matches += [(number, study, patient) for study, patient in session.execute(part)]
        if len(matches) > limit:
            break
    items = _items(session, [(study, patient) for _, study, patient in matches[:limit]])
    if len(matches) <= limit:
        return WorklistPage(items, None)
    number, last, _ = matches[limit - 1]
    last_position = PagePosition(number, as_of, last.malignancy_probability, last.received_at, last.id)
    return WorklistPage(items, encode_cursor(session, query, last_position))


def _items(session: Session, listed: list[tuple[StudyRow, PatientRow]]) -> tuple[WorklistItem, ...]:
    details = details_of_studies(session, [study.id for study, _ in listed])
    return tuple(_item(session, study, patient, details[study.id]) for study, patient in listed)


def worklist_item(session: Session, study: StudyRow, patient: PatientRow) -> WorklistItem:
    """Return the worklist item of a study. It waits from its first instance until its result, or until now."""
    return _items(session, [(study, patient)])[0]


def _item(session: Session, study: StudyRow, patient: PatientRow, details: StudyDetails) -> WorklistItem:
    interval = None
    if study.interval_low is not None and study.interval_high is not None:
        interval = (study.interval_low, study.interval_high)
    waited = (study.settled_at or now(session)) - study.received_at
    return record_of(
        WorklistItem,
        study,
        patient=patients.attributes(patient),
        interval=interval,
        waiting_s=max(0.0, waited.total_seconds()),
        result_failures=reasons_of(details.failures),
        has_prior=details.has_prior,
        top_diameter_mm=details.top_diameter_mm,
        readers=details.readers,
    )


def reading_load(session: Session, max_wait_s: float) -> ReadingLoad:
    """Count unread studies, and those that have waited longer than ``max_wait_s``."""
    unread = select(func.count()).select_from(StudyRow).where(StudyRow.reviewed_at.is_(None))
    due = now(session) - timedelta(seconds=max_wait_s)
    return ReadingLoad(
        unread=session.scalars(unread).one(), overdue=session.scalars(unread.where(StudyRow.received_at <= due)).one()
    )


def _statement() -> Select[StudyRow, PatientRow]:
    return select(StudyRow, PatientRow).join(PatientRow, StudyRow.patient_row_id == PatientRow.id)


def _part(
    statement: Select[StudyRow, PatientRow], segment: Segment, after: PagePosition | None
) -> Select[StudyRow, PatientRow]:
    if after is not None:
        statement = statement.where(segment.after(after))
    return statement.where(*segment.conditions).order_by(*segment.order)
