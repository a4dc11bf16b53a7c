"""``lungnode pathology``: strict about each row, all rows or none, once each, and on record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from db.analyses import analyses, findings
from db.audit import trail as audit
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding
from lungnode.cli import run
from tests.support.factories import CtSeries, answer_series, ct_series, index_series

HEADER = "study_instance_uid,series_instance_uid,finding_id,x_mm,y_mm,z_mm,label,date,source"


@pytest.fixture
def series(tmp_path: Path) -> CtSeries:
    return ct_series(tmp_path / "series", n=1, rows=16)


@pytest.fixture
def database(home_database: Database, home: Path, series: CtSeries) -> Database:
    """The database of a HOME with one series that has a finding at (10, 20, -30)."""
    finding = NewFinding(series.sop_instance_uids[0], 1, 4, 5, (10.0, 20.0, -30.0), 8.0, 0.9, 0.7, (0.5, 0.8))
    outcome = AnalysisOutcome(findings=(finding,))
    answer_series(home_database, index_series(home_database, series, home / "store"), outcome)
    return home_database


def finding_id(database: Database) -> str:
    with database.read() as session:
        (finding,) = findings.findings_with_patients(session)
        assert analyses.pending_analyses(session) == ()
    return finding[1].id


def imported(folder: Path, *rows: str, header: str = HEADER, arguments: tuple[str, ...] = ()) -> int:
    file = folder / "pathology.csv"
    file.write_text("\n".join((header, *rows)) + "\n")
    return run(["pathology", "import", str(file), *arguments])


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_reports_are_matched_kept_once_and_on_record(
    database: Database, series: CtSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = series.study_instance_uid
    by_id = f"{study},,{finding_id(database)},,,,malignant,2026-02-03,resection"
    near = f",{series.series_instance_uid},,12.5,20,-30,benign,2026-02-04,biopsy"
    nowhere = f"{study},{series.series_instance_uid},,90,20,-30,Malignant,2026-02-05,biopsy"
    rows = (by_id, near, nowhere)
    assert imported(tmp_path, *rows, arguments=("--dry-run",)) == 0
    assert printed(capsys) == {
        "rows": 3, "added": 3, "unchanged": 0, "replaced": 0, "without_finding": 1, "dry_run": True
    }  # fmt: skip
    assert imported(tmp_path, *rows) == 0
    assert printed(capsys)["added"] == 3
    assert imported(tmp_path, *rows) == 0
    assert printed(capsys)["unchanged"] == 3
    assert imported(tmp_path, by_id.replace("malignant", "benign")) == 1
    assert "row 2: label contradicts" in capsys.readouterr().err
    assert imported(tmp_path, by_id.replace("malignant", "benign"), arguments=("--replace",)) == 0
    assert printed(capsys)["replaced"] == 1
    with database.read() as session:
        actions = [entry.event.action for entry in audit.recent(session, limit=100)]
    assert actions.count("pathology:imported") == 3
    assert actions.count("pathology:replaced") == 1
    assert run(["pathology", "list"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["finding_id"] is not None for line in lines].count(True) == 2
    assert study not in json.dumps(lines)


WRONG = (
    ("S,,,1,2,3,maybe,2026-01-01,x", "label must be benign or malignant"),
    ("S,,,1,2,3,benign,01.02.2026,x", "date must have the form 2026-01-31"),
    ("S,,,1,2,3,benign,2999-01-01,x", "date is in the future"),
    ("S,,,1,2,,benign,2026-01-01,x", "must all be numbers"),
    ("S,,,1,2,nan,benign,2026-01-01,x", "are out of range"),
    ("S,,,,,,benign,2026-01-01,x", "either finding_id or x_mm"),
    ("S,,CANARY,,,,benign,2026-01-01,x", "finding_id is not a valid finding id"),
    ("S,,00000000000000000000000000000000,,,,benign,2026-01-01,x", "finding not found"),
    (",,,1,2,3,benign,2026-01-01,x", "is required"),
    ("1.2.404,,,1,2,3,benign,2026-01-01,x", "study not found"),
    ("S,1.2.404,,1,2,3,benign,2026-01-01,x", "series not found"),
    ("CANARY^PHI,,,1,2,3,benign,2026-01-01,x", "study_instance_uid is not a UID"),
    ("S,,,1,2,3,benign,2026-01-01,", "source must have"),
    ("S,,,1,2,3,benign", "number of fields differs from the header"),
)


def test_a_row_that_is_wrong_stops_everything_and_is_named_without_its_values(
    database: Database, series: CtSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = series.study_instance_uid
    good = f"{study},,,10,20,-30,benign,2026-01-01,biopsy"
    for row, expected in WRONG:
        assert imported(tmp_path, good, row.replace("S,", f"{study},", 1) if row.startswith("S,") else row) == 1
        problem = capsys.readouterr().err
        assert "row 3" in problem, row
        assert expected in problem, row
        assert "CANARY" not in problem
    assert run(["pathology", "list"]) == 0
    assert capsys.readouterr().out == ""


def test_a_header_that_is_wrong_is_one_line(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for header in ("label,date", HEADER + ",patient_name", HEADER.replace("x_mm", "label")):
        assert imported(tmp_path, header=header) == 1
        assert "row 1" in capsys.readouterr().err
