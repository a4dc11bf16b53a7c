"""Query, retrieve and storage commitment as a provider, results included, with DCMTK and pynetdicom."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import PresentationContext

from benchmarks.receivers import path_without_ours
from db.archive.index import instances
from db.audit.trail import recent
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.exchange import CommitmentRecord
from db.domain.findings import NewFinding
from db.monitoring import faults
from db.results import commitments
from db.studies.instances import series_record
from dicom_node.client.peer import RemoteNode
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.encoding.commitment_messages import COMMITMENT_CLASS, COMMITMENT_INSTANCE, commitment_request
from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES
from dicom_node.intake.instance_intake import Intake
from dicom_node.port.acceptor import AcceptorLimits
from dicom_node.port.access import PeerRule
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.query_models import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_node.results.objects import ReportSettings, ResultMaker
from dicom_node.services.commitment_service import CommitmentPolicy, CommitmentService
from dicom_node.services.query_service import QueryService
from dicom_node.services.retrieve_service import RetrieveService
from dicom_node.services.storage_service import PortServices, start_listener
from dicom_node.storage.files import LocalFiles
from dicom_node.storage.instance_store import InstanceStore
from tests.support.factories import CtSeries, SimpleNodule, answer_series, ct_series, sqlite_database
from tests.support.service import held_port

CT = next(iter(STORAGE_CLASSES))
NODULE = SimpleNodule((3.0, 20.0, 14.0), 14.0)


@dataclass
class Peer:
    """A node that stores instances and receives commitment reports."""

    ae_title: str = "PACS"
    port: int = 0
    received: list[Dataset] = field(default_factory=list)
    reports: list[tuple[int, Dataset]] = field(default_factory=list)
    reported: threading.Event = field(default_factory=threading.Event)

    def on_store(self, event: Any) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        self.received.append(ds)
        return 0x0000

    def on_report(self, event: Any) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        self.reported.set()
        return 0x0000, None


@dataclass
class Node:
    """Our port over a store that holds a series and what was made of it."""

    listener: Listener
    database: Database
    store: InstanceStore
    series: CtSeries
    commitment: CommitmentService
    pacs: Peer

    def associate(self, contexts: list[tuple[str, list[str] | None]], ae_title: str = "PACS", **how: Any) -> Any:
        ae = RequestingEntity(ae_title)
        ae.dimse_timeout = ae.network_timeout = 60
        for sop_class_uid, syntaxes in contexts:
            ae.add_requested_context(sop_class_uid, syntaxes)
        association = ae.associate("127.0.0.1", self.listener.port, ae_title="LUNGNODE", **how)
        assert association.is_established
        return association


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    series = ct_series(folder / "series", n=6, rows=40, nodules=(NODULE,))
    database, pacs = sqlite_database(folder), Peer()
    peers = (
        PeerRule("PACS", "127.0.0.1", may_query=True),
        PeerRule("MODALITY", "127.0.0.1"),
        PeerRule("READER", "127.0.0.1", may_store=False, may_query=True),
    )
    ae = AE("PACS")
    for sop_class_uid in (CT, *RESULT_CLASSES):
        ae.add_supported_context(sop_class_uid)
    ae.add_supported_context(COMMITMENT_CLASS, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_N_EVENT_REPORT, pacs.on_report)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = server.server_address[1]
    nodes = {"PACS": RemoteNode("PACS", "127.0.0.1", pacs.port)}
    with InstanceStore(folder / "store") as store:
        policy = CommitmentPolicy(same_association_s=0.5, own_association_s=0.0)
        commitment = CommitmentService(database, store, "LUNGNODE", nodes, policy)
        services = PortServices(
            QueryService(database, "LUNGNODE"), RetrieveService(database, store, "LUNGNODE", nodes), commitment
        )
        intake = Intake(store, database)
        listener = start_listener(ListenerSettings(port=0, peers=peers), intake, services)
        running = Node(listener, database, store, series, commitment, pacs)
        try:
            send(running)
            answer(running, folder)
            yield running
        finally:
            listener.stop()
            server.shutdown()
            database.dispose()


def send(node: Node) -> None:
    association = node.associate([(CT, None)], "MODALITY")
    assert {association.send_c_store(dcmread(path)).Status for path in node.series.paths} == {0}
    association.release()


def answer(node: Node, folder: Path) -> None:
    with node.database.read() as session:
        record = series_record(session, series_instance_uid=node.series.series_instance_uid)
    assert record is not None
    uid = node.series.sop_instance_uids[3]
    finding = NewFinding(uid, 1, 20.0, 14.0, node.series.position_mm(NODULE.index), 14.0, 0.97, 0.67, (0.45, 0.82))
    analysis = answer_series(node.database, record.id, AnalysisOutcome(findings=(finding,)))
    ResultMaker(node.database, LocalFiles(folder / "store"), ReportSettings("LUNGNODE", "0.1.0")).make(analysis)


def identifier(level: str, **keys: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def find(node: Node, query: Dataset, ae_title: str = "PACS") -> tuple[list[Dataset], int]:
    association = node.associate([(STUDY_ROOT_FIND, None)], ae_title)
    identifiers, code = [], -1
    for status, answer in association.send_c_find(query, STUDY_ROOT_FIND):
        code = int(status.Status)
        if answer is not None:
            identifiers.append(answer)
    association.release()
    return identifiers, code


def test_a_study_is_listed_with_its_results(node: Node) -> None:
    query = identifier(
        "STUDY", StudyInstanceUID="", PatientName="", ModalitiesInStudy="", NumberOfStudyRelatedInstances=""
    )
    (study,), code = find(node, query)
    assert code == 0
    assert study.StudyInstanceUID == node.series.study_instance_uid
    assert str(study.PatientName) == "TEST^CHEST"
    assert list(study.ModalitiesInStudy) == ["CT", "OT", "PR", "SR"]
    assert study.NumberOfStudyRelatedInstances == 9
    assert study.RetrieveAETitle == "LUNGNODE"


@pytest.mark.parametrize(
    ("keys", "is_found"),
    [
        ({"PatientName": "test*"}, True),
        ({"PatientName": "T?ST^CHEST"}, True),
        ({"PatientName": "OTHER*"}, False),
        ({"PatientName": "test^chest^^"}, True),
        ({"PatientID": "TEST-1"}, True),
        ({"PatientID": "test-1"}, False),
        ({"PatientID": "T*-?"}, True),
        ({"PatientID": "t*"}, False),
        ({"StudyID": "1"}, True),
        ({"StudyID": "2"}, False),
        ({"StudyTime": "00-235959"}, True),
        ({"PatientID": "TEST-"}, False),
        ({"ModalitiesInStudy": "SR"}, True),
        ({"ModalitiesInStudy": "MR"}, False),
        ({"StudyDate": "19000101-"}, True),
        ({"StudyDate": "-19000101"}, False),
        ({"StudyInstanceUID": ["1.2.3", "THIS"]}, True),
        ({"AccessionNumber": "NONE"}, False),
    ],
)
def test_keys_match_as_the_standard_says(node: Node, keys: dict[str, Any], is_found: bool) -> None:
    if "StudyInstanceUID" in keys:
        keys = {"StudyInstanceUID": ["1.2.3", node.series.study_instance_uid]}
    identifiers, code = find(node, identifier("STUDY", **keys))
    assert (len(identifiers), code) == (int(is_found), 0)


def item(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "keys",
    [
        {"BodyPartExamined": "CHEST"},
        {"InstitutionName": "A*"},
        {"SeriesInstanceUID": "1.2.3"},
        {"Modality": "CT"},
        {"RequestAttributesSequence": [item(ScheduledProcedureStepID="1")]},
        {"PatientID": ["1"] * 60},
        {"PatientID": "TEST\x001"},
        {"PatientName": "A\x1fB"},
    ],
    ids=str,
)
def test_a_key_that_is_not_matched_never_widens_the_answer(node: Node, keys: dict[str, Any]) -> None:
    with disable_value_validation():
        assert find(node, identifier("STUDY", **keys)) == ([], 0xA900)


@pytest.mark.parametrize(
    "keys",
    [{"BodyPartExamined": ""}, {"RequestAttributesSequence": []}, {"RequestAttributesSequence": [item()]}],
    ids=str,
)
def test_an_unknown_key_without_a_value_is_ignored(node: Node, keys: dict[str, Any]) -> None:
    identifiers, code = find(node, identifier("STUDY", PatientID="TEST-1", **keys))
    assert (len(identifiers), code) == (1, 0)


@pytest.mark.parametrize(("patient_id", "count"), [("TEST-1", 4), ("TEST-2", 0), ("", 4)])
def test_keys_of_the_study_are_compared_at_series_level_too(node: Node, patient_id: str, count: int) -> None:
    study = node.series.study_instance_uid
    query = identifier("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", PatientID=patient_id)
    assert len(find(node, query)[0]) == count


def test_series_and_instances_are_listed(node: Node) -> None:
    study = node.series.study_instance_uid
    query = identifier(
        "SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="", NumberOfSeriesRelatedInstances=""
    )
    listed, _ = find(node, query)
    assert [(one.Modality, one.NumberOfSeriesRelatedInstances) for one in listed] == [
        ("CT", 6), ("SR", 1), ("OT", 1), ("PR", 1)
    ]  # fmt: skip
    images, _ = find(
        node,
        identifier(
            "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=node.series.series_instance_uid, SOPInstanceUID=""
        ),
    )
    assert {one.SOPInstanceUID for one in images} == set(node.series.sop_instance_uids)


@pytest.mark.parametrize(
    "query",
    [
        identifier("PATIENT", PatientID="TEST-1"),
        identifier("SERIES", Modality="CT"),
        identifier("IMAGE", StudyInstanceUID="1.2", SOPInstanceUID=""),
    ],
)
def test_a_query_that_study_root_does_not_have_is_refused(node: Node, query: Dataset) -> None:
    assert find(node, query) == ([], 0xA900)


def test_more_than_anyone_reads_is_refused_before_the_first_match(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.services.query_service.MAX_MATCHES", 2)
    study, series = node.series.study_instance_uid, node.series.series_instance_uid
    assert find(node, identifier("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series)) == ([], 0xA700)
    assert find(node, identifier("STUDY", StudyInstanceUID=study))[1] == 0


def test_a_peer_that_may_only_store_finds_and_fetches_nothing(node: Node) -> None:
    assert find(node, identifier("STUDY", StudyInstanceUID=""), "MODALITY") == ([], 0x0124)
    assert move(node, identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid), ae_title="MODALITY") == (
        0x0124,
        0,
    )
    assert node.pacs.received == []


def test_a_peer_that_may_only_query_stores_nothing(node: Node) -> None:
    association = node.associate([(CT, None)], "READER")
    assert association.send_c_store(dcmread(node.series.paths[0])).Status == 0x0124
    association.release()


def move(node: Node, query: Dataset, target: str = "PACS", ae_title: str = "PACS") -> tuple[int, int]:
    association = node.associate([(STUDY_ROOT_MOVE, None)], ae_title)
    *_, (status, _) = association.send_c_move(query, target, STUDY_ROOT_MOVE)
    association.release()
    return int(status.Status), int(status.get("NumberOfCompletedSuboperations") or 0)


def test_a_study_is_moved_with_its_results_and_just_as_it_is(node: Node) -> None:
    query = identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
    node.pacs.received.clear()
    assert move(node, query) == (0, 9)
    assert sorted(ds.Modality for ds in node.pacs.received) == ["CT"] * 6 + ["OT", "PR", "SR"]
    sent = {str(ds.SOPInstanceUID): ds for ds in node.pacs.received}
    for path, uid in zip(node.series.paths, node.series.sop_instance_uids, strict=True):
        assert sent[uid] == dcmread(path)
    node.pacs.received.clear()


def test_one_instance_is_moved(node: Node) -> None:
    uid = node.series.sop_instance_uids[2]
    query = identifier(
        "IMAGE", StudyInstanceUID=node.series.study_instance_uid, SeriesInstanceUID=node.series.series_instance_uid,
        SOPInstanceUID=uid,
    )  # fmt: skip
    assert move(node, query) == (0, 1)
    assert [ds.SOPInstanceUID for ds in node.pacs.received] == [uid]
    node.pacs.received.clear()


IMAGES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
"""Unique keys, highest level first."""


def unique_keys(node: Node, level: str) -> dict[str, Any]:
    uids = (node.series.study_instance_uid, node.series.series_instance_uid, node.series.sop_instance_uids[2])
    count = {"STUDY": 1, "SERIES": 2, "IMAGE": 3}[level]
    return dict(zip(IMAGES[:count], uids[:count], strict=True))


def get(node: Node, query: Dataset) -> tuple[int, int]:
    """Status and number of objects that came by C-GET."""
    roles = [build_role(uid, scp_role=True) for uid in (CT, *RESULT_CLASSES)]
    contexts: list[tuple[str, list[str] | None]] = [(uid, None) for uid in (STUDY_ROOT_GET, CT, *RESULT_CLASSES)]
    association = node.associate(contexts, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    *_, (status, _) = association.send_c_get(query, STUDY_ROOT_GET)
    association.release()
    return int(status.Status), int(status.get("NumberOfCompletedSuboperations") or 0)


@pytest.mark.parametrize("retrieve", [move, get], ids=["move", "get"])
@pytest.mark.parametrize(
    ("level", "keys", "expected"),
    [
        ("STUDY", {"PatientID": "TEST-1"}, (0, 9)),
        ("STUDY", {"PatientID": "TEST-1", "PatientName": "TEST^CHEST", "AccessionNumber": ""}, (0, 9)),
        ("STUDY", {"PatientID": "TEST-2"}, (0, 0)),
        ("STUDY", {"PatientID": "test-1"}, (0, 0)),
        ("STUDY", {"PatientID": "TEST-"}, (0, 0)),
        ("STUDY", {"PatientName": "OTHER^PATIENT"}, (0, 0)),
        ("STUDY", {"PatientID": "TEST-1", "PatientName": "OTHER^PATIENT"}, (0, 0)),
        ("STUDY", {"PatientBirthDate": "19000101"}, (0, 0)),
        ("STUDY", {"AccessionNumber": "NONE"}, (0, 0)),
        ("STUDY", {"IssuerOfPatientID": "ELSEWHERE"}, (0, 0)),
        ("STUDY", {"StudyDate": "19000101"}, (0, 0)),
        ("STUDY", {"PatientID": "", "BodyPartExamined": ""}, (0, 9)),
        ("STUDY", {"NumberOfStudyRelatedInstances": "2", "InstanceAvailability": "NEARLINE"}, (0, 9)),
        ("STUDY", {"SeriesInstanceUID": "1.2.3"}, (0xA900, 0)),
        ("STUDY", {"Modality": "SR"}, (0xA900, 0)),
        ("STUDY", {"InstitutionName": "A"}, (0xA900, 0)),
        ("STUDY", {"OtherPatientIDs": "TEST-2"}, (0xA900, 0)),
        ("SERIES", {"PatientID": "TEST-1", "Modality": "CT"}, (0, 6)),
        ("SERIES", {"PatientID": "TEST-2"}, (0, 0)),
        ("SERIES", {"Modality": "SR"}, (0, 0)),
        ("SERIES", {"SOPInstanceUID": "1.2.3"}, (0xA900, 0)),
        ("IMAGE", {"PatientID": "TEST-1", "SOPClassUID": CT}, (0, 1)),
        ("IMAGE", {"PatientID": "TEST-2"}, (0, 0)),
        ("IMAGE", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, (0, 0)),
        ("IMAGE", {"InstanceNumber": "9999"}, (0, 0)),
    ],
    ids=str,
)
def test_nothing_is_sent_that_another_key_of_the_identifier_does_not_match(
    node: Node, level: str, keys: dict[str, Any], expected: tuple[int, int], retrieve: Any
) -> None:
    node.pacs.received.clear()
    assert retrieve(node, identifier(level, **unique_keys(node, level), **keys)) == expected
    assert len(node.pacs.received) == (expected[1] if retrieve is move else 0)
    node.pacs.received.clear()


def test_what_a_query_answered_can_be_sent_back_as_it_is(node: Node) -> None:
    query = identifier(
        "STUDY", StudyInstanceUID=node.series.study_instance_uid, PatientID="", PatientName="", PatientSex="",
        PatientBirthDate="", StudyDate="", StudyTime="", StudyID="", AccessionNumber="", ModalitiesInStudy="",
        StudyDescription="", ReferringPhysicianName="", NumberOfStudyRelatedInstances="", InstanceAvailability="",
    )  # fmt: skip
    (study,), _ = find(node, query)
    assert get(node, study) == (0, 9)


def test_one_patients_study_is_not_sent_with_those_of_another(node: Node) -> None:
    studies = [node.series.study_instance_uid, "1.2.3"]
    assert get(node, identifier("STUDY", StudyInstanceUID=studies, PatientID="TEST-1")) == (0, 9)
    assert get(node, identifier("STUDY", StudyInstanceUID=studies, PatientID="TEST-2")) == (0, 0)


def test_a_move_to_someone_unknown_is_refused_and_nothing_leaves(node: Node) -> None:
    query = identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
    assert move(node, query, target="STRANGER") == (0xA801, 0)
    assert node.pacs.received == []


def test_results_are_got_on_the_same_association(node: Node) -> None:
    received: list[Dataset] = []

    def on_store(event: Any) -> int:
        received.append(event.dataset)
        return 0x0000

    classes = [CT, *RESULT_CLASSES]
    roles = [build_role(uid, scp_role=True) for uid in classes]
    contexts: list[tuple[str, list[str] | None]] = [(uid, None) for uid in (STUDY_ROOT_GET, *classes)]
    association = node.associate(contexts, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    query = identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
    *_, (status, _) = association.send_c_get(query, STUDY_ROOT_GET)
    association.release()
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 9)
    assert len(received) == 9


def test_an_instance_that_is_named_many_times_is_committed_once(node: Node) -> None:
    references = [(CT, node.series.sop_instance_uids[0])] * 2000
    code, (report,) = request_commitment(node, references, keep_open=True)
    assert (code, len(report.ReferencedSOPSequence)) == (0, 1)


def test_an_identifier_beyond_any_query_is_not_read(node: Node) -> None:
    association = node.associate([(STUDY_ROOT_FIND, ["1.2.840.10008.1.2"])])
    query = identifier("STUDY", StudyInstanceUID=[f"2.25.{10**36 + number}" for number in range(20_000)])
    assert [status.get("Status") for status, _ in association.send_c_find(query, STUDY_ROOT_FIND)] == [None]
    association.join(30)
    assert association.is_aborted
    assert find(node, identifier("STUDY", StudyInstanceUID=""))[1] == 0


def test_peers_that_never_answer_what_they_get_give_way(node: Node) -> None:
    nodes: dict[str, RemoteNode] = {}
    services = PortServices(
        QueryService(node.database, "LUNGNODE"),
        RetrieveService(node.database, node.store, "LUNGNODE", nodes),
        CommitmentService(node.database, node.store, "LUNGNODE", nodes),
    )
    settings = ListenerSettings(port=0, max_associations=2, timeout_s=300, acceptor=AcceptorLimits(admission_s=60))
    listener = start_listener(settings, Intake(node.store, node.database), services)
    is_over = threading.Event()

    def never_answer(_event: Any) -> int:
        is_over.wait(120)
        return 0xA700

    def got(association: Any, query: Dataset) -> None:
        list(association.send_c_get(query, STUDY_ROOT_GET))

    try:
        for _ in range(2):
            ae = RequestingEntity("PACS")
            ae.requested_contexts = [build_context(STUDY_ROOT_GET), build_context(CT)]
            handlers = [(evt.EVT_C_STORE, never_answer)]
            association = ae.associate(
                "127.0.0.1", listener.port, ae_title="LUNGNODE", ext_neg=[build_role(CT, scp_role=True)],
                evt_handlers=handlers,
            )  # fmt: skip
            query = identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
            threading.Thread(target=got, args=(association, query), daemon=True).start()
        ae = RequestingEntity("LEGIT")
        ae.acse_timeout = 120
        ae.requested_contexts = [build_context("1.2.840.10008.1.1")]
        legitimate = ae.associate("127.0.0.1", listener.port, ae_title="LUNGNODE")
        assert legitimate.is_established
        assert legitimate.send_c_echo().Status == 0
        legitimate.release()
    finally:
        is_over.set()
        listener.stop()


def test_a_result_that_comes_back_is_known_and_not_taken(node: Node) -> None:
    query = identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
    node.pacs.received.clear()
    move(node, query)
    results = [ds for ds in node.pacs.received if ds.Modality != "CT"]
    node.pacs.received.clear()
    association = node.associate([(uid, None) for uid in RESULT_CLASSES], "MODALITY")
    assert {association.send_c_store(ds).Status for ds in results} == {0}
    unknown_instance = results[0]
    unknown_instance.SOPInstanceUID = unknown_instance.file_meta.MediaStorageSOPInstanceUID = "2.25.12"
    assert association.send_c_store(unknown_instance).Status == 0x0122
    association.release()
    study, _ = find(node, identifier("STUDY", StudyInstanceUID="", NumberOfStudyRelatedInstances=""))
    assert [one.NumberOfStudyRelatedInstances for one in study] == [9]


def request_commitment(node: Node, references: list[tuple[str, str]], keep_open: bool) -> tuple[int, list[Dataset]]:
    """Ask for commitment; with ``keep_open`` the association is released once the report is answered."""
    reports: list[Dataset] = []
    answered = threading.Event()

    def on_report(event: Any) -> tuple[int, None]:
        reports.append(event.event_information)
        return 0x0000, None

    def on_sent(event: Any) -> None:
        if reports and isinstance(event.pdu, P_DATA_TF):
            answered.set()

    handlers = [(evt.EVT_N_EVENT_REPORT, on_report), (evt.EVT_PDU_SENT, on_sent)]
    association = node.associate([(COMMITMENT_CLASS, None)], evt_handlers=handlers)
    request = commitment_request(references, f"2.25.{time.time_ns()}")
    status, _ = association.send_n_action(request, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
    if keep_open:
        assert answered.wait(60)
    association.release()
    return int(status.Status), reports


def test_what_was_sent_is_committed_on_the_same_association(node: Node) -> None:
    references = [(CT, uid) for uid in node.series.sop_instance_uids]
    code, (report,) = request_commitment(node, references, keep_open=True)
    assert code == 0
    committed = {item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence}
    assert committed == set(node.series.sop_instance_uids)
    assert "FailedSOPSequence" not in report
    node.commitment.report_due()
    assert node.pacs.reports == []


def test_a_report_on_the_same_association_is_not_sent_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, reported, due_requests = threading.Event(), threading.Event(), commitments.due_requests

    def due_after_pause(session: Any, *, now: datetime) -> tuple[CommitmentRecord, ...]:
        due = due_requests(session, now=now)
        if due:
            looked.set()
            assert reported.wait(60)
        return due

    def due() -> None:
        while not looked.is_set():
            node.commitment.report_due()

    monkeypatch.setattr(commitments, "due_requests", due_after_pause)
    looking = threading.Thread(target=due)
    looking.start()
    request_commitment(node, [(CT, node.series.sop_instance_uids[0])], keep_open=True)
    reported.set()
    looking.join()
    assert node.pacs.reports == []


def test_a_peer_that_released_gets_its_report_with_failures_on_a_new_association(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.commitment, "_policy", CommitmentPolicy(same_association_s=0.0, own_association_s=0.0))
    uids = node.series.sop_instance_uids
    references = [(CT, uids[0]), (CT, "2.25.404"), ("1.2.840.10008.5.1.4.1.1.4", uids[1])]
    code, _ = request_commitment(node, references, keep_open=False)
    assert code == 0
    end = time.monotonic() + 60
    while not node.pacs.reported.wait(0.2) and time.monotonic() < end:
        node.commitment.report_due()
    ((event_type, report),) = node.pacs.reports
    assert event_type == 2
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [uids[0]]
    failed = {item.ReferencedSOPInstanceUID: item.FailureReason for item in report.FailedSOPSequence}
    assert failed == {"2.25.404": 0x0112, uids[1]: 0x0119}
    with node.database.read() as session:
        assert "commitment:reported" in [entry.event.action for entry in recent(session, limit=5)]
    node.pacs.reports.clear()


def test_damaged_bytes_are_not_committed(node: Node) -> None:
    uid = node.series.sop_instance_uids[5]
    with node.database.read() as session:
        path = node.store.absolute(commitments.known_instances(session, [uid])[uid].path)
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        report, failed = node.commitment.verdict([(CT, uid)], "2.25.1")
    finally:
        path.write_bytes(content)
    assert failed == 1
    assert report.FailedSOPSequence[0].FailureReason == 0x0110


def test_a_damaged_instance_is_a_failed_sub_operation_and_a_fault(node: Node) -> None:
    uid = node.series.sop_instance_uids[5]
    with node.database.read() as session:
        stored = commitments.known_instances(session, [uid])[uid].path
    path, query = node.store.absolute(stored), identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
    content, intact = path.read_bytes(), move(node, query)[1]
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        association = node.associate([(STUDY_ROOT_MOVE, None)])
        *_, (status, failed) = association.send_c_move(query, "PACS", STUDY_ROOT_MOVE)
        association.release()
    finally:
        path.write_bytes(content)
        node.pacs.received.clear()
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0xB000, intact - 1)
    assert failed.FailedSOPInstanceUIDList == uid
    with node.database.read() as session:
        assert [(one.code, one.subject) for one in faults.faults(session)] == [(faults.DAMAGED_FILE, stored)]


def test_a_damaged_result_is_a_failed_sub_operation_and_a_fault(node: Node) -> None:
    with node.database.read() as session:
        results = [one for one in instances(session, [node.series.study_instance_uid]) if one.sop_class_uid != CT]
    path, query = (
        node.store.absolute(results[0].path),
        identifier("STUDY", StudyInstanceUID=results[0].study_instance_uid),
    )
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        association = node.associate([(STUDY_ROOT_MOVE, None)])
        *_, (status, failed) = association.send_c_move(query, "PACS", STUDY_ROOT_MOVE)
        association.release()
        sent = [ds.SOPInstanceUID for ds in node.pacs.received]
    finally:
        path.write_bytes(content)
        node.pacs.received.clear()
    assert (status.Status, failed.FailedSOPInstanceUIDList) == (0xB000, results[0].sop_instance_uid)
    assert results[0].sop_instance_uid not in sent
    with node.database.read() as session:
        assert results[0].path in [one.subject for one in faults.faults(session)]


@pytest.mark.parametrize("action", [commitment_request([], "2.25.3"), commitment_request([("1.2", "")], "2.25.4")])
def test_a_request_without_sense_is_refused(node: Node, action: Dataset) -> None:
    association = node.associate([(COMMITMENT_CLASS, None)])
    status, _ = association.send_n_action(action, 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
    association.release()
    assert status.Status == 0x0115


def dcmtk(*command: str) -> str:
    program = shutil.which(command[0], path=path_without_ours())
    if program is None:
        pytest.skip(f"DCMTK's {command[0]} is not installed")
    done = subprocess.run([program, *command[1:]], capture_output=True, timeout=120, check=False)
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, text
    return text


@pytest.mark.dcmtk
def test_dcmtk_finds_gets_and_moves(node: Node, tmp_path: Path) -> None:
    study = node.series.study_instance_uid
    us = ["-aet", "READER", "-aec", "LUNGNODE"]
    to = ["127.0.0.1", str(node.listener.port)]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
    text = dcmtk("findscu", "-S", *us, *keys, "-k", "ModalitiesInStudy", "-k", "PatientID", *to)
    assert "CT\\OT\\PR\\SR" in text
    assert "TEST-1" in text
    dcmtk("getscu", "-S", *us, *keys, "-od", str(tmp_path), *to)
    assert len(list(tmp_path.iterdir())) == 9
    node.pacs.received.clear()
    dcmtk("movescu", "-S", *us, "-aem", "PACS", *keys, *to)
    assert len(node.pacs.received) == 9
    node.pacs.received.clear()


def test_queries_and_retrievals_are_on_record_without_identities(node: Node) -> None:
    find(node, identifier("STUDY", PatientName="CANARY^PHI"))
    move(node, identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid))
    node.pacs.received.clear()
    with node.database.read() as session:
        reported = [entry.event for entry in recent(session, limit=6)]
    assert {"query:answered", "instances:retrieved"} <= {event.action for event in reported}
    assert "CANARY" not in str(reported)
    assert {event.actor for event in reported[:2]} == {"PACS@127.0.0.1"}


def test_an_identifier_of_rubbish_is_refused_and_the_port_lives(node: Node) -> None:
    association = node.associate([(STUDY_ROOT_FIND, None)])
    context: PresentationContext = association.accepted_contexts[0]
    nested = Dataset()
    for _ in range(150):
        outer = Dataset()
        outer.ReferencedStudySequence = [nested]
        nested = outer
    nested.QueryRetrieveLevel = "STUDY"
    statuses = [status.Status for status, _ in association.send_c_find(nested, context.abstract_syntax)]
    assert statuses[-1] in (0x0000, 0xA900)
    if association.is_established:
        association.release()
    assert find(node, identifier("STUDY", StudyInstanceUID="1.2.404")) == ([], 0)


@pytest.fixture
def closed_port() -> Iterator[int]:
    with held_port() as port:
        yield port


def test_a_move_destination_that_does_not_listen_fails(node: Node, closed_port: int) -> None:
    away = RemoteNode("AWAY", "127.0.0.1", closed_port)
    service = RetrieveService(node.database, node.store, "LUNGNODE", {"AWAY": away})
    before, node.listener.services = node.listener.services, dict.fromkeys(node.listener.services, service.serve)
    try:
        query = identifier("STUDY", StudyInstanceUID=node.series.study_instance_uid)
        assert move(node, query, target="AWAY") == (0xA801, 0)
    finally:
        node.listener.services = before
