"""Instances are indexed once, and two patients never become one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from db.audit import trail as audit
from db.database import Database
from db.domain.errors import InvalidRecordError, UnknownRecordError
from db.domain.studies import PatientAttributes, ReceivedInstance, StoreVerdict, StudyState
from db.domain.worklist import WorklistQuery
from db.intake.ingest import record_arrivals
from db.read_models import studies
from db.studies.completion import force_complete
from db.studies.instances import (
    input_digest,
    receiving_series,
    series_instances,
    series_record,
)
from db.tables.studies import InstanceRow, PatientRow, SeriesRow, StudyRow
from db.worklist import rows as worklist
from tests.support.databases import ManualClock
from tests.support.records import instance_record, record_instance

Received = Callable[..., ReceivedInstance]


def record(database: Database, instance: ReceivedInstance) -> StoreVerdict:
    with database.begin() as session:
        return record_instance(session, instance)


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def actions(database: Database) -> list[str]:
    with database.read() as session:
        return [entry.event.action for entry in reversed(audit.recent(session))]


def codes(database: Database, study: str) -> list[str]:
    with database.read() as session:
        detail = studies.study_detail(session, study)
    assert detail is not None
    return [reason.code for reason in detail.item.reasons]


def test_the_first_instance_makes_patient_study_and_series(database: Database, received: Received) -> None:
    assert record(database, received(1)) is StoreVerdict.STORED
    assert record(database, received(2)) is StoreVerdict.STORED
    with database.read() as session:
        detail = studies.study_detail(session, "1.2.3")
    assert detail is not None
    assert detail.item.patient == received().patient
    assert (detail.item.state, detail.item.series_count, detail.item.instance_count) == (StudyState.RECEIVING, 1, 2)
    (series,) = detail.series
    assert (series.series_instance_uid, series.instance_count, series.modality) == ("1.2.3.1", 2, "CT")
    assert actions(database) == ["study:received"]


def test_an_instance_reads_back_as_it_was_stored(database: Database, received: Received) -> None:
    record(database, received(4))
    with database.read() as session:
        instance = instance_record(session, "1.2.3.1.4")
    assert instance is not None
    assert (instance.path, instance.size_bytes, instance.sha256) == ("ab/1.2.3-1-4", 526_000, f"{4:064x}")


def test_times_are_stored_alike_on_both_paths_of_indexing(
    database: Database, received: Received, clock: ManualClock
) -> None:
    """The first instance is indexed by SQLAlchemy, later ones on the driver's cursor; SQLite sorts times as text."""
    clock.moment = datetime(2026, 3, 1, 9, 0, tzinfo=UTC) - timedelta(microseconds=1)
    record_arrivals(database, [received(1)])
    clock.moment = datetime(2026, 3, 1, 10, 0, tzinfo=UTC) - timedelta(microseconds=1)
    record_arrivals(database, [received(2)])
    with database.read() as session:
        texts = session.scalars(text("SELECT CAST(received_at AS TEXT) FROM instances ORDER BY arrival")).all()
        series = session.scalar(text("SELECT CAST(last_received_at AS TEXT) FROM series"))
    assert len({len(moment) for moment in texts}) == 1
    assert series == texts[1]


def test_sending_again_adds_nothing_and_wakes_nothing(database: Database, received: Received) -> None:
    record(database, received(1))
    with database.read() as session:
        (before,) = receiving_series(session)
    assert record(database, received(1)) is StoreVerdict.DUPLICATE
    with database.read() as session:
        (after,) = receiving_series(session)
    assert after == before
    assert count(database, InstanceRow) == 1
    assert actions(database) == ["study:received"]


def test_other_bytes_under_the_same_uid_keep_the_first_and_are_audited(database: Database, received: Received) -> None:
    record(database, received(1))
    assert record(database, replace(received(1), sha256="f" * 64, path="other")) is StoreVerdict.CONFLICT
    with database.read() as session:
        stored = instance_record(session, "1.2.3.1.1")
    assert stored is not None
    assert stored.path == received(1).path
    assert actions(database) == ["study:received", "instance:conflict"]
    assert codes(database, "1.2.3") == ["instance_conflict"]


@pytest.mark.parametrize(
    "other",
    [
        {"patient_id": "PID-2"},
        {"patient_id": ""},
        {"issuer": "ELSEWHERE"},
        {"name": "OTHER^PERSON"},
        {"birth_date": "19600101"},
        {"sex": "M"},
    ],
)
def test_a_study_is_never_shared_by_two_patients(database: Database, received: Received, other: dict[str, str]) -> None:
    record(database, received(1))
    of_other_patient = replace(received(2), patient=replace(received().patient, **other))
    assert record(database, of_other_patient) is StoreVerdict.PATIENT_CONFLICT
    assert record(database, received(3)) is StoreVerdict.STORED
    with database.read() as session:
        detail = studies.study_detail(session, "1.2.3")
        assert instance_record(session, of_other_patient.sop_instance_uid) is None
    assert detail is not None
    assert detail.item.patient == received().patient
    assert detail.item.instance_count == 2
    assert codes(database, "1.2.3") == ["patient_conflict"]
    assert actions(database) == ["study:received", "study:identity_conflict"]
    assert count(database, PatientRow) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"name": "canary^phi"},
        {"name": "CANARY^PHI^^^"},
        {"name": "CANARY^PHI=字^字"},
        {"name": ""},
        {"birth_date": ""},
        {"sex": ""},
        {"issuer": ""},
        {"patient_id": " PID-1 "},
    ],
)
def test_missing_or_respelled_attributes_stay_the_same_patient(
    database: Database, received: Received, other: dict[str, str]
) -> None:
    record(database, received(1))
    assert record(database, replace(received(2), patient=replace(received().patient, **other))) is StoreVerdict.STORED
    assert codes(database, "1.2.3") == []


@pytest.mark.parametrize("other", [{"name": "OTHER^PERSON"}, {"birth_date": "19600101"}, {"sex": "M"}])
def test_one_id_for_two_people_makes_two_patients_and_a_flag(
    database: Database, received: Received, other: dict[str, str]
) -> None:
    second = replace(received().patient, **other)
    record(database, received(1))
    assert record(database, received(1, study="1.2.4", patient=second)) is StoreVerdict.STORED
    assert record(database, received(1, study="1.2.5", patient=second)) is StoreVerdict.STORED
    assert count(database, PatientRow) == 2
    with database.read() as session:
        page = worklist.worklist_page(session, WorklistQuery())
    shown = {item.study_instance_uid: item.patient for item in page.items}
    assert shown == {"1.2.3": received().patient, "1.2.4": second, "1.2.5": second}
    assert codes(database, "1.2.4") == ["shared_patient_id"]
    assert codes(database, "1.2.3") == []


def test_the_same_id_of_another_issuer_is_another_patient(database: Database, received: Received) -> None:
    record(database, received(1))
    record(database, received(1, study="1.2.4", patient=replace(received().patient, issuer="ELSEWHERE")))
    assert count(database, PatientRow) == 2


def test_studies_of_one_patient_share_the_patient(database: Database, received: Received) -> None:
    record(database, received(1))
    record(database, received(1, study="1.2.4"))
    assert count(database, PatientRow) == 1
    assert codes(database, "1.2.4") == []


def test_patients_without_an_id_are_never_taken_for_one(database: Database, received: Received) -> None:
    without_id = PatientAttributes(patient_id="")
    for study in ("1.2.3", "1.2.4", "1.2.5"):
        record(database, received(1, study=study, patient=without_id))
        record(database, received(2, study=study, patient=without_id))
    assert count(database, PatientRow) == 3
    assert count(database, InstanceRow) == 6
    assert codes(database, "1.2.5") == []


def test_a_series_under_a_second_study_is_refused(database: Database, received: Received) -> None:
    record(database, received(1))
    intruder = replace(received(9, study="1.2.4"), series_instance_uid="1.2.3.1")
    assert record(database, intruder) is StoreVerdict.STUDY_CONFLICT
    assert codes(database, "1.2.3") == ["study_conflict"]
    assert count(database, StudyRow) == 1
    assert count(database, InstanceRow) == 1
    assert actions(database) == ["study:received", "study:identity_conflict"]


def test_a_series_under_two_known_studies_flags_both(database: Database, received: Received) -> None:
    record(database, received(1))
    record(database, received(1, study="1.2.4"))
    intruder = replace(received(9, study="1.2.4"), series_instance_uid="1.2.3.1")
    assert record(database, intruder) is StoreVerdict.STUDY_CONFLICT
    assert codes(database, "1.2.3") == codes(database, "1.2.4") == ["study_conflict"]


def test_interleaved_patients_stay_apart(database: Database, received: Received) -> None:
    people = [replace(received().patient, patient_id=f"PID-{n}", name=f"PERSON^{n}") for n in range(4)]
    for number in range(1, 6):
        for n, person in enumerate(people):
            assert record(database, received(number, study=f"1.2.{n + 10}", patient=person)) is StoreVerdict.STORED
    with database.read() as session:
        page = worklist.worklist_page(session, WorklistQuery())
    assert {(item.patient.name, item.instance_count) for item in page.items} == {(f"PERSON^{n}", 5) for n in range(4)}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sop_instance_uid": "1." * 40}, "sop_instance_uid"),
        ({"study_instance_uid": "1.\0"}, "study_instance_uid"),
        ({"patient": PatientAttributes("P" * 300)}, "patient_id"),
        ({"patient": PatientAttributes("P\0")}, "patient_id"),
        ({"patient": PatientAttributes("P", issuer="\udc80")}, "issuer_of_patient_id"),
    ],
)
def test_identity_that_cannot_be_stored_unchanged_is_refused(
    database: Database, received: Received, wrong: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        record(database, received(1, **wrong))
    assert caught.value.field == field
    assert "1.1." not in str(caught.value)
    assert count(database, StudyRow) == 0


def test_descriptive_text_of_any_kind_stays_readable(database: Database, received: Received) -> None:
    hostile = "a\0b\udc80" + "x" * 20_000
    person = PatientAttributes("P1", name="N\0M", birth_date="", sex="")
    record(database, received(1, study_description=hostile, patient=person, series_description="\0"))
    with database.read() as session:
        detail = studies.study_detail(session, "1.2.3")
    assert detail is not None
    assert detail.item.study_description.startswith("a\ufffdb\ufffdxxx")
    assert detail.item.patient.name == "N\ufffdM"


def test_a_late_slice_wakes_the_series(database: Database, received: Received) -> None:
    record(database, received(1))
    with database.begin() as session:
        force_complete(session, "1.2.3", requested_by="ann")
    with database.read() as session:
        assert receiving_series(session)[0].is_forced
    record(database, received(2))
    with database.read() as session:
        assert not receiving_series(session)[0].is_forced
    assert actions(database) == ["study:received", "series:forced"]


def test_forcing_an_unknown_study_says_so(database: Database) -> None:
    with pytest.raises(UnknownRecordError, match="study"), database.begin() as session:
        force_complete(session, "9.9", requested_by="ann")


def test_the_longest_quiet_series_comes_first(database: Database, received: Received) -> None:
    record(database, received(1, series="1"))
    record(database, received(1, series="2"))
    record(database, received(2, series="1"))
    with database.read() as session:
        assert [series.series_instance_uid for series in receiving_series(session)] == ["1.2.3.2", "1.2.3.1"]


def test_the_input_digest_ignores_order_but_no_byte(database: Database, received: Received) -> None:
    for number in (3, 1, 2):
        record(database, received(number))
    with database.read() as session:
        (series,) = receiving_series(session)
        instances = series_instances(session, series.id)
        assert series_record(session, id=series.id) == series
        assert series_record(session, series_instance_uid="1.2.3.1") == series
        assert series_record(session, id="absent") is None
    assert [instance.sop_instance_uid for instance in instances] == [f"1.2.3.1.{n}" for n in (1, 2, 3)]
    digest = input_digest(instances)
    assert input_digest(reversed(instances)) == digest
    assert input_digest(instances[:2]) != digest
    assert input_digest([*instances[:2], replace(instances[2], sha256="0" * 64)]) != digest


def test_the_same_instance_from_four_senders_at_once_gives_one_row(database: Database, received: Received) -> None:
    with ThreadPoolExecutor(4) as pool:
        for number in range(1, 9):
            verdicts = list(pool.map(lambda n: record(database, received(n)), [number] * 4))
            assert sorted(verdicts) == [StoreVerdict.DUPLICATE] * 3 + [StoreVerdict.STORED]
    assert (count(database, InstanceRow), count(database, SeriesRow)) == (8, 1)
    assert count(database, StudyRow) == count(database, PatientRow) == 1
    assert actions(database) == ["study:received"]


def test_one_series_over_four_associations_loses_nothing(database: Database, received: Received) -> None:
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda n: record(database, received(n)), range(1, 61)))
    assert set(verdicts) == {StoreVerdict.STORED}
    with database.read() as session:
        (series,) = receiving_series(session)
        assert series.instance_count == len(series_instances(session, series.id)) == 60


def test_many_studies_of_one_new_patient_at_once_share_the_patient(database: Database, received: Received) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: record(database, received(1, study=f"1.2.{n}")), range(20, 36)))
    assert (count(database, PatientRow), count(database, StudyRow)) == (1, 16)


def test_two_studies_that_claim_one_series_at_once_leave_one_winner(database: Database, received: Received) -> None:
    claims = [replace(received(n, study=f"1.2.{n}"), series_instance_uid="1.7") for n in range(30, 38)]
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda instance: record(database, instance), claims))
    assert sorted(verdicts) == [StoreVerdict.STORED] + [StoreVerdict.STUDY_CONFLICT] * 7
    assert count(database, InstanceRow) == count(database, SeriesRow) == 1
