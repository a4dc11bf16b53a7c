"""Results reach real nodes, once they are due; what a node answers is what the records say."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, build_context, build_role, evt

from benchmarks.receivers import path_without_ours
from db.analyses import analyses, findings
from db.archive.index import instances
from db.audit.trail import recent
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.deliveries import DeliveryRecord, DeliveryStatus
from db.domain.findings import NewFinding
from db.domain.reasons import Reason
from db.monitoring import faults
from db.read_models import studies
from db.results import deliveries
from db.results import failures as result_failures
from db.results.objects import results_of_analysis
from dicom_node.client.peer import RemoteNode, ScuTimeouts, echo
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.encoding.commitment_messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    record_report,
    report_handler,
)
from dicom_node.encoding.commitment_messages import CommitmentReport as Report
from dicom_node.intake.instance_intake import Intake
from dicom_node.port.listener import ListenerSettings
from dicom_node.query_models import STUDY_ROOT_FIND
from dicom_node.results.delivery import DeliveryConfig, DeliveryRound, RetryPolicy, deliver_due
from dicom_node.results.objects import ReportSettings, ResultMaker
from dicom_node.sandbox.decode_process import DecodeLimits
from dicom_node.services.retrieve_service import RetrieveService
from dicom_node.services.storage_service import start_listener
from dicom_node.storage.files import LocalFiles
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.integrity import Integrity, report
from lungnode.adapters.archive_files import ArchiveFiles
from lungnode.commands.store import examine
from tests.support.factories import CtSeries, SimpleNodule, answer_series, ct_series, index_series, sqlite_database
from tests.support.service import held_port
from webapp.http.errors import UnfitInputError

STATION = "LUNGNODE"
TIMEOUTS = ScuTimeouts(connect_s=5, association_s=10, response_s=20)


@dataclass
class Pacs:
    """A storage SCP with configurable answers that may commit what it has."""

    ae_title: str = "PACS"
    classes: tuple[str, ...] = (
        Comprehensive3DSRStorage,
        SecondaryCaptureImageStorage,
        GrayscaleSoftcopyPresentationStateStorage,
    )
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    status: Callable[[str], int] = lambda _sop_class_uid: 0x0000
    commits: bool = False
    loses: frozenset[str] = frozenset()
    """SOP classes that it took but will not commit."""
    lists: frozenset[str] = frozenset()
    """SOP Instance UIDs that it lists when it is queried; it answers no queries where there are none."""
    port: int = 0
    received: list[Dataset] = field(default_factory=list)
    associations: int = 0

    @property
    def node(self) -> RemoteNode:
        return RemoteNode(self.ae_title, "127.0.0.1", self.port, self.commits)

    def on_store(self, event: Any) -> int:
        code = self.status(str(event.request.AffectedSOPClassUID))
        if code == 0x0000:
            ds = event.dataset
            ds.file_meta = event.file_meta
            self.received.append(ds)
        return code

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        assert asked.QueryRetrieveLevel == "IMAGE"
        if asked.SOPInstanceUID in self.lists:
            yield 0xFF00, asked

    def on_accepted(self, _event: Any) -> None:
        self.associations += 1

    def on_action(self, event: Any) -> tuple[int, None]:
        request = event.action_information
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        report.ReferencedSOPSequence, report.FailedSOPSequence = [], []
        for item in request.ReferencedSOPSequence:
            if item.ReferencedSOPClassUID in self.loses:
                item.FailureReason = 0x0112
                report.FailedSOPSequence.append(item)
            else:
                report.ReferencedSOPSequence.append(item)
        self._pending_report = report
        return 0x0000, None

    def on_action_done(self, event: Any) -> None:
        """The report follows on the same association once the response to the request is out."""
        report = getattr(self, "_pending_report", None)
        if report is None:
            return
        del self._pending_report
        event_type = 2 if report.FailedSOPSequence else 1
        event.assoc.send_n_event_report(report, event_type, COMMITMENT_CLASS, COMMITMENT_INSTANCE)


@contextmanager
def running(pacs: Pacs) -> Iterator[Pacs]:
    ae = AE(pacs.ae_title)
    for uid in pacs.classes:
        ae.add_supported_context(uid, list(pacs.syntaxes))
    ae.add_supported_context("1.2.840.10008.1.1")
    handlers: list[tuple[Any, ...]] = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_ACCEPTED, pacs.on_accepted)]
    if pacs.lists:
        ae.add_supported_context(STUDY_ROOT_FIND)
        handlers.append((evt.EVT_C_FIND, pacs.on_find))
    if pacs.commits:
        ae.add_supported_context(COMMITMENT_CLASS)
        handlers += [(evt.EVT_N_ACTION, pacs.on_action), (evt.EVT_DIMSE_SENT, _after_response(pacs))]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        pacs.port = server.server_address[1]
        yield pacs
    finally:
        server.shutdown()


def _after_response(pacs: Pacs) -> Callable[[Any], None]:
    def handle(event: Any) -> None:
        if type(event.message).__name__ == "N_ACTION_RSP":
            import threading

            threading.Thread(target=pacs.on_action_done, args=(event,), daemon=True).start()

    return handle


@dataclass
class DeliverySetup:
    """A database, its store, and an analysed series with its results made."""

    database: Database
    store: Path
    series: CtSeries
    analysis_id: str

    def results(self, *destinations: str) -> tuple[DeliveryRecord, ...]:
        settings = ReportSettings(STATION, "0.1.0", destinations, {"temperature": "1.2"})
        return ResultMaker(self.database, LocalFiles(self.store), settings).make(self.analysis_id)

    def deliver(self, *nodes: RemoteNode, **options: Any) -> DeliveryRound:
        clock = options.pop("clock", lambda: datetime.now(UTC))
        config = DeliveryConfig(STATION, nodes, timeouts=TIMEOUTS, commitment_wait_s=5, **options)
        return deliver_due(self.database, LocalFiles(self.store), config, clock=clock)

    def records(self) -> dict[tuple[str, str], DeliveryRecord]:
        with self.database.read() as session:
            detail = studies.study_detail(session, self.series.study_instance_uid)
        assert detail is not None
        return {(record.kind, record.destination): record for record in detail.deliveries}

    def statuses(self) -> dict[tuple[str, str], str]:
        return {key: record.status.value for key, record in self.records().items()}


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an analysed series whose results are made: making them takes seconds, copying them does not."""
    folder = tmp_path_factory.mktemp("made")
    nodule = SimpleNodule((6.0, 20.0, 14.0), 14.0)
    series = ct_series(folder / "series", n=12, rows=40, nodules=(nodule,))
    database = sqlite_database(folder)
    series_id = index_series(database, series, folder / "store")
    finding = NewFinding(
        series.sop_instance_uids[6], 1, 20.0, 14.0, series.position_mm(nodule.index), 14.0, 0.97, 0.67, (0.45, 0.82)
    )
    analysis_id = answer_series(database, series_id, AnalysisOutcome(findings=(finding,)))
    DeliverySetup(database, folder / "store", series, analysis_id).results()
    database.dispose()
    (folder / "analysis").write_text(analysis_id)
    return folder


@pytest.fixture
def setup(results_folder: Path, tmp_path: Path) -> Iterator[DeliverySetup]:
    folder = tmp_path / "home"
    shutil.copytree(results_folder, folder)
    series = ct_series(tmp_path / "again", n=12, rows=40, nodules=(SimpleNodule((6.0, 20.0, 14.0), 14.0),))
    database = sqlite_database(folder)
    yield DeliverySetup(database, folder / "store", series, (folder / "analysis").read_text())
    database.dispose()


def test_results_arrive_whole_in_the_same_study(setup: DeliverySetup) -> None:
    with running(Pacs()) as pacs:
        requested = setup.results("PACS")
        assert [record.kind for record in requested] == ["sr", "sc", "pr"]
        assert {record.status.value for record in requested} == {"pending"}
        assert setup.deliver(pacs.node) == DeliveryRound(sent=3)
    assert {ds.SOPClassUID for ds in pacs.received} == set(pacs.classes)
    assert {ds.StudyInstanceUID for ds in pacs.received} == {setup.series.study_instance_uid}
    assert pacs.associations == 1
    for ds in pacs.received:
        path = next(r.path for r in setup.records().values() if r.sop_instance_uid == ds.SOPInstanceUID)
        assert dcmread(setup.store / path) == ds
    assert set(setup.statuses().values()) == {"sent"}
    assert setup.deliver(pacs.node) == DeliveryRound()


def test_asking_again_makes_and_sends_nothing_again(setup: DeliverySetup) -> None:
    with running(Pacs()) as pacs:
        first = setup.results("PACS")
        files = {path: path.stat().st_mtime_ns for path in (setup.store / "results").rglob("*.dcm")}
        setup.deliver(pacs.node)
        assert [record.id for record in setup.results("PACS")] == [record.id for record in first]
        assert setup.deliver(pacs.node) == DeliveryRound()
        assert {path: path.stat().st_mtime_ns for path in files} == files
        assert len(files) == len(pacs.received) == 3


def test_without_a_destination_results_are_made_and_sent_once_there_is_one(setup: DeliverySetup) -> None:
    assert setup.results() == ()
    assert len(list((setup.store / "results").rglob("*.dcm"))) == 3
    with running(Pacs()) as pacs:
        assert len(setup.results("PACS")) == 3
        assert setup.deliver(pacs.node).sent == 3


def test_a_superseded_analysis_is_not_reported_and_its_successor_gets_objects_of_its_own(setup: DeliverySetup) -> None:
    old = {record.sop_instance_uid for record in setup.results("PACS")}
    with setup.database.read() as session:
        record = analyses.analysis_record(session, setup.analysis_id)
    assert record is not None
    renewed = answer_series(setup.database, record.series_id, AnalysisOutcome(), force=True)
    assert setup.results("PACS") == ()
    setup.analysis_id = renewed
    assert not old & {record.sop_instance_uid for record in setup.results("PACS")}


def test_reasons_go_into_the_report_of_a_series_that_was_not_analysed(setup: DeliverySetup) -> None:
    with setup.database.read() as session:
        record = analyses.analysis_record(session, setup.analysis_id)
    assert record is not None
    outcome = AnalysisOutcome(reasons=(Reason("too_few_slices", "The series has too few slices."),))
    setup.analysis_id = answer_series(setup.database, record.series_id, outcome, force=True)
    sr = dcmread(setup.store / setup.results("PACS")[0].path)
    assert "The series has too few slices." in str(sr)
    assert "No algorithms succeeded; without findings" in str(sr)


def test_a_node_gets_the_formats_that_it_negotiates(setup: DeliverySetup) -> None:
    with running(Pacs(classes=(SecondaryCaptureImageStorage,))) as pacs:
        setup.results("PACS")
        assert setup.deliver(pacs.node) == DeliveryRound(sent=1, declined=2)
        assert setup.deliver(pacs.node) == DeliveryRound()
    assert setup.statuses() == {("sr", "PACS"): "declined", ("sc", "PACS"): "sent", ("pr", "PACS"): "declined"}
    assert setup.records()["sr", "PACS"].reason == "the node does not accept Comprehensive 3D SR Storage"
    with setup.database.begin() as session:
        assert deliveries.dead_letters(session) == ()
        deliveries.resend(session, setup.records()["sr", "PACS"].id, requested_by="ada")
    with running(Pacs()) as pacs:
        assert setup.deliver(pacs.node) == DeliveryRound(sent=1)


def test_a_node_that_takes_none_of_our_formats_is_a_failure(setup: DeliverySetup) -> None:
    with running(Pacs(classes=("1.2.840.10008.5.1.4.1.1.2",))) as pacs:
        setup.results("PACS")
        assert setup.deliver(pacs.node) == DeliveryRound(failed=3)


def test_a_node_that_speaks_implicit_only_gets_implicit(setup: DeliverySetup) -> None:
    with running(Pacs(syntaxes=(ImplicitVRLittleEndian,))) as pacs:
        setup.results("PACS")
        assert setup.deliver(pacs.node).sent == 3
    assert {ds.file_meta.TransferSyntaxUID for ds in pacs.received} == {ImplicitVRLittleEndian}


@pytest.mark.parametrize(("code", "status"), [(0xA700, "pending"), (0xC123, "failed"), (0xB000, "sent")])
def test_what_the_node_answers_decides(setup: DeliverySetup, code: int, status: str) -> None:
    with running(Pacs(status=lambda _uid: code)) as pacs:
        setup.results("PACS")
        setup.deliver(pacs.node)
    assert set(setup.statuses().values()) == {status}
    assert all(f"0x{code:04X}" in record.reason for record in setup.records().values())


@pytest.fixture
def port() -> Iterator[int]:
    """A port without a listener."""
    with held_port() as held:
        yield held


def test_an_unreachable_node_is_retried_with_growing_pauses_and_then_fails(setup: DeliverySetup, port: int) -> None:
    away = RemoteNode("PACS", "127.0.0.1", port)
    setup.results("PACS")
    now = datetime.now(UTC) + timedelta(seconds=1)
    policy = RetryPolicy(first_s=60, longest_s=100, max_attempts=3)
    assert setup.deliver(away, retry=policy, clock=lambda: now) == DeliveryRound(retried=3)
    first = setup.records()["sr", "PACS"]
    assert first.next_attempt_at == now + timedelta(seconds=60)
    assert first.reason == "no response at its address"
    assert setup.deliver(away, retry=policy, clock=lambda: now + timedelta(seconds=59)) == DeliveryRound()
    later = now + timedelta(seconds=61)
    assert setup.deliver(away, retry=policy, clock=lambda: later) == DeliveryRound(retried=3)
    assert setup.records()["sr", "PACS"].next_attempt_at == later + timedelta(seconds=100)
    last = later + timedelta(seconds=101)
    assert setup.deliver(away, retry=policy, clock=lambda: last) == DeliveryRound(failed=3)
    assert setup.records()["sr", "PACS"].reason.startswith("failed after 3 attempts")
    assert setup.records()["sr", "PACS"].attempts == 3


def test_a_node_that_comes_back_gets_what_waited(setup: DeliverySetup, port: int) -> None:
    setup.results("PACS")
    setup.deliver(RemoteNode("PACS", "127.0.0.1", port))
    with running(Pacs()) as pacs:
        later = datetime.now(UTC) + timedelta(hours=2)
        assert setup.deliver(pacs.node, clock=lambda: later).sent == 3


def test_a_node_that_rejects_our_title_is_named(setup: DeliverySetup) -> None:
    ae = AE("PACS")
    ae.require_calling_aet = ["SOMEONE"]
    ae.add_supported_context(SecondaryCaptureImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    try:
        setup.results("PACS")
        setup.deliver(RemoteNode("PACS", "127.0.0.1", server.server_address[1]))
    finally:
        server.shutdown()
    assert "rejected the association" in setup.records()["sc", "PACS"].reason
    assert setup.records()["sc", "PACS"].status is DeliveryStatus.PENDING


def test_a_node_that_hangs_holds_up_no_other(setup: DeliverySetup) -> None:
    with socket.socket() as silent, running(Pacs("OTHER")) as pacs:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        setup.results("SILENT", "OTHER")
        hanging = RemoteNode("SILENT", "127.0.0.1", silent.getsockname()[1])
        config = DeliveryConfig(STATION, (hanging, pacs.node), timeouts=ScuTimeouts(5, 5, 5))
        assert deliver_due(setup.database, LocalFiles(setup.store), config) == DeliveryRound(sent=3, retried=3)
    assert setup.records()["sr", "SILENT"].reason == "the node does not answer or ended the association"


def test_nothing_is_ever_sent_to_ourselves(setup: DeliverySetup) -> None:
    assert setup.results(STATION) == ()
    with running(Pacs("MIRROR")) as pacs:
        setup.results("MIRROR", "GONE")
        ended = setup.deliver(pacs.node, own_address=("127.0.0.1", pacs.port))
    assert ended == DeliveryRound(failed=6)
    assert setup.records()["sr", "MIRROR"].reason == "this destination is this node itself"
    assert setup.records()["sr", "GONE"].reason == "this destination is no longer configured"
    assert pacs.received == []


def test_a_result_that_comes_back_is_never_taken_for_analysis(setup: DeliverySetup, tmp_path: Path) -> None:
    other = sqlite_database(tmp_path / "other")
    with InstanceStore(tmp_path / "other" / "store") as store:
        listener = start_listener(ListenerSettings(port=0, ae_title="OTHERNODE"), Intake(store, other))
        try:
            setup.results("OTHERNODE")
            ended = setup.deliver(RemoteNode("OTHERNODE", "127.0.0.1", listener.port))
        finally:
            listener.stop()
    assert ended == DeliveryRound(failed=3)
    assert setup.records()["sc", "OTHERNODE"].reason == "the node refused it (0x0122)"
    assert list((tmp_path / "other" / "store").rglob("*.dcm")) == []
    other.dispose()


def test_a_result_file_that_is_gone_is_a_failure_with_its_reason(setup: DeliverySetup) -> None:
    (setup.store / setup.results("PACS")[0].path).unlink()
    with running(Pacs()) as pacs:
        assert setup.deliver(pacs.node) == DeliveryRound(sent=2, failed=1)
    assert "gone or damaged" in setup.records()["sr", "PACS"].reason


def test_a_commitment_on_the_same_association_is_recorded(setup: DeliverySetup) -> None:
    with running(Pacs(commits=True)) as pacs:
        setup.results("PACS")
        assert setup.deliver(pacs.node) == DeliveryRound(sent=3, committed=3)
    assert set(setup.statuses().values()) == {"committed"}


def test_what_the_node_lost_is_sent_again(setup: DeliverySetup) -> None:
    with running(Pacs(commits=True, loses=frozenset({Comprehensive3DSRStorage}))) as pacs:
        setup.results("PACS")
        assert setup.deliver(pacs.node) == DeliveryRound(sent=3, committed=2)
        assert setup.statuses()["sr", "PACS"] == "pending"
        assert [*setup.statuses().values()].count("committed") == 2
        assert setup.records()["sr", "PACS"].reason == "not committed: no such object instance"
        pacs.loses = frozenset()
        assert setup.deliver(pacs.node) == DeliveryRound(sent=1, committed=1)
    assert set(setup.statuses().values()) == {"committed"}


def test_a_node_without_commitment_leaves_the_objects_sent(setup: DeliverySetup) -> None:
    with running(Pacs()) as pacs:
        setup.results("PACS")
        node = replace(pacs.node, storage_commitment=True)
        assert setup.deliver(node) == DeliveryRound(sent=3)


def test_a_commitment_may_come_later_on_an_association_of_the_node(setup: DeliverySetup) -> None:
    with running(Pacs()) as pacs:
        setup.results("PACS")
        setup.deliver(pacs.node)
    with InstanceStore(setup.store) as store:
        listener = start_listener(ListenerSettings(port=0, ae_title=STATION), Intake(store, setup.database))
        try:
            context = build_context(COMMITMENT_CLASS)
            context.scu_role = context.scp_role = True
            listener.server.contexts.append(context)
            listener.server.bind(evt.EVT_N_EVENT_REPORT, report_handler(setup.database, ["PACS"]))
            assert _report(listener.port, "STRANGER", setup) == 0x0124
            assert set(setup.statuses().values()) == {"sent"}
            assert _report(listener.port, "PACS", setup) == 0x0000
        finally:
            listener.stop()
    assert set(setup.statuses().values()) == {"committed"}


def _report(port: int, ae_title: str, setup: DeliverySetup) -> int:
    ae = RequestingEntity(ae_title)
    ae.add_requested_context(COMMITMENT_CLASS)
    role = build_role(COMMITMENT_CLASS, scp_role=True)
    association = ae.associate("127.0.0.1", port, ae_title=STATION, ext_neg=[role])
    assert association.is_established
    information = Dataset()
    information.TransactionUID = "2.25.77"
    information.ReferencedSOPSequence = []
    for record in setup.records().values():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = record.sop_class_uid, record.sop_instance_uid
        information.ReferencedSOPSequence.append(item)
    status, _ = association.send_n_event_report(information, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
    association.release()
    return int(status.Status)


def test_a_report_about_unknown_objects_changes_nothing(setup: DeliverySetup) -> None:
    assert record_report(setup.database, "PACS", Report("2.25.1", ("2.25.2",), {"2.25.3": "resource limitation"})) == 0


def test_without_a_report_the_node_is_asked_whether_it_lists_the_object(setup: DeliverySetup) -> None:
    with running(Pacs()) as pacs:
        setup.results("PACS")
        node = replace(pacs.node, storage_commitment=True)
        setup.deliver(node)
        soon = datetime.now(UTC) + timedelta(seconds=61)
        assert setup.deliver(node, clock=lambda: soon) == DeliveryRound()
        assert setup.records()["sr", "PACS"].reason == "no commitment report came, and the node answers no queries"
        pacs.lists = frozenset(ds.SOPInstanceUID for ds in pacs.received if ds.Modality == "SR")
    with running(pacs):
        later = datetime.now(UTC) + timedelta(seconds=301)
        node = replace(pacs.node, storage_commitment=True)
        assert setup.deliver(node, clock=lambda: later) == DeliveryRound(committed=1)
        assert setup.statuses() == {("sr", "PACS"): "committed", ("sc", "PACS"): "sent", ("pr", "PACS"): "sent"}
        last = datetime.now(UTC) + timedelta(days=1)
        assert setup.deliver(node, clock=lambda: last) == DeliveryRound()
        assert setup.records()["sc", "PACS"].next_attempt_at is None
        assert "does not list it" in setup.records()["sc", "PACS"].reason
        with setup.database.read() as session:
            assert deliveries.uncommitted_count(session, datetime.now(UTC) - timedelta(days=1)) == 2
            assert deliveries.uncommitted_count(session, datetime.now(UTC) + timedelta(days=1)) == 0


def test_the_audit_trail_records_every_attempt(setup: DeliverySetup) -> None:
    with running(Pacs(status=lambda uid: 0xA700 if uid == Comprehensive3DSRStorage else 0)) as pacs:
        setup.results("PACS")
        setup.deliver(pacs.node)
    with setup.database.read() as session:
        actions = [entry.event.action for entry in recent(session, limit=20)]
    assert actions.count("delivery:requested") == 3
    assert "delivery:sent" in actions
    assert "delivery:retried" in actions


def test_a_delivery_that_is_killed_is_finished_by_the_next(setup: DeliverySetup, tmp_path: Path) -> None:
    """Killed after the node has stored an object and before that is recorded: sent again, harmlessly."""
    code = """
import os, sys
from pathlib import Path
from dicom_node.results.delivery import DeliveryConfig, deliver_due
from dicom_node.storage.files import LocalFiles
from dicom_node.client.peer import RemoteNode
from db.results import deliveries
from db.database import Database
deliveries.record_delivery = lambda *a, **k: os.kill(os.getpid(), 9)
database = Database(sys.argv[1], bytes(range(32)))
config = DeliveryConfig("LUNGNODE", (RemoteNode("PACS", "127.0.0.1", int(sys.argv[3])),))
deliver_due(database, LocalFiles(Path(sys.argv[2])), config)
"""
    with running(Pacs()) as pacs:
        setup.results("PACS")
        command = [sys.executable, "-c", code, setup.database.url, str(setup.store), str(pacs.port)]
        killed = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, timeout=60)
        assert killed.returncode == -9
        assert set(setup.statuses().values()) == {"pending"}
        assert setup.deliver(pacs.node) == DeliveryRound(sent=3)
    assert set(setup.statuses().values()) == {"sent"}
    uids = [ds.SOPInstanceUID for ds in pacs.received]
    assert len(uids) == 4
    assert len(set(uids)) == 3
    same = [ds for ds in pacs.received if uids.count(ds.SOPInstanceUID) == 2]
    assert same[0] == same[1]


def test_an_echo_is_answered_or_says_why_not(port: int) -> None:
    with running(Pacs()) as pacs:
        assert echo(pacs.node, STATION, TIMEOUTS) == ""
    assert echo(RemoteNode("PACS", "127.0.0.1", port), STATION, TIMEOUTS) == "no response at its address"


@pytest.mark.dcmtk
def test_dcmtk_takes_the_results(setup: DeliverySetup, port: int, tmp_path: Path) -> None:
    program = shutil.which("storescp", path=path_without_ours())
    if program is None:
        pytest.skip("DCMTK's storescp is not installed")
    folder = tmp_path / "received"
    folder.mkdir()
    with subprocess.Popen(
        [program, "-od", str(folder), "-aet", "DCMTK", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            node = RemoteNode("DCMTK", "127.0.0.1", port)
            _wait_for(node)
            setup.results("DCMTK")
            assert setup.deliver(node).sent == 3
        finally:
            server.terminate()
    assert len(list(folder.iterdir())) == 3


def _wait_for(node: RemoteNode) -> None:
    """Ask a node that is just starting until it answers."""
    deadline = datetime.now(UTC) + timedelta(seconds=30)
    while echo(node, STATION, TIMEOUTS):
        assert datetime.now(UTC) < deadline, "the node did not come up"


def test_findings_of_readers_are_not_reported(setup: DeliverySetup) -> None:
    with setup.database.begin() as session:
        detail = studies.study_detail(session, setup.series.study_instance_uid)
        assert detail is not None
        (marked,) = detail.findings
        findings.add_reader_finding(
            session, setup.series.study_instance_uid, setup.series.series_instance_uid,
            replace(marked.finding, row=30.0), marked.model, reader="reader",
        )  # fmt: skip
    sr = dcmread(setup.store / setup.results("PACS")[0].path)
    assert str(sr).count("Finding 1") == 1
    assert "Finding 2" not in str(sr)
    with setup.database.read() as session:
        assert deliveries.pending_deliveries(session, now=datetime.now(UTC))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "a flipped bit of the meta information": lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda _: b"",
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_of_a_result_is_noticed(setup: DeliverySetup, damage: str) -> None:
    checking = Integrity(setup.database, LocalFiles(setup.store))
    with setup.database.read() as session:
        paths = [record.object.path for record in results_of_analysis(session, setup.analysis_id)]
    assert len(paths) == 3
    assert checking.damaged(paths) == ()
    for path in paths:
        content = (setup.store / path).read_bytes()
        (setup.store / path).write_bytes(DAMAGES[damage](content))
    assert checking.damaged(paths) == tuple(paths)


def test_damaged_results_are_not_sent_until_they_were_made_again(setup: DeliverySetup, tmp_path: Path) -> None:
    setup.results("PACS")
    records = {kind: record for (kind, _), record in setup.records().items()}
    contents = {kind: (setup.store / records[kind].path).read_bytes() for kind in ("sr", "pr")}
    for kind, damage in (("sr", "a flipped bit"), ("pr", "cut")):
        (setup.store / records[kind].path).write_bytes(DAMAGES[damage](contents[kind]))
    damaged = {records[kind].path for kind in contents}
    with running(Pacs()) as pacs:
        assert setup.deliver(pacs.node) == DeliveryRound(sent=1, retried=2)
        assert [ds.SOPInstanceUID for ds in pacs.received] == [records["sc"].sop_instance_uid]
        assert all("damaged" in setup.records()[kind, "PACS"].reason for kind in contents)
        assert_refused_elsewhere(setup, damaged, tmp_path)
        with setup.database.read() as session:
            listed = {(fault.subject, fault.study_instance_uid) for fault in faults.faults(session)}
            (failure,) = result_failures.result_failures(session)
        assert listed == {(path, setup.series.study_instance_uid) for path in damaged}
        assert (failure.purpose, failure.reason) == ("report", "a stored object is damaged")
        settings = ReportSettings(STATION, "0.1.0", ("PACS",), {"temperature": "1.2"})
        ResultMaker(setup.database, LocalFiles(setup.store), settings).follow_up()
        assert {kind: (setup.store / records[kind].path).read_bytes() for kind in contents} == contents
        with setup.database.read() as session:
            assert (faults.faults(session), result_failures.result_failures(session)) == ((), ())
        later = datetime.now(UTC) + timedelta(hours=1)
        assert setup.deliver(pacs.node, clock=lambda: later) == DeliveryRound(sent=2)
    assert set(setup.statuses().values()) == {"sent"}


def assert_refused_elsewhere(setup: DeliverySetup, damaged: set[str], scratch: Path) -> None:
    """Damaged results are refused by C-MOVE, C-GET and WADO, and listed by ``store verify``."""
    with InstanceStore(setup.store) as store:
        problems = {file.path: problem for file, problem in examine(setup.database, store) if problem}
        assert problems == dict.fromkeys(damaged, "damaged")
        with setup.database.read() as session:
            archived = instances(session, [setup.series.study_instance_uid])
        retrieval = RetrieveService(setup.database, store, STATION, {})
        assert {instance.path for instance in archived if retrieval.is_damaged(instance)} == damaged
        path = min(damaged)
        files = ArchiveFiles(store, DecodeLimits(scratch=scratch), setup.database)
        try:
            for read in (lambda: files.check([path]), lambda: files.part10_file(path, ExplicitVRLittleEndian)):
                with pytest.raises(UnfitInputError) as refusal:
                    read()
                assert (refusal.value.status, refusal.value.code) == (500, "damaged_file")
            assert list(files.documents([path], ["http://x"])) == [None]
        finally:
            files.close()


def test_a_result_that_is_lost_is_listed_and_made_again(setup: DeliverySetup) -> None:
    record = setup.results("PACS")[0]
    (setup.store / record.path).unlink()
    with InstanceStore(setup.store) as store:
        problems = {file.path: problem for file, problem in examine(setup.database, store) if problem}
    assert problems == {record.path: "missing"}
    with setup.database.begin() as session:
        report(session, record.path, {"problem": "missing"})
    settings = ReportSettings(STATION, "0.1.0", ("PACS",), {"temperature": "1.2"})
    ResultMaker(setup.database, LocalFiles(setup.store), settings).follow_up()
    with setup.database.read() as session:
        assert faults.faults(session) == ()
    assert (setup.store / record.path).is_file()
