"""``lungnode model``: what was tried is compared, as a table and as data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from db import findings, trials
from db.domain import AnalysisOutcome, ModelIdentity, NewFinding, Verdict
from db.engine import Database
from lungnode.cli import run
from tests.factories import answer_series, ct_series, index_series

SECOND = ModelIdentity("nodule", "2.0", "b" * 64)


def judged(database: Database, home: Path, folder: Path, probabilities: list[tuple[bool, float, float]]) -> None:
    """Findings of one series with what readers said of them, and what live and second model give them."""
    series = ct_series(folder, n=1, rows=16, seed=len(probabilities))
    series_id = index_series(database, series, home / "store")

    def found(which: int) -> tuple[NewFinding, ...]:
        return tuple(
            NewFinding(series.sop_instance_uids[0], 1, 5, 5, (30.0 * i, 0.0, 0.0), 8.0, 0.9, told[which], None)
            for i, told in enumerate(probabilities)
        )

    analysis_id = answer_series(database, series_id, AnalysisOutcome(found(1)))
    with database.begin() as session:
        trials.record_trial(session, analysis_id, SECOND, AnalysisOutcome(found(2)))
        for record, (label, *_) in zip(findings.findings_of_analysis(session, analysis_id), probabilities, strict=True):
            verdict = Verdict.ACCEPT if label else Verdict.REJECT
            findings.record_assessment(session, record.id, verdict, "", "", reader="reader")


def test_what_was_tried_is_compared(
    home_database: Database, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "compare"]) == 1
    assert "LUNGNODE_MODEL__SHADOW_BUNDLE" in capsys.readouterr().err
    told = [(i % 2 == 0, 0.9 - 0.04 * (i % 12), 0.9 if i % 2 == 0 else 0.1 + 0.01 * i) for i in range(24)]
    judged(home_database, home, tmp_path / "series", told)
    assert run(["model", "compare", "bbbb"]) == 0
    table = capsys.readouterr().out
    for words in ("candidate nodule 2.0 (bbbbbbbbbbbb)", "24 findings", "12 accepted", "McNemar", "AUC"):
        assert words in table, table
    assert run(["model", "compare", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"]["n"] == 24
    assert report["comparison"]["auc"]["second"] == 1.0
    assert run(["model", "compare", "--since", "2999-01-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["conclusion"] == "too_few"
    assert run(["model", "compare", "cccc"]) == 1
