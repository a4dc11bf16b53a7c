"""Output of the demonstration, and its refusals before anything is started."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.phantom.writer import SeriesIdentity
from lungnode.demo.command import _raise_unless_analysed, report
from lungnode.demo.pacs import Returned, study_files
from lungnode.demo.service import choose_port
from lungnode.errors import CommandError
from tests.support.factories import Defects, ct_series

FINDING = {
    "row": 171.25,
    "column": 156.0,
    "position_mm": [-69.65, -59.15, 41.25],
    "diameter_mm": 18.94,
    "nodule_probability": 0.987,
    "malignancy_probability": 0.8123,
    "interval": [0.61, 0.93],
    "displayed": "61 to 93 % (14 of 17 similar)",
}


def test_findings_and_returned_objects_are_listed() -> None:
    answer = {"findings": [FINDING], "deliveries": [{"status": "sent"}]}
    lines = report(answer, [Returned("Comprehensive 3D SR Storage", "2.25.1", 103_000)])
    assert lines == [
        "Findings: 1",
        "   #  rated malignant                diameter      row   column     z [mm]",
        "   1  61 to 93 % (14 of 17 similar)   18.9 mm    171.2    156.0       41.2",
        "Objects returned to the PACS: 1",
        "      Comprehensive 3D SR Storage (101 KiB)",
    ]


def test_a_finding_without_numbers_and_a_failed_delivery_are_printed_as_such() -> None:
    bare = dict.fromkeys(("diameter_mm", "nodule_probability", "malignancy_probability", "interval", "displayed"))
    failed = {"status": "failed", "kind": "sr", "destination": "PACS", "reason": "the node does not accept it"}
    lines = report({"findings": [FINDING | bare], "deliveries": [failed]}, [])
    assert "not given" in lines[2]
    assert lines[-1] == "      not delivered: sr to PACS: the node does not accept it"


def test_no_findings_need_no_table() -> None:
    assert report({"findings": []}, []) == ["Findings: 0", "Objects returned to the PACS: 0"]


@pytest.mark.parametrize("state", ["not_analysed", "failed"])
def test_a_study_without_answer_is_an_error_with_its_reasons(state: str) -> None:
    reasons = [{"code": "a", "text": "There are gaps."}, {"code": "b", "text": "It is not CT."}]
    with pytest.raises(CommandError, match=r"There are gaps\.; It is not CT\."):
        _raise_unless_analysed({"state": state, "reasons": reasons})


def test_a_port_that_is_taken_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port(port) not in (0, port)
    assert choose_port(port) == port
    assert choose_port(port, but=port) != port


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(CommandError, match="no DICOM CT images"):
        study_files(tmp_path)


def test_a_folder_with_two_studies_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        ct_series(tmp_path / str(number), n=2, rows=16, identity=SeriesIdentity(patient_id=f"P{number}"))
    with pytest.raises(CommandError, match="2 studies"):
        study_files(tmp_path)


def test_images_are_found_below_and_what_the_node_does_not_take_is_left_out(tmp_path: Path) -> None:
    series = ct_series(tmp_path / "a" / "b", n=3, rows=16, transfer_syntax="jpegls")
    other = Defects(attributes={"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"})
    ct_series(tmp_path / "mr", n=1, rows=16, defects=other)
    files = study_files(tmp_path)
    assert [file.path for file in files] == sorted(series.paths)
    assert {file.transfer_syntax_uid for file in files} == {"1.2.840.10008.1.2.4.80"}
    assert replace(files[0]) == files[0]
