"""Earlier chest CT is fetched from a real archive, counted, stored and not analysed unless someone asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import select

from db.analyses import analyses
from db.database import Database
from db.domain.exchange import PriorSearch, PriorStatus
from db.domain.studies import StudyState
from db.intake import priors
from db.read_models import studies
from db.studies.instances import series_record
from db.tables.exchange import PriorStudyRow
from dicom_node.client.peer import RemoteNode, ScuTimeouts
from dicom_node.client.priors import PriorFetcher, PriorSource, chest_series, earlier_studies
from dicom_node.client.query_client import QueryConnection, SeriesMatch, StudyMatch
from dicom_node.client.query_keys import QueryError
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.intake.instance_intake import Announced, Intake, Sender
from dicom_node.jobs.worker import Worker, WorkerConfig
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.services.commitment_service import CommitmentService
from dicom_node.services.query_service import QueryService
from dicom_node.services.retrieve_service import RetrieveService
from dicom_node.services.storage_service import PortServices, start_listener
from dicom_node.storage.instance_store import InstanceStore
from tests.support.databases import AUDIT_KEY
from tests.support.factories import MODEL, CtSeries, Defects, ct_series, sqlite_database
from tests.support.intake import receive_instance

TIMEOUTS = ScuTimeouts(10, 30, 120)


@dataclass
class Two:
    """Our node, and an archive (a second node) that may send to it."""

    ours: Database
    archive: RemoteNode
    archived: dict[str, CtSeries]
    listener: Listener

    def fetcher(self, **source: Any) -> PriorFetcher:
        asked = PriorSource(self.archive, **{"count": 1, **source})
        return PriorFetcher(self.ours, "LUNGNODE", [asked], timeouts=TIMEOUTS)


def chest(folder: Path, name: str, date: str, patient: str = "P1", description: str = "CT Thorax") -> CtSeries:
    identity = SeriesIdentity(patient_name="A^B", patient_id=patient, study_description=description, uid_seed=name)

    def dated(ds: Any, _index: int) -> None:
        ds.StudyDate = date

    return ct_series(folder / name, n=12, rows=16, identity=identity, defects=Defects(alter=dated))


def take(intake: Intake, series: CtSeries) -> None:
    for path in series.paths:
        ds = dcmread(path)
        content = path.read_bytes()
        announced = Announced(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.file_meta.TransferSyntaxUID))
        _, start = read_file_meta(content)
        assert receive_instance(intake, announced, content[start:], Sender("MODALITY", "127.0.0.1")).is_stored


@pytest.fixture
def two(tmp_path: Path, migrated_url: str) -> Iterator[Two]:
    ours, theirs = Database(migrated_url, AUDIT_KEY), sqlite_database(tmp_path / "theirs")
    with InstanceStore(tmp_path / "ours" / "store") as store, InstanceStore(tmp_path / "theirs" / "store") as archive:
        intake = Intake(store, ours)
        listener = start_listener(ListenerSettings(port=0), intake)
        nodes = {"LUNGNODE": RemoteNode("LUNGNODE", "127.0.0.1", listener.port)}
        services = PortServices(
            QueryService(theirs, "PACS"), RetrieveService(theirs, archive, "PACS", nodes),
            CommitmentService(theirs, archive, "PACS", nodes),
        )  # fmt: skip
        their_intake = Intake(archive, theirs)
        pacs = start_listener(ListenerSettings(port=0, ae_title="PACS"), their_intake, services)
        archived = {
            "old": chest(tmp_path, "old", "20230101"),
            "older": chest(tmp_path, "older", "20200101"),
            "knee": chest(tmp_path, "knee", "20240101", description="CT Knee"),
            "other": chest(tmp_path, "other", "20230101", patient="P2"),
        }
        for series in archived.values():
            take(their_intake, series)
        take(intake, chest(tmp_path, "new", "20250101"))
        try:
            yield Two(ours, RemoteNode("PACS", "127.0.0.1", pacs.port), archived, listener)
        finally:
            listener.stop()
            pacs.stop()
            ours.dispose()
            theirs.dispose()


def test_the_latest_earlier_chest_ct_is_fetched_counted_and_not_analysed(two: Two) -> None:
    two.fetcher().run_due()
    old = two.archived["old"]
    with two.ours.read() as session:
        detail = studies.study_detail(session, old.study_instance_uid)
        left = [two.archived[name].study_instance_uid for name in ("older", "knee", "other")]
        others = [studies.study_detail(session, uid) for uid in left]
        assert detail is not None
        assert others == [None, None, None]
        assert priors.due_priors(session, "PACS", now=datetime.now(UTC) + timedelta(days=9)) == ()
        receiving = series_record(session, series_instance_uid=old.series_instance_uid)
    assert detail.item.instance_count == 12
    assert receiving is not None
    asked: list[object] = []

    def answer(analysis: object, _due: object) -> str:
        asked.append(analysis)
        return ""

    worker = Worker(two.ours, MODEL, answer, deliver_due=lambda: None, config=WorkerConfig(quiet_s=0.0))
    worker.poll()
    with two.ours.read() as session:
        record = series_record(session, id=receiving.id)
    assert record is not None
    assert (record.state, [reason.code for reason in record.reasons]) == (StudyState.NOT_ANALYSED, ["prior"])
    assert len(asked) == 1  # the new study
    with two.ours.begin() as session:
        assert analyses.request_reanalysis(session, old.study_instance_uid, MODEL, requested_by="ada")


def test_nothing_is_asked_out_of_hours(two: Two) -> None:
    now = datetime.now().astimezone().hour
    two.fetcher(hours=((now + 2) % 24, (now + 3) % 24)).run_due()
    with two.ours.read() as session:
        assert priors.needs_searches(session, "PACS")


@pytest.mark.parametrize(
    ("hours", "open_at"),
    [((8, 10), {8, 9}), ((22, 2), {22, 23, 0, 1}), ((23, 24), {23}), ((0, 24), set(range(24)))],
)
def test_hours_may_go_over_midnight(hours: tuple[int, int], open_at: set[int]) -> None:
    source = PriorSource(RemoteNode("PACS", "127.0.0.1", 1), 1, hours)
    noon = datetime(2026, 3, 1, 12).astimezone()
    assert {hour for hour in range(24) if source.is_open(noon.replace(hour=hour, minute=59))} == open_at


def test_what_is_not_fetched_when_the_hours_end_waits_for_the_next_ones(two: Two) -> None:
    def clock() -> datetime:
        with two.ours.read() as session:  # found what to fetch, it is over
            is_over = session.scalars(select(PriorStudyRow)).first() is not None
        return datetime.now(UTC) + timedelta(hours=3 * is_over)

    first = datetime.now().astimezone().hour
    source = PriorSource(two.archive, 1, (first, (first + 2) % 24))  # an hour may end meanwhile
    PriorFetcher(two.ours, "LUNGNODE", [source], timeouts=TIMEOUTS, clock=clock).run_due()
    with two.ours.read() as session:
        (waiting,) = priors.due_priors(session, "PACS", now=datetime.now(UTC))
        assert studies.study_detail(session, two.archived["old"].study_instance_uid) is None
    assert waiting.attempts == 0


def test_a_pacs_that_is_away_is_asked_again_later(two: Two) -> None:
    away = replace(two.archive, port=1)
    PriorFetcher(two.ours, "LUNGNODE", [PriorSource(away, 1)], timeouts=TIMEOUTS).run_due()
    with two.ours.read() as session:
        now = datetime.now(UTC)
        assert priors.due_searches(session, "PACS", now=now) == ()
        (search,) = priors.due_searches(session, "PACS", now=now + timedelta(minutes=2))
    assert search.attempts == 1


def test_a_study_that_the_pacs_cannot_answer_for_holds_up_no_other(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, real, asked = two.archived["old"].study_instance_uid, QueryConnection.find_series, []

    def find_series(connection: QueryConnection, uid: str) -> list[SeriesMatch]:
        asked.append(uid)
        if uid == broken and asked.count(uid) > 1:  # it was found, and then cannot be fetched
            raise QueryError("the PACS broke off the query")
        return real(connection, uid)

    monkeypatch.setattr(QueryConnection, "find_series", find_series)
    fetcher = two.fetcher(count=2)
    fetcher.run_due()
    fetcher.run_due()
    with two.ours.read() as session:
        rows = {row.study_instance_uid: row for row in session.scalars(select(PriorStudyRow))}
        (short,) = priors.shortfalls(session)
    older = rows[two.archived["older"].study_instance_uid]
    assert (older.status, older.received_count) == (PriorStatus.DONE, 12)
    assert (rows[broken].status, rows[broken].attempts) == (PriorStatus.PENDING, 1)
    assert (short.expected_count, short.received_count, short.reason) == (12, 0, "the PACS broke off the query")


def test_instances_that_do_not_arrive_are_reported(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.client.priors.MAX_ATTEMPTS", 1)
    two.listener.stop()
    two.fetcher().run_due()
    with two.ours.read() as session:
        (row,) = session.scalars(select(PriorStudyRow)).all()
    assert (row.status, row.expected_count, row.received_count) == (PriorStatus.FAILED, 12, 0)
    assert row.reason.startswith("0 of 12 instances arrived: it does not know LUNGNODE as a destination")


SEARCH = PriorSearch("s", "1.2.3", "PACS", PriorStatus.PENDING, 0, "P1", "19500101", "20250101")


@pytest.mark.parametrize(
    ("changes", "is_chosen"),
    [
        ({}, True),
        ({"patient_id": "P2"}, False),
        ({"birth_date": "19500102"}, False),
        ({"birth_date": ""}, True),
        ({"study_date": "20250101"}, False),
        ({"study_date": ""}, False),
        ({"study_instance_uid": "1.2.3"}, False),
        ({"study_instance_uid": "../x"}, False),
        ({"modalities": ("MR",)}, False),
        ({"modalities": ("",)}, True),
    ],
)
def test_only_earlier_ct_of_the_same_patient_is_chosen(changes: dict[str, Any], is_chosen: bool) -> None:
    study = replace(StudyMatch("1.2.4", "20240101", "CT Chest", "P1", "19500101", ("CT",)), **changes)
    assert earlier_studies(SEARCH, [study]) == ([study] if is_chosen else [])


@pytest.mark.parametrize(
    ("description", "body_part", "modality", "is_chosen"),
    [
        ("CT Thorax", "", "CT", True),
        ("", "CHEST", "CT", True),
        ("", "", "CT", True),
        ("CT Knee", "KNEE", "CT", False),
        ("CT Thorax", "CHEST", "PT", False),
    ],
)
def test_only_ct_of_the_chest_is_chosen(description: str, body_part: str, modality: str, is_chosen: bool) -> None:
    study = StudyMatch("1.2.4", "20240101", description, "P1", "", ("CT",))
    series = SeriesMatch("1.2.5", modality, "", body_part, 3)
    assert chest_series(study, [series]) == ([series] if is_chosen else [])
