"""Searching the archive, on both databases: what matches, in which order, and what results add."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from sqlalchemy import select, text

from benchmarks.worklist import fill
from db.analyses import analyses
from db.archive import index as archive
from db.archive import search
from db.archive.search import Between, Condition, Like, OneOf, Page
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.models import ModelIdentity
from db.domain.studies import PatientAttributes, ReceivedInstance
from db.domain.uids import EXPLICIT_VR_LITTLE_ENDIAN
from db.engine.session import new_id, now
from db.studies import instances
from db.tables.exchange import ResultRow
from db.tables.studies import StudyRow
from tests.support.records import record_instance

EVERYTHING = Page(100)
PEOPLE = {
    "1.1": ("Doe^Jane", "20260101", "0915", "P-1"),
    "1.2": ("DOE^John^^", "20260131", "101500.5", "P-2"),
    "1.3": ("Müller^Änne", "20260215", "", "P_3"),
    "1.4": ("Yamada^Tarou=山田^太郎=やまだ^たろう", "", "2359", "Q%4"),
}

MATCHES: tuple[tuple[dict[str, Condition], list[str]], ...] = (
    ({}, ["1.1", "1.2", "1.3", "1.4"]),
    ({"StudyInstanceUID": OneOf(("1.1", "1.3", "7"))}, ["1.1", "1.3"]),
    ({"PatientName": Like("doe*")}, ["1.1", "1.2"]),
    ({"PatientName": Like("D?E^J*N*")}, ["1.1", "1.2"]),
    ({"PatientName": OneOf(("doe^john",))}, ["1.2"]),
    ({"PatientName": OneOf(("Doe^J",))}, []),
    ({"PatientName": Like("MÜLLER^ä*")}, ["1.3"]),
    ({"PatientName": Like("山田^*")}, ["1.4"]),
    ({"PatientName": OneOf(("やまだ^たろう",))}, ["1.4"]),
    ({"PatientName": Like("%")}, []),
    ({"PatientID": Like("P_*")}, ["1.3"]),
    ({"PatientID": Like("Q%?")}, ["1.4"]),
    ({"PatientID": OneOf(("P-1", "p-2"))}, ["1.1"]),
    ({"StudyID": OneOf(("S1.2", "s1.1"))}, ["1.2"]),
    ({"StudyDate": Between("20260101", "20260131")}, ["1.1", "1.2"]),
    ({"StudyDate": Between("20260102", "")}, ["1.2", "1.3"]),
    ({"StudyDate": Between("", "20260130")}, ["1.1"]),
    ({"StudyTime": Between("09", "101500.999999")}, ["1.1", "1.2"]),
    ({"AccessionNumber": OneOf(("A-1.2",))}, ["1.2"]),
    ({"ModalitiesInStudy": OneOf(("SR",))}, ["1.1"]),
    ({"ModalitiesInStudy": OneOf(("CT", "SR"))}, ["1.1", "1.2", "1.3", "1.4"]),
    ({"ModalitiesInStudy": OneOf(("MR",))}, []),
    ({"PatientName": Like("doe*"), "StudyDate": Between("20260110", "")}, ["1.2"]),
)


@pytest.fixture
def filled(database: Database, received: Callable[..., ReceivedInstance], model: ModelIdentity) -> Database:
    """Four studies of two series with two instances each; the first has a report."""
    for study, (name, date, time, patient_id) in PEOPLE.items():
        with database.begin() as session:
            for number in range(4):
                series = number // 2
                instance = received(
                    number,
                    study=study,
                    series=str(series),
                    patient=PatientAttributes(patient_id, name=name, birth_date="19600101", sex="F"),
                    study_date=date,
                    study_time=time,
                    series_number=series,
                    modality="CT" if series else "PT",
                    accession_number=f"A-{study}",
                    local_study_id=f"S{study}",
                )
                record_instance(session, instance)
    with database.begin() as session:
        series_record = instances.series_record(session, series_instance_uid="1.1.1")
        assert series_record is not None
        analysis = analyses.request_analysis(session, series_record.id, model, requested_by="system")
        analyses.start_analysis(session, analysis.id)
        analyses.complete_analysis(session, analysis.id, AnalysisOutcome())
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.study_instance_uid == "1.1")).one()
        session.add(
            ResultRow(
                id=new_id(),
                analysis_id=analysis.id,
                study_id=study_id,
                sop_instance_uid="9.1",
                sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34",
                series_instance_uid="9",
                series_number=9801,
                modality="SR",
                instance_number=1,
                kind="sr",
                path="results/a.dcm",
                created_at=now(session),
            )
        )
    return database


def found_studies(database: Database, **conditions: Condition) -> list[str]:
    with database.read() as session:
        result = search.search_studies(session, conditions, EVERYTHING)
    return sorted(match.study.study_instance_uid for match in result.matches)


def test_studies_match_as_the_standard_says(filled: Database) -> None:
    for conditions, expected in MATCHES:
        assert found_studies(filled, **conditions) == expected, conditions


def test_a_study_counts_what_was_received_and_what_was_made(filled: Database) -> None:
    with filled.read() as session:
        first = search.search_studies(session, {"StudyInstanceUID": OneOf(("1.1",))}, EVERYTHING).matches[0].study
        other = search.search_studies(session, {"StudyInstanceUID": OneOf(("1.2",))}, EVERYTHING).matches[0].study
    assert (first.modalities, first.series_count, first.instance_count) == (("CT", "PT", "SR"), 3, 5)
    assert (other.modalities, other.series_count, other.instance_count) == (("CT", "PT"), 2, 4)
    assert (first.patient.name, first.study_date) == ("Doe^Jane", "20260101")


def test_pages_follow_each_other_and_say_what_remains(filled: Database) -> None:
    observed, offset = [], 0
    with filled.read() as session:
        for remaining in (1, 0):
            result = search.search_studies(session, {}, Page(3, offset))
            assert result.remaining == remaining
            observed += [match.study.study_instance_uid for match in result.matches]
            offset += 3
        assert search.search_studies(session, {}, Page(3, 50)).remaining == 0
    assert observed == ["1.4", "1.3", "1.2", "1.1"]


def test_series_are_found_with_their_study_results_included(filled: Database) -> None:
    with filled.read() as session:
        result = search.search_series(session, {"StudyInstanceUID": OneOf(("1.1",))}, EVERYTHING)
        wide = search.search_series(session, {"Modality": OneOf(("SR", "PT")), "PatientID": Like("P-*")}, EVERYTHING)
    described = [(s.series_instance_uid, s.modality, s.instance_count) for m in result.matches if (s := m.series)]
    assert described == [("1.1.0", "PT", 2), ("1.1.1", "CT", 2), ("9", "SR", 1)]
    assert sorted(m.series.series_instance_uid for m in wide.matches if m.series) == ["1.1.0", "1.2.0", "9"]


def test_instances_are_found_by_what_is_above_them(filled: Database) -> None:
    def uids(**conditions: Condition) -> list[str]:
        with filled.read() as session:
            result = search.search_instances(session, conditions, EVERYTHING)
        return [match.instance.sop_instance_uid for match in result.matches if match.instance]

    assert uids(StudyInstanceUID=OneOf(("1.1",)))[-1] == "9.1"
    assert uids(StudyInstanceUID=OneOf(("1.2",)), SeriesNumber=OneOf(("1",))) == ["1.2.1.2", "1.2.1.3"]
    assert uids(SOPInstanceUID=OneOf(("1.3.0.1",))) == ["1.3.0.1"]
    assert uids(SOPClassUID=OneOf(("1.2.840.10008.5.1.4.1.1.88.34",))) == ["9.1"]
    assert uids(InstanceNumber=OneOf(("3",)), PatientName=Like("Doe*")) == ["1.2.1.3", "1.1.1.3"]


def test_instances_of_an_address_are_listed_with_where_they_lie(filled: Database) -> None:
    with filled.read() as session:
        study = archive.instances(session, ["1.1"])
        assert [one.sop_instance_uid for one in study] == ["1.1.0.0", "1.1.0.1", "1.1.1.2", "1.1.1.3", "9.1"]
        assert (study[-1].path, study[-1].transfer_syntax_uid) == ("results/a.dcm", EXPLICIT_VR_LITTLE_ENDIAN)
        assert [one.sop_instance_uid for one in archive.instances(session, ["1.1"], series_instance_uids=["9"])] == [
            "9.1"
        ]
        named = archive.instances(
            session, ["1.1", "1.2"], series_instance_uids=["1.1.1"], sop_instance_uids=["1.1.1.2"]
        )
        assert [one.path for one in named] == [study[2].path]
        assert archive.instances(session, ["1.1"], series_instance_uids=["1.2.1"]) == ()
        assert archive.instances(session, ["7"]) == ()


@pytest.mark.parametrize("keyword", ["StudyID", "AccessionNumber", "PatientID", "StudyInstanceUID"])
def test_a_search_by_one_value_does_not_read_every_study(database: Database, keyword: str) -> None:
    fill(database, 1500)
    statement = search._studies({keyword: OneOf(("X1",))})
    is_sqlite = database.engine.dialect.name == "sqlite"
    with database.read() as session:
        text_of = statement.compile(database.engine, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        plan = "\n".join(str(row) for row in session.execute(text(f"{explain} {text_of}")))
    assert not re.search(r"SCAN studies|Seq Scan on studies", plan), plan
