"""A real Orthanc pushes and is answered for, takes, shows and commits every kind of result, and gives and gets them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from urllib.error import HTTPError

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from db.analyses import findings
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.exchange import RetractionCode
from db.domain.findings import NewFinding, Verdict
from db.domain.masks import FindingMask, MaskSlice
from db.read_models import studies
from db.results import objects as results
from db.studies.instances import series_record
from dicom_node.client.scu_association import RequestingEntity
from dicom_node.encoding.commitment_messages import report_handler
from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES, STORAGE_CLASSES
from dicom_node.intake.instance_intake import Intake
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.query_models import STUDY_ROOT_MOVE
from dicom_node.results.delivery import DeliveryConfig, DeliveryRound, deliver_due
from dicom_node.results.objects import ReportSettings, ResultMaker
from dicom_node.services.commitment_service import CommitmentService
from dicom_node.services.query_service import QueryService
from dicom_node.services.retrieve_service import RetrieveService
from dicom_node.services.storage_service import PortServices, start_listener
from dicom_node.storage.files import RESULTS
from dicom_node.storage.instance_store import InstanceStore
from tests.integration.test_delivery_orthanc import STATION, TIMEOUTS, Orthanc, orthanc
from tests.support.factories import CtSeries, SimpleNodule, answer_series, ct_series, sqlite_database
from tests.support.service import held_port

pytestmark = [pytest.mark.orthanc, pytest.mark.slow]
KINDS = ["sr", "sc", "pr", "seg", "verified", "ko"]
NODULE = SimpleNodule((3.0, 20.0, 14.0), 14.0)


@dataclass
class Node:
    """Our node beside an Orthanc, and a third node that studies can be moved to."""

    database: Database
    store: InstanceStore
    listener: Listener
    pacs: Orthanc
    series: CtSeries
    third: list[Dataset]

    def result_datasets(self) -> dict[str, Dataset]:
        """Every result object by its UID."""
        files = (self.store.root / RESULTS).rglob("*.dcm")
        return {str(ds.SOPInstanceUID): ds for ds in map(dcmread, files)}

    def held(self) -> dict[str, Dataset]:
        """Everything that Orthanc has, by its UID."""
        datasets = (dcmread(BytesIO(self.pacs.file(one))) for one in self.pacs.ask("/instances"))
        return {str(ds.SOPInstanceUID): ds for ds in datasets}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("round")
    database, third = sqlite_database(folder), list[Dataset]()
    stop = threading.Event()

    def on_store(event: Any) -> int:
        third.append(event.dataset)
        return 0x0000

    ae = AE("THIRD")
    for sop_class_uid in (*STORAGE_CLASSES, *RESULT_CLASSES):
        ae.add_supported_context(sop_class_uid)
    other = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    modalities = {
        "third": {"AET": "THIRD", "Host": "127.0.0.1", "Port": other.server_address[1]},
        "mover": {"AET": "MOVER", "Host": "127.0.0.1", "Port": 1, "AllowMove": True, "AllowFind": True},
    }
    with (
        held_port() as port,
        InstanceStore(folder / "store") as store,
        orthanc(folder / "orthanc", port, modalities) as pacs,
    ):
        nodes = {"ORTHANC": pacs.node}
        commitment = CommitmentService(database, store, STATION, nodes)
        services = PortServices(
            QueryService(database, STATION), RetrieveService(database, store, STATION, nodes), commitment,
            report_handler(database, ["ORTHANC"]),
        )  # fmt: skip
        listener = start_listener(ListenerSettings(port=port), Intake(store, database), services)
        threading.Thread(target=commitment.run, args=(stop, 0.2), daemon=True).start()
        series = ct_series(folder / "series", n=6, rows=40, nodules=(NODULE,))
        try:
            yield Node(database, store, listener, pacs, series, third)
        finally:
            stop.set()
            listener.stop()
            other.shutdown()
            database.dispose()


def until(answer: Callable[[], Any], what: str) -> Any:
    """Ask again until there is an answer."""
    end = datetime.now(UTC) + timedelta(seconds=90)
    pause = threading.Event()
    while not (value := answer()):
        assert datetime.now(UTC) < end, f"{what} did not come"
        pause.wait(0.2)
    return value


def test_1_what_orthanc_pushes_is_committed_to_it(node: Node) -> None:
    for path in node.series.paths:
        node.pacs.post("/instances", path.read_bytes())
    (study,) = node.pacs.ask("/studies")
    order = {"Resources": [study], "Synchronous": True, "StorageCommitment": True}
    try:
        job = node.pacs.ask("/modalities/us/store", order)
    except HTTPError as error:
        pytest.fail(error.read().decode())
    assert job["InstancesCount"] == 6
    assert job["FailedInstancesCount"] == 0
    address = f"/storage-commitment/{job['StorageCommitmentTransactionUID']}"
    report = until(
        lambda: report_job if (report_job := node.pacs.ask(address))["Status"] != "Pending" else None, "the report"
    )
    assert report["Status"] == "Success"
    assert len(report["Success"]) == 6


def test_2_orthanc_takes_shows_and_commits_each_kind_of_result(node: Node) -> None:
    uid = node.series.sop_instance_uids[3]
    new_finding = NewFinding(
        uid, 1, 20.0, 14.0, node.series.position_mm(NODULE.index), 14.0, 0.97, 0.67, (0.45, 0.82),
        mask=FindingMask((MaskSlice(uid, 1),), 15, 10, 9, 7, (0, 9 * 7)),
    )  # fmt: skip
    with node.database.read() as session:
        record = series_record(session, series_instance_uid=node.series.series_instance_uid)
    assert record is not None
    analysis_id = answer_series(node.database, record.id, AnalysisOutcome(findings=(new_finding,)))
    maker = ResultMaker(
        node.database, node.store.files, ReportSettings(STATION, "0.1.0", ("ORTHANC",), kinds=tuple(KINDS))
    )
    config = DeliveryConfig(STATION, (node.pacs.node,), timeouts=TIMEOUTS, commitment_wait_s=0.1)
    maker.make(analysis_id)
    assert deliver_due(node.database, node.store.files, config) == DeliveryRound(sent=4)
    with node.database.begin() as session:
        (finding,) = findings.findings_of_analysis(session, analysis_id)
        findings.record_assessment(session, finding.id, Verdict.REJECT, "vessel", "", reader="ada")
    maker.make_verified(analysis_id)
    (outdated,) = outdated_of(node)
    with node.database.begin() as session:
        results.retract(session, analysis_id, RetractionCode.QUALITY, outdated[1], requested_by=outdated[2])
    maker.make_rejection_note(analysis_id)
    assert deliver_due(node.database, node.store.files, config) == DeliveryRound(sent=2)
    statuses = until(lambda: committed_of(node), "commitment of every object")
    assert statuses == dict.fromkeys(KINDS, "committed")
    objects, held = node.result_datasets(), node.held()
    assert len(objects) == 6
    assert {uid: held[uid] for uid in objects} == objects
    assert len(held) == 12
    for instance in node.pacs.ask("/instances"):
        tags = node.pacs.ask(f"/instances/{instance}/simplified-tags")
        if tags["SOPInstanceUID"] in objects and tags["Modality"] == "OT":
            assert node.pacs.get(f"/instances/{instance}/preview").startswith(b"\x89PNG")
        elif tags["SOPInstanceUID"] in objects:
            named = ("ContentSequence", "GraphicAnnotationSequence", "SegmentSequence")
            assert any(name in tags for name in named)


def outdated_of(node: Node) -> tuple[tuple[str, str, str], ...]:
    with node.database.read() as session:
        return results.outdated_results(session)


def committed_of(node: Node) -> dict[str, str] | None:
    with node.database.read() as session:
        detail = studies.study_detail(session, node.series.study_instance_uid)
    assert detail is not None
    statuses = {one.kind: one.status.value for one in detail.deliveries}
    return statuses if set(statuses.values()) == {"committed"} else None


def test_3_orthanc_gives_everything_back_by_c_move(node: Node) -> None:
    ae = RequestingEntity("MOVER")
    ae.add_requested_context(STUDY_ROOT_MOVE)
    association = ae.associate("127.0.0.1", node.pacs.node.port, ae_title="ORTHANC")
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", node.series.study_instance_uid
    *_, (status, _) = association.send_c_move(query, "THIRD", STUDY_ROOT_MOVE)
    association.release()
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, 12)
    back = {str(ds.SOPInstanceUID): ds for ds in node.third}
    for uid, ds in node.result_datasets().items():
        assert [element for element in back[uid] if element.tag.group > 2] == [e for e in ds if e.tag.group > 2]


def test_4_orthanc_finds_and_moves_everything_from_our_store(node: Node) -> None:
    (study,) = node.pacs.ask("/studies")
    node.pacs.delete(f"/studies/{study}")
    assert node.pacs.ask("/instances") == []
    query = {"Level": "Study", "Query": {"StudyInstanceUID": node.series.study_instance_uid, "ModalitiesInStudy": "SR"}}
    search = node.pacs.ask("/modalities/us/query", query)
    assert node.pacs.ask(f"/queries/{search['ID']}/answers") == ["0"]
    try:
        node.pacs.ask(f"/queries/{search['ID']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    except HTTPError as error:
        pytest.fail(error.read().decode())
    assert node.held().keys() == {*node.result_datasets(), *node.series.sop_instance_uids}
