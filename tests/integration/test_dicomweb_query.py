"""QIDO-RS: searching over a real server, by another project's client and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests

from dicom_node.phantom.writer import SeriesIdentity
from tests.support.dicomweb import Archive, serving
from tests.support.factories import CtSeries, ct_series, index_series

NAMES = ("Doe^Jane", "Doe^John", "Roe^Richard")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with serving(tmp_path_factory.mktemp("archive")) as served:
        yield served


@pytest.fixture(scope="module")
def series(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> list[CtSeries]:
    """A series of each of three patients."""
    written = []
    for number, name in enumerate(NAMES):
        folder: Path = tmp_path_factory.mktemp(f"patient{number}")
        identity = SeriesIdentity(patient_name=name, patient_id=f"P-{number}")
        written.append(ct_series(folder, n=3, rows=32, seed=number, identity=identity))
        index_series(archive.database, written[-1], archive.store.root)
    return written


def asked(archive: Archive, path: str) -> requests.Response:
    return requests.get(f"{archive.url}/{path}", timeout=30)


def test_a_study_has_the_attributes_of_its_files(archive: Archive, series: list[CtSeries]) -> None:
    one = series[0]
    (item,) = asked(archive, f"studies?StudyInstanceUID={one.study_instance_uid}").json()
    dataset, stored = pydicom.Dataset.from_json(item), pydicom.dcmread(one.paths[0], stop_before_pixels=True)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"):
        assert dataset[keyword].value == stored[keyword].value, keyword
    assert (dataset.NumberOfStudyRelatedSeries, dataset.NumberOfStudyRelatedInstances) == (1, 3)
    assert dataset.ModalitiesInStudy == "CT"
    assert dataset.RetrieveURL == f"{archive.url}/studies/{one.study_instance_uid}"
    assert requests.get(dataset.RetrieveURL, timeout=30).status_code == 200


def test_another_project_s_client_pages_through_all_studies(archive: Archive, series: list[CtSeries]) -> None:
    studies = archive.client.search_for_studies(limit=2, get_remaining=True)
    assert {one["0020000D"]["Value"][0] for one in studies} == {one.study_instance_uid for one in series}


def test_series_and_instances_are_found_below_a_study(archive: Archive, series: list[CtSeries]) -> None:
    one = series[1]
    (item,) = archive.client.search_for_series(one.study_instance_uid)
    dataset = pydicom.Dataset.from_json(item)
    assert (dataset.SeriesInstanceUID, dataset.Modality) == (one.series_instance_uid, "CT")
    assert dataset.NumberOfSeriesRelatedInstances == 3
    listed = archive.client.search_for_instances(one.study_instance_uid, one.series_instance_uid)
    instances = [pydicom.Dataset.from_json(entry) for entry in listed]
    assert [ds.InstanceNumber for ds in instances] == [1, 2, 3]
    assert {ds.SOPInstanceUID for ds in instances} == set(one.sop_instance_uids)
    assert {(ds.Rows, ds.Columns, str(ds.PatientName)) for ds in instances} == {(32, 32, "Doe^John")}
    assert "PixelSpacing" not in instances[0]


def test_included_fields_come_from_the_files(archive: Archive, series: list[CtSeries]) -> None:
    one = series[1]
    path = f"studies/{one.study_instance_uid}/instances?limit=1&includefield="
    for field in ("PixelSpacing", "00280030", "Modality,PixelSpacing", "all"):
        ds = pydicom.Dataset.from_json(asked(archive, path + field).json()[0])
        assert list(ds.PixelSpacing) == pytest.approx([one.spacing_mm[1], one.spacing_mm[2]], rel=1e-4)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 3),
        ("PatientName=Doe*", 2),
        ("00100010=doe^j?ne", 1),
        ("PatientName=doe*&PatientID=P-1", 1),
        ("PatientID=P-9", 0),
        ("PatientName=", 3),
        ("StudyDate=20260101-20260110", 3),
        ("StudyDate=20260106-", 0),
        ("StudyDate=-20260105", 3),
        ("ModalitiesInStudy=MR,CT", 3),
        ("ModalitiesInStudy=MR", 0),
        ("limit=2", 2),
        ("limit=2&offset=2", 1),
        ("limit=2&offset=9", 0),
        ("limit=99999", 3),
        ("includefield=all&fuzzymatching=false", 3),
        ("PatientID=p-1", 0),
        ("PatientID=p-*", 0),
        ("PatientID=P-?", 3),
        ("PatientName=DOE*", 2),
    ],
)
def test_studies_are_found(archive: Archive, series: list[CtSeries], query: str, count: int) -> None:
    answer = asked(archive, f"studies?{query}")
    assert answer.status_code == (200 if count else 204)
    assert answer.headers["Cache-Control"] == "no-store"
    if count:
        assert answer.headers["Content-Type"] == "application/dicom+json"
        assert len(answer.json()) == count
    else:
        assert answer.content == b""


def test_lists_of_uids_are_taken(archive: Archive, series: list[CtSeries]) -> None:
    uids = [one.study_instance_uid for one in series[:2]]
    for query in (",".join(uids), "%5C".join(uids), "&StudyInstanceUID=".join(uids)):
        items = asked(archive, f"studies?StudyInstanceUID={query}").json()
        assert {one["0020000D"]["Value"][0] for one in items} == set(uids)
    assert len(asked(archive, f"series?StudyInstanceUID={uids[0]},{uids[1]}").json()) == 2
    assert len(asked(archive, "instances?PatientName=Doe*&InstanceNumber=2").json()) == 2


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("fuzzymatching=true", "Only literal matching has been performed"),
        ("limit=1", "There are 2 additional results that can be requested"),
    ],
)
def test_what_is_not_done_is_said(archive: Archive, series: list[CtSeries], query: str, warning: str) -> None:
    answer = asked(archive, f"studies?{query}")
    assert answer.status_code == 200
    assert answer.headers["Warning"].startswith("299 ")
    assert warning in answer.headers["Warning"]


@pytest.mark.parametrize(
    "query",
    [
        "StudyDate=2026-01-01",
        "StudyDate=tomorrow",
        "StudyTime=99999-",
        "StudyInstanceUID=1.2;drop",
        "limit=0",
        "limit=-1",
        "limit=x",
        "offset=x",
        "PatientName=" + "x" * 300,
        "PatientName=a%00b",
        "PatientID=%00",
        "PatientID=1%0a2",
        "BodyPartExamined=CHEST",
        "PatintID=P-1",
        "patientid=P-1",
        "00400275.00400009=1",
        "RequestAttributesSequence.ScheduledProcedureStepID=1",
        "00091001=1",
        "unknown=1",
        "PatientID=P-1&00100020=P-2",
        "StudyDate=20260101&StudyDate=20260102",
        "PatientName=A*&PatientName=B*",
        "PatientName=" + "&PatientName=".join(f"n{number}" for number in range(1000)),
        "ModalitiesInStudy=" + ",".join(["CT"] * 1000),
    ],
)
def test_what_cannot_be_matched_is_refused(archive: Archive, query: str) -> None:
    answer = asked(archive, f"studies?{query}")
    assert answer.status_code == 400
    assert "Value" not in answer.text


@pytest.mark.parametrize("name", ["PatintID", "00400275.00400009", "BodyPartExamined"])
def test_a_key_that_is_not_matched_is_named(archive: Archive, name: str) -> None:
    message = asked(archive, f"studies?{name}=1").json()["error"]["message"]
    assert message == f"{name} is not supported as a matching key."


def test_only_json_is_offered(archive: Archive) -> None:
    answer = requests.get(f"{archive.url}/studies", headers={"Accept": "application/dicom+xml"}, timeout=30)
    assert answer.status_code == 406
