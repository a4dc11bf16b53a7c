"""STOW-RS: what is posted is stored as the network's instances are, and every refusal is reported."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
import requests

from db.audit import trail as audit
from tests.support.dicomweb import Archive, serving
from tests.support.factories import CtSeries, ct_series

TYPE = 'multipart/related; type="application/dicom"; boundary=here'
FAILURES, STORED, REASON = "00081198", "00081199", "00081197"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with serving(tmp_path_factory.mktemp("archive")) as served:
        yield served


def body(*parts: bytes, part_type: str = "application/dicom") -> bytes:
    head = f"--here\r\nContent-Type: {part_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--here--\r\n"


def post(archive: Archive, content: bytes, path: str = "studies", content_type: str = TYPE) -> requests.Response:
    headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
    return requests.post(f"{archive.url}/{path}", data=content, headers=headers, timeout=60)


def with_class(path: Path, sop_class_uid: str) -> bytes:
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class_uid
    content = io.BytesIO()
    ds.save_as(content)
    return content.getvalue()


def reasons(answer: requests.Response) -> list[int]:
    return [item[REASON]["Value"][0] for item in answer.json().get(FAILURES, {"Value": []})["Value"]]


def series_of(folder: Path, seed: int) -> CtSeries:
    return ct_series(folder, n=3, rows=32, seed=seed)


def test_what_another_project_s_client_stores_can_be_retrieved(archive: Archive, tmp_path: Path) -> None:
    series = series_of(tmp_path, 1)
    response = archive.client.store_instances([pydicom.dcmread(path) for path in series.paths])
    referenced = {item.ReferencedSOPInstanceUID: item.RetrieveURL for item in response.ReferencedSOPSequence}
    assert set(referenced) == set(series.sop_instance_uids)
    assert "FailedSOPSequence" not in response
    for path in series.paths:
        sent = pydicom.dcmread(path)
        address = f"/studies/{series.study_instance_uid}/series/{series.series_instance_uid}/instances/"
        assert referenced[sent.SOPInstanceUID].endswith(address + sent.SOPInstanceUID)
        url = f"{archive.url}{address}{sent.SOPInstanceUID}"
        answer = requests.get(url, headers={"Accept": "application/dicom; transfer-syntax=*"}, timeout=30)
        assert (
            answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={sent.file_meta.TransferSyntaxUID}"
        )
        stored = pydicom.dcmread(io.BytesIO(answer.content))
        assert stored == sent
    with archive.database.read() as session:
        actors = {entry.event.actor for entry in audit.recent(session) if entry.event.action == "study:received"}
    assert actors == {"WEB"}


def test_sending_again_is_harmless_and_other_content_is_refused(archive: Archive, tmp_path: Path) -> None:
    path = series_of(tmp_path, 2).paths[0]
    ds = pydicom.dcmread(path)
    assert post(archive, body(path.read_bytes())).status_code == 200
    assert post(archive, body(path.read_bytes())).status_code == 200
    ds.SeriesDescription = "altered"
    content = io.BytesIO()
    ds.save_as(content)
    answer = post(archive, body(content.getvalue()))
    assert (answer.status_code, reasons(answer)) == (409, [0x0111])


def test_some_stored_and_some_refused_is_202_with_both_named(archive: Archive, tmp_path: Path) -> None:
    series = series_of(tmp_path, 3)
    mr = with_class(series.paths[1], "1.2.840.10008.5.1.4.1.1.4")
    answer = post(archive, body(series.paths[0].read_bytes(), mr, b"no DICOM at all", b""))
    assert answer.status_code == 202
    assert reasons(answer) == [0x0122, 0xC000, 0xC000]
    stored = [item["00081155"]["Value"][0] for item in answer.json()[STORED]["Value"]]
    assert stored == [str(pydicom.dcmread(series.paths[0]).SOPInstanceUID)]


def test_an_instance_of_another_study_is_refused_where_the_study_is_named(archive: Archive, tmp_path: Path) -> None:
    series = series_of(tmp_path, 4)
    answer = post(archive, body(series.paths[0].read_bytes()), "studies/1.2.3")
    assert (answer.status_code, reasons(answer)) == (409, [0xA900])
    answer = post(archive, body(series.paths[0].read_bytes()), f"studies/{series.study_instance_uid}")
    assert answer.status_code == 200
    assert answer.json()["00081190"]["Value"] == [f"{archive.url}/studies/{series.study_instance_uid}"]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related; type=application/dicom; boundary=here",
        "Multipart/Related;type=application/dicom;boundary=here",
        'multipart/related; boundary="here"; type="application/dicom"; start="<x>"',
        "multipart/related; boundary=here",
    ],
)
def test_content_types_as_clients_write_them(archive: Archive, tmp_path: Path, content_type: str) -> None:
    content = body(series_of(tmp_path, 6).paths[0].read_bytes())
    assert post(archive, content, content_type=content_type).status_code == 200


@pytest.mark.parametrize(
    "altered",
    [
        lambda content: b"This is a multipart message.\r\n" + content,
        lambda content: b"--here is not a boundary\r\n" + content,
        lambda content: b"\r\n" + content,
        lambda content: content.replace(b"--here\r\n", b"--here \t \r\n"),
        lambda content: content + b"An epilogue.\r\n--here\r\n",
        lambda content: content.rstrip(b"\r\n"),
    ],
    ids=["preamble", "preamble like a boundary", "empty line", "blanks", "epilogue", "no last line end"],
)
def test_what_surrounds_the_parts_is_ignored(
    archive: Archive, tmp_path: Path, altered: Callable[[bytes], bytes]
) -> None:
    series = series_of(tmp_path, 7)
    answer = post(archive, altered(body(*(path.read_bytes() for path in series.paths[:2]))))
    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == 2


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", TYPE, 400),
        (b"--here--\r\n", TYPE, 400),
        (b"no boundary", TYPE, 400),
        (body(b"x")[:-20], TYPE, 400),
        (b"x", "application/dicom", 415),
        (b"x", 'multipart/related; type="application/dicom+json"; boundary=here', 415),
        (b"x", 'multipart/related; type="application/dicom"', 415),
        (b"x", "multipart/form-data; boundary=here", 415),
    ],
)
def test_a_body_that_is_none_is_refused(archive: Archive, content: bytes, content_type: str, status: int) -> None:
    assert post(archive, content, content_type=content_type).status_code == status


def test_a_body_that_breaks_off_stores_nothing_of_the_part_that_was_open(archive: Archive, tmp_path: Path) -> None:
    series = series_of(tmp_path, 5)
    full_body = body(series.paths[0].read_bytes(), series.paths[1].read_bytes())
    assert post(archive, full_body[:-500]).status_code == 400
    answer = requests.get(f"{archive.url}/studies/{series.study_instance_uid}/instances", timeout=30)
    assert len(answer.json()) == 1
    assert list((archive.store.root / "incoming").rglob("*.part")) == []
