"""A PACS that matches loosely has no study of another patient fetched: each answer and each image is compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)
from sqlalchemy import select

from db.database import Database, load_or_create_audit_key
from db.domain.exchange import PriorStatus
from db.engine.schema import upgrade
from db.intake import priors
from db.tables.exchange import PriorSearchRow, PriorStudyRow
from db.tables.studies import InstanceRow, StudyRow
from dicom_node.client.peer import RemoteNode, ScuTimeouts
from dicom_node.client.priors import PriorFetcher, PriorSource
from dicom_node.client.retrieve_client import SeriesFetcher
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.intake.instance_intake import Announced, Intake, Sender
from dicom_node.phantom.writer import SeriesIdentity
from dicom_node.port.listener import ListenerSettings
from dicom_node.services.storage_service import start_listener
from dicom_node.storage.instance_store import InstanceStore
from lungnode.cli import run
from tests.support.factories import CtSeries, Defects, ct_series
from tests.support.intake import receive_instance

IMAGES = 12
TIMEOUTS = ScuTimeouts(10, 30, 120)
Answer = Callable[[Dataset, Dataset], Dataset | None]
"""Gives what is answered about a series for a query, or None."""


def strict(query: Dataset, ds: Dataset) -> Dataset | None:
    """Match as PS3.4 C.2.2.2 says; dates are not compared here."""
    for element in query:
        if element.keyword in ("QueryRetrieveLevel", "StudyDate") or not element.value:
            continue
        if str(ds.get(element.keyword, "")) != str(element.value):
            return None
    return filled(query, ds)


def filled(query: Dataset, ds: Dataset) -> Dataset:
    answer = Dataset()
    for element in query:
        setattr(answer, element.keyword, ds.get(element.keyword, ""))
    answer.QueryRetrieveLevel = query.QueryRetrieveLevel
    if "ModalitiesInStudy" in query:
        answer.ModalitiesInStudy = "CT"
    if "NumberOfSeriesRelatedInstances" in query:
        answer.NumberOfSeriesRelatedInstances = str(IMAGES)
    return answer


def ignoring(keyword: str) -> Answer:
    def answer(query: Dataset, ds: Dataset) -> Dataset | None:
        asked = deepcopy(query)
        if keyword in asked:
            setattr(asked, keyword, "")
        return strict(asked, ds)

    return answer


def by_prefix(keyword: str) -> Answer:
    def answer(query: Dataset, ds: Dataset) -> Dataset | None:
        prefix = str(query.get(keyword) or "")
        return ignoring(keyword)(query, ds) if str(ds.get(keyword, "")).startswith(prefix) else None

    return answer


def folding_case(keyword: str) -> Answer:
    def answer(query: Dataset, ds: Dataset) -> Dataset | None:
        expected = str(query.get(keyword) or "")
        is_equal = not expected or str(ds.get(keyword, "")).lower() == expected.lower()
        return ignoring(keyword)(query, ds) if is_equal else None

    return answer


def leaving_out(keyword: str, inner: Answer, *, with_empty: bool) -> Answer:
    def answer(query: Dataset, ds: Dataset) -> Dataset | None:
        match = inner(query, ds)
        if match is not None and keyword in match and query.get(keyword):
            if with_empty:
                setattr(match, keyword, "")
            else:
                delattr(match, keyword)
        return match

    return answer


@dataclass
class LoosePacs:
    """An SCP that answers queries as a test says, and moves what it is asked for, or what a test says."""

    series: dict[str, list[Dataset]]
    answer: Answer = strict
    node_port: int = 0
    moved: Callable[[list[Dataset]], list[Dataset]] = field(default=lambda datasets: datasets)
    port: int = 0
    keys: list[tuple[str, str]] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)

    def on_find(self, event: Any) -> Iterator[tuple[int, Dataset]]:
        query = event.identifier
        self.keys += [(element.keyword, str(element.value)) for element in query if element.value]
        for datasets in self.series.values():
            match = self.answer(query, datasets[0])
            if match is not None:
                yield 0xFF00, match

    def on_move(self, event: Any) -> Iterator[Any]:
        datasets = self.moved(self.series[str(event.identifier.SeriesInstanceUID)])
        self.moves.append(str(event.identifier.StudyInstanceUID))
        yield "127.0.0.1", self.node_port
        yield len(datasets)
        for ds in datasets:
            yield 0xFF00, ds


@contextmanager
def served(pacs: LoosePacs) -> Iterator[LoosePacs]:
    ae = AE("LOOSE")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    ae.add_requested_context(CTImageStorage)
    handlers = [(evt.EVT_C_FIND, pacs.on_find), (evt.EVT_C_MOVE, pacs.on_move)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = server.socket.getsockname()[1]
    try:
        yield pacs
    finally:
        server.shutdown()


@dataclass
class Node:
    """Our node: its database, and the port that it listens at."""

    database: Database
    intake: Intake
    folder: Path

    def accessions(self) -> list[str]:
        with self.database.read() as session:
            return sorted(session.scalars(select(StudyRow.accession_number)))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Node, int]]:
    url = f"sqlite:///{tmp_path / 'lungnode.db'}"
    upgrade(url)
    monkeypatch.setenv("LUNGNODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", url)
    monkeypatch.setattr("lungnode.commands.retrieve.SeriesFetcher", partial(SeriesFetcher, settle_s=1.0))
    database = Database(url, load_or_create_audit_key(tmp_path / "audit.key"))
    with InstanceStore(tmp_path / "store") as store:
        intake = Intake(store, database)
        listener = start_listener(ListenerSettings(port=0), intake)
        try:
            yield Node(database, intake, tmp_path), listener.port
        finally:
            listener.stop()
            database.dispose()


def named_series(folder: Path, name: str, **attributes: str) -> CtSeries:
    identity = SeriesIdentity(patient_name="A^B", study_description="CT Thorax", uid_seed=name)
    return ct_series(folder / name, n=IMAGES, rows=16, identity=identity, defects=Defects(attributes=attributes))


def archive(series: dict[str, CtSeries], answer: Answer, node_port: int) -> LoosePacs:
    datasets = {one.series_instance_uid: [dcmread(path) for path in one.paths] for one in series.values()}
    return LoosePacs(datasets, answer, node_port)


def name_peer(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    peers = [{"ae_title": "LOOSE", "host": "127.0.0.1", "port": port}]
    monkeypatch.setenv("LUNGNODE_DICOM__PEERS", json.dumps(peers))


ANSWERS = {
    "ignores the accession number": ignoring("AccessionNumber"),
    "matches the accession number by prefix": by_prefix("AccessionNumber"),
    "folds the accession number's case": folding_case("AccessionNumber"),
    "ignores the study of a series": ignoring("StudyInstanceUID"),
    "matches UIDs by prefix": by_prefix("StudyInstanceUID"),
}

IGNORED_COUNTS = dict(zip(ANSWERS, (3, 1, 1, 3, 0), strict=True))


@pytest.mark.parametrize("behaviour", ANSWERS)
def test_only_the_accession_number_that_was_asked_for_is_fetched(
    node: tuple[Node, int], behaviour: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, port = node
    numbers = {"asked": "a4711", "longer": "a47110", "upper": "A4711", "none": ""}
    series = {name: named_series(ours.folder, name, AccessionNumber=number) for name, number in numbers.items()}
    with served(archive(series, ANSWERS[behaviour], port)) as pacs:
        name_peer(monkeypatch, pacs.port)
        assert run(["retrieve", "--accession", "a4711"]) == 0
    assert ours.accessions() == ["a4711"]
    assert pacs.moves == [series["asked"].study_instance_uid]
    out, error = capsys.readouterr()
    (line,) = out.splitlines()
    assert json.loads(line)["outcome"] == "complete"
    count = IGNORED_COUNTS[behaviour]
    assert (f"LOOSE: answers that did not match the query were ignored: {count}\n" in error) == bool(count)


@pytest.mark.parametrize("with_empty", [True, False])
@pytest.mark.parametrize("keyword", ["AccessionNumber", "StudyInstanceUID"])
def test_an_answer_without_the_value_that_was_asked_for_is_ignored(
    node: tuple[Node, int], keyword: str, with_empty: bool, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ours, port = node
    series = {"asked": named_series(ours.folder, "asked", AccessionNumber="4711")}
    with served(archive(series, leaving_out(keyword, ignoring(keyword), with_empty=with_empty), port)) as pacs:
        name_peer(monkeypatch, pacs.port)
        run(["retrieve", "--accession", "4711"])
    assert (ours.accessions(), pacs.moves) == ([], [])
    if keyword == "AccessionNumber":
        *_, line = capsys.readouterr().err.splitlines()
        assert line == "lungnode: no matching study at LOOSE; answers that did not match the query were ignored: 1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--accession", "47*"],
        ["--accession", "471?"],
        ["--accession", "4711\\4712"],
        ["--accession", " "],
        ["--study", "1.2.*"],
        ["--study", "1.2.3\\1.2.4"],
        ["--study", "hello"],
        ["--accession", "4711", "--accession", "*"],
    ],
)
def test_wildcards_are_refused_before_anything_is_asked(
    arguments: list[str], node: tuple[Node, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(archive({}, strict, node[1])) as pacs:
        name_peer(monkeypatch, pacs.port)
        assert run(["retrieve", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert arguments[-2] in line
    assert pacs.keys == []


def test_studies_of_two_patients_with_one_accession_number_are_not_fetched_together(
    node: tuple[Node, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, port = node
    series = {name: named_series(ours.folder, name, AccessionNumber="4711", PatientID=name) for name in ("P1", "P2")}
    with served(archive(series, strict, port)) as pacs:
        name_peer(monkeypatch, pacs.port)
        assert run(["retrieve", "--accession", "4711"]) == 1
        error = capsys.readouterr().err
        assert "studies of 2 patients; choose one with --study" in error
        assert all(one.study_instance_uid in error for one in series.values())
        assert "P1" not in error
        assert pacs.moves == []
        assert run(["retrieve", "--study", series["P1"].study_instance_uid]) == 0
    assert pacs.moves == [series["P1"].study_instance_uid]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"PatientID": "P2"}, "the images bear another Patient ID than the study that was asked for"),
        ({"PatientBirthDate": "19990101"}, "the images bear another birth date than the study that was asked for"),
        ({"AccessionNumber": "4712"}, "the images bear another accession number than was asked for"),
    ],
)
def test_images_that_contradict_the_answer_are_reported(
    node: tuple[Node, int], attributes: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ours, port = node
    pacs = archive({"asked": named_series(ours.folder, "asked", AccessionNumber="4711")}, strict, port)

    def altered(datasets: list[Dataset]) -> list[Dataset]:
        for ds in datasets:
            ds.update(attributes)
        return datasets

    pacs.moved = altered
    with served(pacs):
        name_peer(monkeypatch, pacs.port)
        assert run(["retrieve", "--accession", "4711"]) == 1
    out, error = capsys.readouterr()
    assert (json.loads(out)["outcome"], json.loads(out)["reason"]) == ("mismatch", reason)
    assert reason in error


def test_images_of_another_study_that_come_instead_are_counted(
    node: tuple[Node, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, port = node
    other = [dcmread(path) for path in named_series(ours.folder, "other", AccessionNumber="9").paths]
    pacs = archive({"asked": named_series(ours.folder, "asked", AccessionNumber="4711")}, strict, port)
    pacs.moved = lambda _: other
    with served(pacs):
        name_peer(monkeypatch, pacs.port)
        assert run(["retrieve", "--accession", "4711"]) == 1
    out, error = capsys.readouterr()
    counts = json.loads(out)
    assert (counts["outcome"], counts["received"], counts["unrequested"]) == ("incomplete", 0, IMAGES)
    assert f"LOOSE sent {IMAGES} instances of other studies in the meantime" in error


def take(intake: Intake, series: CtSeries) -> None:
    for path in series.paths:
        ds = dcmread(path)
        content = path.read_bytes()
        announced = Announced(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(ds.file_meta.TransferSyntaxUID))
        assert receive_instance(
            intake, announced, content[read_file_meta(content)[1] :], Sender("CT", "127.0.0.1")
        ).is_stored


CURRENT = {"PatientID": "P1", "IssuerOfPatientID": "H1", "PatientBirthDate": "19500101", "StudyDate": "20250101"}
EARLIER = {**CURRENT, "StudyDate": "20240101"}


@pytest.mark.parametrize(
    ("attributes", "answer", "is_fetched"),
    [
        pytest.param({}, strict, True, id="the patient's own"),
        pytest.param({"IssuerOfPatientID": ""}, strict, True, id="no issuer given"),
        pytest.param({"PatientID": "P10"}, by_prefix("PatientID"), False, id="id by prefix"),
        pytest.param({"PatientID": "p1"}, folding_case("PatientID"), False, id="id in other case"),
        pytest.param({"PatientID": "P2"}, ignoring("PatientID"), False, id="id ignored"),
        pytest.param({}, leaving_out("PatientID", strict, with_empty=True), False, id="id answered empty"),
        pytest.param({"IssuerOfPatientID": "H2"}, strict, False, id="another issuer"),
        pytest.param({"PatientBirthDate": "19500102"}, strict, False, id="another birth date"),
        pytest.param({"StudyDate": "20260101"}, strict, False, id="date ignored"),
    ],
)
def test_earlier_studies_are_those_of_the_same_patient_alone(
    node: tuple[Node, int], attributes: dict[str, str], answer: Answer, is_fetched: bool
) -> None:
    ours, port = node
    take(ours.intake, named_series(ours.folder, "current", **CURRENT))
    earlier = named_series(ours.folder, "earlier", **{**EARLIER, **attributes})
    with served(archive({"earlier": earlier}, answer, port)) as pacs:
        remote = RemoteNode("LOOSE", "127.0.0.1", pacs.port)
        PriorFetcher(ours.database, "LUNGNODE", [PriorSource(remote, 3)], timeouts=TIMEOUTS).run_due()
    assert pacs.moves == ([earlier.study_instance_uid] if is_fetched else [])


def test_an_earlier_study_that_arrives_under_another_patient_is_reported(node: tuple[Node, int]) -> None:
    ours, port = node
    take(ours.intake, named_series(ours.folder, "current", **CURRENT))
    pacs = archive({"earlier": named_series(ours.folder, "earlier", **EARLIER)}, strict, port)

    def altered(datasets: list[Dataset]) -> list[Dataset]:
        for ds in datasets:
            ds.PatientID = "P2"
        return datasets

    pacs.moved = altered
    with served(pacs):
        remote = RemoteNode("LOOSE", "127.0.0.1", pacs.port)
        PriorFetcher(ours.database, "LUNGNODE", [PriorSource(remote, 1)], timeouts=TIMEOUTS).run_due()
    with ours.database.read() as session:
        (row,) = session.scalars(select(PriorStudyRow)).all()
        (short,) = priors.shortfalls(session)
    assert row.status is PriorStatus.FAILED
    assert short.reason == "the images bear another Patient ID than the study that was asked for"


@pytest.mark.parametrize("is_whole", [True, False])
def test_instances_of_other_studies_that_come_with_an_earlier_one_are_reported(
    node: tuple[Node, int], is_whole: bool
) -> None:
    ours, port = node
    take(ours.intake, named_series(ours.folder, "current", **CURRENT))
    other = [dcmread(path) for path in named_series(ours.folder, "other", PatientID="P2").paths]
    pacs = archive({"earlier": named_series(ours.folder, "earlier", **EARLIER)}, strict, port)
    pacs.moved = lambda datasets: (datasets if is_whole else datasets[:-1]) + other
    with served(pacs):
        remote = RemoteNode("LOOSE", "127.0.0.1", pacs.port)
        sources = [PriorSource(remote, 1)]
        PriorFetcher(ours.database, "LUNGNODE", sources, timeouts=TIMEOUTS, settle_s=1.0).run_due()
    with ours.database.read() as session:
        (short,) = priors.shortfalls(session)
    note = f"the PACS sent {IMAGES} instances of other studies in the meantime"
    missing = f"{IMAGES - 1} of {IMAGES} instances arrived; "
    expected = (PriorStatus.DONE, note) if is_whole else (PriorStatus.PENDING, missing + note)
    assert (short.status, short.reason) == expected


@pytest.mark.parametrize("patient_id", ["P*", "P?", "*"])
def test_a_patient_id_with_wildcards_is_not_asked_for(node: tuple[Node, int], patient_id: str) -> None:
    ours, port = node
    take(ours.intake, named_series(ours.folder, "current", **{**CURRENT, "PatientID": patient_id}))
    pacs = archive({"earlier": named_series(ours.folder, "earlier", **EARLIER)}, ignoring("PatientID"), port)
    with served(pacs):
        remote = RemoteNode("LOOSE", "127.0.0.1", pacs.port)
        PriorFetcher(ours.database, "LUNGNODE", [PriorSource(remote, 1)], timeouts=TIMEOUTS).run_due()
    with ours.database.read() as session:
        (row,) = session.scalars(select(PriorSearchRow)).all()
        assert len(session.scalars(select(InstanceRow)).all()) == IMAGES
    assert (pacs.keys, row.status) == ([], PriorStatus.FAILED)
    assert row.reason == "the Patient ID is not an exact value: it is empty, or has wildcards (*, ?, \\)"
