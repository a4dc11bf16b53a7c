"""Old studies without pending work are deleted without a trace of the patient; the audit trail stays complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from db.analyses import analyses, findings
from db.audit import trail as audit
from db.audit.verification import verify
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.deliveries import DeliveryStatus
from db.domain.exchange import ResultObject, RetractionCode
from db.domain.findings import NewFinding, Verdict
from db.monitoring import clock, faults
from db.monitoring.clock import Moment
from db.read_models.studies import study_detail
from db.results import deliveries
from db.results import objects as results
from db.studies.instances import series_record
from db.tables.all import METADATA
from db.tables.health import ClockRow
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.purge import Purge
from tests.support.databases import AUDIT_KEY
from tests.support.factories import CtSeries, answer_series, ct_series, index_series

CANARY = "CANARY^PHI"
DAY = timedelta(days=1)


@dataclass
class PurgeSetup:
    """A node with one answered study whose result was sent."""

    database: Database
    store: InstanceStore
    series: CtSeries
    analysis_id: str
    delivery_id: str
    came_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def purge(self, after: timedelta, **options: timedelta) -> tuple[int, int]:
        """Purge as if so much time had passed, by every clock."""
        done = Purge(self.database, self.store, 30 * DAY, clocks=lambda: self.clocks(after, after), **options).run()
        return done.study_count, done.file_count

    def clocks(self, wall: timedelta, uptime: timedelta, boot_id: str = "boot") -> Moment:
        """Clock readings so long after the study's arrival."""
        return Moment(self.came_at + wall, 1000.0 + uptime.total_seconds(), boot_id)

    def is_there(self) -> bool:
        with self.database.read() as session:
            return study_detail(session, self.series.study_instance_uid) is not None

    def everything_kept(self) -> bytes:
        """The bytes of the database's files, or, of a server, the content of every table."""
        if self.database.engine.dialect.name == "sqlite":
            return b"".join(path.read_bytes() for path in self.store.root.parent.glob("lungnode.db*"))
        with self.database.read() as session:
            tables = [session.execute(select(table)).all() for table in METADATA.sorted_tables]
        return repr(tables).encode()

    def files(self) -> list[Path]:
        return [path for path in self.store.root.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.fixture
def setup(tmp_path: Path, migrated_url: str) -> Iterator[PurgeSetup]:
    identity = SeriesIdentity(patient_name=CANARY, patient_id="CANARY-ID")
    series = ct_series(tmp_path / "sent", n=3, rows=16, identity=identity)
    database = Database(migrated_url, AUDIT_KEY)
    with InstanceStore(tmp_path / "store") as store:
        series_id = index_series(database, series, store.root)
        finding = NewFinding(series.sop_instance_uids[1], 1, 5.0, 5.0, (0.0, 0.0, 0.0), 9.0, 0.9, 0.6, (0.4, 0.8))
        analysis_id = answer_series(database, series_id, AnalysisOutcome(findings=(finding,)))
        (store.root / "results").mkdir()
        (store.root / "results" / "a.dcm").write_text(CANARY)
        result = ResultObject("sr", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.9", "2.25.8", 9801, "SR", 1, "results/a.dcm")
        with database.begin() as session:
            results.record_results(session, analysis_id, [result])
            (recorded,) = findings.findings_of_analysis(session, analysis_id)
            findings.record_assessment(session, recorded.id, Verdict.ACCEPT, "", CANARY, reader="ada")
            delivery = deliveries.request_delivery(
                session, analysis_id=analysis_id, sop_instance_uid="2.25.9", sop_class_uid=result.sop_class_uid,
                kind="sr", destination="PACS", path=result.path,
            )  # fmt: skip
            deliveries.record_delivery(session, delivery.id, DeliveryStatus.SENT)
        purge_setup = PurgeSetup(database, store, series, analysis_id, delivery.id)
        with database.begin() as session:
            assert clock.observe(session, purge_setup.clocks(timedelta(), timedelta())) is None
        yield purge_setup
        database.dispose()


def test_an_old_study_goes_with_its_files_and_leaves_no_trace_but_the_trail(setup: PurgeSetup) -> None:
    assert setup.purge(29 * DAY) == (0, 0)
    assert setup.is_there()
    assert setup.purge(31 * DAY) == (1, 0)
    assert not setup.is_there()
    assert setup.purge(32 * DAY) == (0, 4)
    assert setup.files() == []
    left = setup.everything_kept()
    assert not [word for word in (CANARY, "CANARY-ID", setup.series.study_instance_uid) if word.encode() in left]
    assert verify(setup.database).is_intact
    with setup.database.read() as session:
        actions = [entry.event.action for entry in audit.recent(session, limit=50)]
    assert actions[0] == "study:purged"
    assert {"study:received", "analysis:completed", "delivery:sent"} <= set(actions)


@pytest.mark.parametrize("status", [DeliveryStatus.PENDING, DeliveryStatus.FAILED, DeliveryStatus.SENT])
def test_what_is_not_yet_delivered_is_never_touched(setup: PurgeSetup, status: DeliveryStatus) -> None:
    retry_at = datetime.now(UTC) if status is not DeliveryStatus.FAILED else None
    with setup.database.begin() as session:
        deliveries.record_delivery(session, setup.delivery_id, status, "wait", retry_at)
    assert setup.purge(400 * DAY) == (0, 0)
    assert setup.is_there()
    with setup.database.begin() as session:
        deliveries.record_delivery(session, setup.delivery_id, DeliveryStatus.COMMITTED)
    assert setup.purge(400 * DAY) == (1, 0)


def test_a_study_that_is_to_be_analysed_again_stays(setup: PurgeSetup) -> None:
    with setup.database.begin() as session:
        detail = study_detail(session, setup.series.study_instance_uid)
        assert detail is not None
        model = detail.analyses[0].model
        analyses.request_reanalysis(session, setup.series.study_instance_uid, model, requested_by="ada")
    assert setup.purge(400 * DAY) == (0, 0)


def test_a_study_that_nothing_was_decided_of_yet_stays(setup: PurgeSetup, tmp_path: Path) -> None:
    index_series(setup.database, setup.series, setup.store.root)  # the same again, which changes nothing
    late = ct_series(
        tmp_path / "late", n=3, rows=16,
        identity=SeriesIdentity(study_instance_uid=setup.series.study_instance_uid, patient_id="CANARY-ID",
                                patient_name=CANARY, series_number=9),
    )  # fmt: skip
    index_series(setup.database, late, setup.store.root)
    assert setup.purge(400 * DAY) == (0, 0)  # no worker ran, so it was never looked at


@pytest.mark.parametrize("what", ["analysed again", "judged", "withdrawn"])
def test_a_study_that_something_happened_to_of_late_stays(setup: PurgeSetup, migrated_url: str, what: str) -> None:
    later = Database(migrated_url, AUDIT_KEY, clock=lambda: datetime.now(UTC) + 399 * DAY)
    with later.begin() as session:
        if what == "judged":
            (finding,) = findings.findings_of_analysis(session, setup.analysis_id)
            findings.record_assessment(session, finding.id, Verdict.REJECT, "", "", reader="ada")
        elif what == "withdrawn":
            results.retract(session, setup.analysis_id, RetractionCode.QUALITY, "", requested_by="ada")
        else:
            record = series_record(session, series_instance_uid=setup.series.series_instance_uid)
            assert record is not None
    if what == "analysed again":
        assert record is not None
        answer_series(later, record.id, AnalysisOutcome(), force=True)
    later.dispose()
    assert setup.purge(400 * DAY) == (0, 0)
    assert setup.purge(430 * DAY) == (1, 0)


def test_an_instance_that_is_sent_again_just_then_is_kept(setup: PurgeSetup) -> None:
    assert setup.purge(31 * DAY) == (1, 0)
    index_series(setup.database, setup.series, setup.store.root)
    for path in list(setup.store.root.glob("*.dcm"))[:1]:
        path.unlink()  # as if its file had been there when the sender named it, and was moved aside then
    removed = Purge(setup.database, setup.store, 30 * DAY)._finish(datetime.now(UTC) + 40 * DAY)
    assert removed == 3
    assert setup.is_there()
    assert len(list(setup.store.root.glob("*.dcm"))) == 3


def test_a_purge_that_is_killed_before_files_are_moved_is_finished_later(
    setup: PurgeSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Purge, "_move", lambda *_: None)
        assert setup.purge(31 * DAY) == (1, 0)
    assert setup.purge(32 * DAY) == (0, 0)
    assert setup.purge(33 * DAY) == (0, 4)
    assert setup.files() == []


@pytest.mark.parametrize(
    ("wall", "uptime", "boot_id", "is_refused", "count"),
    [
        pytest.param(370 * DAY, DAY / 24, "boot", True, 0, id="set ahead while it runs"),
        pytest.param(31 * DAY, timedelta(minutes=5), "boot", True, 0, id="set ahead by just the retention"),
        pytest.param(30.5 * DAY, 29 * DAY, "boot", True, 0, id="set ahead by more than a day in all"),
        pytest.param(-370 * DAY, DAY, "boot", True, 0, id="set back while it runs"),
        pytest.param(370 * DAY, timedelta(minutes=1), "next", True, 0, id="ahead after a restart of the machine"),
        pytest.param(31 * DAY, timedelta(minutes=1), "next", True, 0, id="off for a month"),
        pytest.param(-370 * DAY, timedelta(minutes=1), "next", True, 0, id="back after a restart of the machine"),
        pytest.param(370 * DAY, DAY, "", True, 0, id="ahead, and no uptime to compare with"),
        pytest.param(6 * DAY, timedelta(minutes=1), "next", False, 0, id="off for some days"),
        pytest.param(DAY + timedelta(minutes=50), DAY, "boot", False, 0, id="corrected by NTP"),
        pytest.param(DAY - timedelta(minutes=50), DAY, "boot", False, 0, id="set back a little"),
        pytest.param(29 * DAY, 29 * DAY, "boot", False, 0, id="29 days that passed"),
        pytest.param(31 * DAY, 31 * DAY, "boot", False, 1, id="31 days that passed"),
        pytest.param(370 * DAY, 370 * DAY, "boot", False, 1, id="370 days that passed"),
    ],
)
def test_a_clock_that_was_set_removes_nothing(
    setup: PurgeSetup, wall: timedelta, uptime: timedelta, boot_id: str, is_refused: bool, count: int
) -> None:
    purge = Purge(setup.database, setup.store, 30 * DAY, clocks=lambda: setup.clocks(wall, uptime, boot_id))
    done = purge.run()
    assert (done.study_count, done.clock_jump is not None) == (count, is_refused)
    assert setup.is_there() == (count == 0)
    with setup.database.read() as session:
        assert faults.counts(session)[faults.CLOCK] == is_refused
    if is_refused:
        right = Purge(setup.database, setup.store, 30 * DAY, clocks=lambda: setup.clocks(2 * DAY, 2 * DAY))
        assert right.run().clock_jump is None, "a clock that is right again is trusted"
        with setup.database.read() as session:
            assert not faults.counts(session)[faults.CLOCK]


def test_a_person_may_say_that_the_clock_is_right(setup: PurgeSetup) -> None:
    ahead = setup.clocks(60 * DAY, timedelta(minutes=1), "next")
    purge = Purge(setup.database, setup.store, 30 * DAY, clocks=lambda: ahead)
    assert purge.run().clock_jump == 60 * DAY
    with setup.database.begin() as session:
        clock.accept(session, ahead, accepted_by="ada")
    assert purge.run().study_count == 1
    with setup.database.read() as session:
        actions = [entry.event.action for entry in audit.recent(session, limit=50)]
    assert {"fault:clock", "clock:accepted", "fault:mended"} <= set(actions)


def test_without_a_record_the_newest_arrival_is_what_the_clock_is_held_against(setup: PurgeSetup) -> None:
    with setup.database.begin() as session:
        session.execute(delete(ClockRow))
    for wall, is_refused in ((370 * DAY, True), (-2 * DAY, True), (91 * DAY, True), (29 * DAY, False)):
        moment = setup.clocks(wall, DAY, "first")
        purge = Purge(setup.database, setup.store, 30 * DAY, clocks=lambda moment=moment: moment)  # type: ignore[misc]
        assert (purge.run().clock_jump is not None) == is_refused
    assert setup.is_there()


def test_short_retention_bears_small_jumps_only(setup: PurgeSetup) -> None:
    ahead = setup.clocks(timedelta(hours=3), timedelta(0))
    assert Purge(setup.database, setup.store, DAY, clocks=lambda: ahead).run().clock_jump == timedelta(hours=3)
    assert Purge(setup.database, setup.store, 30 * DAY, clocks=lambda: ahead).run().clock_jump is None


def test_the_clocks_of_this_machine_can_be_read() -> None:
    first, second = clock.read_clocks(), clock.read_clocks()
    assert second.uptime_s >= first.uptime_s > 0
    assert first.boot_id == second.boot_id != ""
    assert abs(datetime.now(UTC) - first.wall) < timedelta(minutes=10)
