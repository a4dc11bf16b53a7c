"""The conformance page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom.uid import ParametricMapStorage
from pynetdicom.sop_class import Verification

from db.archive.index import ArchivedInstance
from db.archive.search import ArchivedSeries, ArchivedStudy
from db.domain.studies import PatientAttributes
from dicom_node import query_models
from dicom_node.encoding import commitment_messages, part10, transfer_syntaxes
from dicom_node.encoding.status import Status
from dicom_node.port.access import Rejection
from dicom_node.port.listener import ListenerSettings
from dicom_node.results import job as results_job
from dicom_node.services import identifiers, query_service, retrieve_service


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "conformance.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """The text between a heading and the next one."""
    _, _, rest = page.partition(f" {title}\n")
    assert rest, f"no section {title}"
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_sop_classes_and_transfer_syntaxes_are_the_listener_s(page: str) -> None:
    uids = re.findall(r"\| (1\.2\.840\.[\d.]+) \|", section(page, "Storage SCP"))
    assert uids == [
        Verification,
        *transfer_syntaxes.STORAGE_CLASSES,
        *transfer_syntaxes.TRANSFER_SYNTAXES,
    ]


def test_statuses_are_those_that_are_answered(page: str) -> None:
    listed = re.findall(r"^\| (0x[0-9A-F]{4}) \|", section(page, "Statuses of a C-STORE"), flags=re.MULTILINE)
    assert [int(code, 16) for code in listed] == sorted(int(status) for status in Status)


def test_rejections_are_those_of_the_code(page: str) -> None:
    rows = re.findall(r"\| (permanent|transient) \| (user|provider).*?(\d+) \|", section(page, "Who may associate"))
    results, sources = {"permanent": 1, "transient": 2}, {"user": 1}
    documented = {(results[result], sources.get(source), int(reason)) for result, source, reason in rows}
    in_code = {(value[0], value[1] if value[1] == 1 else None, value[2]) for value in (one.value for one in Rejection)}
    assert documented == in_code


def test_identity_and_limits_are_those_of_the_code(page: str) -> None:
    assert f"`{part10.IMPLEMENTATION_CLASS_UID}`" in page
    assert f"`{part10.IMPLEMENTATION_VERSION_NAME}`" in page
    assert f"| {ListenerSettings().max_pdu_bytes} bytes |" in page
    assert f"| {ListenerSettings().acceptor.timeout_s:.0f} s from connecting" in page


def test_results_are_those_that_are_sent(page: str) -> None:
    uids = re.findall(r"\| (1\.2\.840\.[\d.]+) \|", section(page, "Storage SCU: results"))
    assert uids == list(transfer_syntaxes.RESULT_CLASSES)
    classes = {kind.sop_class_uid for kind in results_job.KINDS.values()}
    assert set(uids) == classes | {ParametricMapStorage}  # which version 1.0 made
    assert f"({commitment_messages.COMMITMENT_CLASS})" in section(page, "Storage commitment SCU")


def test_queries_are_those_that_are_answered(page: str) -> None:
    text = section(page, "Query/Retrieve SCP")
    uids = re.findall(r"\| (1\.2\.840\.[\d.]+) \|", text)
    assert uids == [query_models.STUDY_ROOT_FIND, query_models.STUDY_ROOT_MOVE, query_models.STUDY_ROOT_GET]
    documented = {
        "STUDY": identifiers.study_values(ArchivedStudy("", "", "", "", "", "", "", PatientAttributes(""), (), 0, 0)),
        "SERIES": identifiers.series_values("", ArchivedSeries("", None, "", "", 0)),
        "IMAGE": identifiers.image_values(ArchivedInstance("", "", "", "", "", None, "")),
    }
    for level, values in documented.items():
        (row,) = re.findall(rf"^\| {level} \| (.*) \|$", text, flags=re.MULTILINE)
        listed = re.findall(r"\b[A-Z]\w+\b", row)
        assert set(listed) == set(values) - {"InstanceAvailability"}, level
    codes = {int(code, 16) for code in re.findall(r"^\| (0x[0-9A-F]{4}) \|", text, flags=re.MULTILINE)}
    assert codes == {
        query_service.NOT_AUTHORIZED, query_service.OUT_OF_RESOURCES,
        query_service.DOES_NOT_MATCH, query_service.CANCELLED,
        retrieve_service.ALL_FAILED, retrieve_service.DESTINATION_UNKNOWN, retrieve_service.WARNING,
    }  # fmt: skip
