"""Measured masks are recorded with their findings, read back as they were, and never read damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from db.analyses import findings, masks
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.errors import DamagedRecordError, UnknownRecordError
from db.domain.findings import NewFinding
from db.domain.masks import FindingAxes, FindingMask, MaskSlice
from db.domain.models import ModelIdentity
from db.domain.studies import ReceivedInstance
from db.tables.analyses import FindingMaskRow, FindingRow
from tests.integration.test_database_analyses import analyse, arrive, complete, detail, request, start

Received = Callable[..., ReceivedInstance]
NewFindings = Callable[..., NewFinding]
STUDY, OTHER = "1.2.3", "9.9.9"


def mask_of(*sop_instance_uids: str) -> FindingMask:
    slices = tuple(MaskSlice(uid, 1) for uid in sop_instance_uids)
    axes = FindingAxes(0, ((200.0, 98.5), (203.25, 99.0)), ((201.0, 97.0), (201.0, 101.0)))
    return FindingMask(slices, 200, 97, 4, 5, (3, 20 * len(slices) - 3), axes)


def test_a_mask_is_recorded_with_its_finding(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    instances = received(1), received(2)
    series_id = arrive(database, *instances)
    mask = mask_of(instances[1].sop_instance_uid, instances[0].sop_instance_uid)
    analysis = analyse(
        database, series_id, model, AnalysisOutcome(findings=(new_finding(mask=mask), new_finding(probability=0.1)))
    )
    with database.read() as session:
        records = findings.findings_of_analysis(session, analysis.id)
        assert [record.finding.mask for record in records] == [None, None]  # lists do without
        assert [record.finding.mask for record in masks.with_masks(session, records)] == [mask, None]
        assert masks.masks_of_study(session, STUDY) == {records[0].id: mask}
        with pytest.raises(UnknownRecordError):
            masks.masks_of_study(session, OTHER)


def test_a_reader_s_mark_has_its_mask(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    instance = received(1)
    arrive(database, instance)
    mask = mask_of(instance.sop_instance_uid)
    with database.begin() as session:
        marked = findings.add_reader_finding(
            session, STUDY, instance.series_instance_uid, new_finding(mask=mask), model, reader="ada"
        )
    with database.read() as session:
        assert masks.masks_of_study(session, STUDY) == {marked.id: mask}
    with database.begin() as session:
        findings.withdraw_finding(session, marked.id, reader="ada")
    with database.read() as session:
        assert masks.masks_of_study(session, STUDY) == {}


def test_an_analysis_with_a_mask_of_another_series_records_nothing(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    series_id = arrive(database, received(1))
    analysis = request(database, series_id, model)
    start(database, analysis.id)
    outcome = AnalysisOutcome(findings=(new_finding(), new_finding(mask=mask_of(OTHER))))
    with pytest.raises(UnknownRecordError):
        complete(database, analysis.id, outcome)
    with database.read() as session:
        assert [*session.scalars(select(FindingRow.id)), *session.scalars(select(FindingMaskRow.finding_id))] == []


def test_the_mask_of_a_superseded_analysis_is_not_shown(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings
) -> None:
    instance = received(1)
    series_id = arrive(database, instance)
    analyse(
        database, series_id, model, AnalysisOutcome(findings=(new_finding(mask=mask_of(instance.sop_instance_uid)),))
    )
    again = request(database, series_id, model, force=True)
    start(database, again.id)
    assert complete(database, again.id, AnalysisOutcome(findings=(new_finding(),)))
    assert len(detail(database).findings) == 1
    with database.read() as session:
        assert masks.masks_of_study(session, STUDY) == {}


@pytest.mark.parametrize(
    "values",
    [
        {"runs": [3, 18]},
        {"runs": [3, "17"]},
        {"runs": [-3, 23]},
        {"runs": []},
        {"runs": "x"},
        {"runs": [10**30]},
        {"runs": None},
        {"slices": []},
        {"slices": [["nothing", 1]]},
        {"slices": [[1, 1]]},
        {"slices": [["nothing"]]},
        {"slices": {"a": 1}},
        {"row_px": -1},
        {"column_count": 0},
        {"row_count": 2_000_000_000},
        {"axes": [1, 2]},
        {"axes": {"slice": 7, "long": [[0, 0], [1, 1]], "short": [[0, 0], [1, 1]]}},
    ],
)
def test_a_damaged_mask_is_an_error_of_its_own(
    database: Database, received: Received, model: ModelIdentity, new_finding: NewFindings, values: dict[str, Any]
) -> None:
    instance = received(1)
    series_id = arrive(database, instance)
    mask = mask_of(instance.sop_instance_uid)
    analyse(database, series_id, model, AnalysisOutcome(findings=(new_finding(mask=mask),)))
    with database.begin() as session:
        row = session.scalars(select(FindingMaskRow)).one()
        if values.get("runs", 0) is None:
            session.execute(text("UPDATE finding_masks SET runs = 'null'"))
        for name, value in values.items():
            if value is not None:
                setattr(row, name, value)
    with database.read() as session, pytest.raises(DamagedRecordError, match="the stored mask is damaged"):
        masks.masks_of_study(session, STUDY)
