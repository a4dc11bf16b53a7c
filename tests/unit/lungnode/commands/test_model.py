"""``lungnode model``: what was tried is compared, as a table and as data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from db.accounts import users
from db.analyses import findings, promotions, shadow
from db.audit import trail as audit
from db.database import Database
from db.domain.accounts import Role
from db.domain.analyses import AnalysisOutcome
from db.domain.findings import NewFinding, Verdict
from db.domain.models import ModelIdentity
from dicom_node.phantom.writer import SeriesIdentity
from inference.bundle import SHIPPED
from lungnode.cli import run
from lungnode.commands.model import identity_of
from lungnode.settings.table import load_settings
from tests.support.factories import answer_series, ct_series, index_series

SECOND = ModelIdentity("nodule", "2.0", "b" * 64)


def judged(
    database: Database,
    home: Path,
    folder: Path,
    probabilities: list[tuple[bool, float, float]],
    model: ModelIdentity = SECOND,
) -> None:
    """A patient with one finding each: what a reader said of it, and what live and second model give it."""
    for number, (label, *given) in enumerate(probabilities):
        who = SeriesIdentity(patient_name="TEST^CHEST", patient_id=f"{folder.name} {number}")
        series = ct_series(folder / str(number), n=1, rows=16, seed=number, identity=who)
        series_id = index_series(database, series, home / "store")
        live, tried = (
            NewFinding(series.sop_instance_uids[0], 1, 5, 5, (0.0, 0.0, 0.0), 8.0, 0.9, probability, None)
            for probability in given
        )
        analysis_id = answer_series(database, series_id, AnalysisOutcome((live,)))
        with database.begin() as session:
            shadow.record_shadow_run(session, analysis_id, model, AnalysisOutcome((tried,)))
            (record,) = findings.findings_of_analysis(session, analysis_id)
            verdict = Verdict.ACCEPT if label else Verdict.REJECT
            findings.record_assessment(session, record.id, verdict, "", "", reader="reader")


def test_shadow_runs_are_compared(
    home_database: Database, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "compare"]) == 1
    assert "LUNGNODE_MODEL__SHADOW_BUNDLE" in capsys.readouterr().err
    cases = [(i % 2 == 0, 0.9 - 0.04 * (i % 12), 0.9 if i % 2 == 0 else 0.1 + 0.01 * i) for i in range(24)]
    judged(home_database, home, tmp_path / "series", cases)
    assert run(["model", "compare", "bbbb"]) == 0
    table = capsys.readouterr().out
    for words in (
        "candidate nodule 2.0 (bbbbbbbbbbbb)",
        "24 findings judged by verdicts",
        "24 patients",
        "McNemar",
        "AUC",
    ):
        assert words in table, table
    assert run(["model", "compare", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["comparison"]["n"] == 24
    assert report["comparison"]["auc"]["second"] == 1.0
    assert run(["model", "compare", "--since", "2999-01-01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["conclusion"] == "too_few"
    assert run(["model", "compare", "cccc"]) == 1


@pytest.fixture(scope="module")
def second_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped nodule bundle with another temperature: another model, by its digest."""
    folder = tmp_path_factory.mktemp("second") / "nodule"
    shutil.copytree(SHIPPED / "nodule", folder)
    recipe = json.loads((folder / "bundle.json").read_text())
    recipe["version"] = "second"
    recipe["calibration"] |= {"kind": "temperature", "parameters": {"temperature": 1.4}}
    (folder / "bundle.json").write_text(json.dumps(recipe))
    return folder


def test_a_model_is_promoted_by_an_administrator_and_taken_back(
    home_database: Database,
    home: Path,
    tmp_path: Path,
    second_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LUNGNODE_MODEL__SHADOW_BUNDLE", str(second_bundle))
    with home_database.begin() as session:
        users.add_user(session, "chief", "correct horse battery", Role.ADMIN)
        users.add_user(session, "reader", "correct horse battery", Role.RADIOLOGIST)
    second = identity_of(load_settings(), second_bundle)
    judged(home_database, home, tmp_path / "few", [(True, 0.6, 0.9)], model=second)
    promote = ["model", "promote", second.sha256[:12], "--reason", "sees more"]

    def refused(*arguments: str) -> str:
        assert run([*arguments]) == 1
        return capsys.readouterr().err

    assert "must name a user with the role admin" in refused(*promote, "--by", "reader")
    assert "too few (1 patients with positive" in refused(*promote, "--by", "chief")
    cases = [(i % 2 == 0, 0.9 - 0.04 * (i % 12), 0.9 if i % 2 == 0 else 0.1 + 0.01 * i) for i in range(24)]
    judged(home_database, home, tmp_path / "many", cases, model=second)
    assert run([*promote, "--by", "chief"]) == 0
    assert json.loads(capsys.readouterr().out)["live"] == second.sha256
    assert run(["model", "list"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["state"], one["version"]) for one in listed] == [("live", "second"), ("former", listed[1]["version"])]
    temperatures = [one["calibration"]["temperature"] for one in listed]
    assert temperatures[0] == pytest.approx(1.4 * temperatures[1])
    assert "is the live model's already" in refused(*promote, "--by", "chief")
    assert run(["model", "rollback", "--by", "chief", "--reason", "complaints"]) == 0
    assert json.loads(capsys.readouterr().out)["live"] == "the model of the settings"
    assert "promotion to roll back not found" in refused("model", "rollback", "--by", "chief", "--reason", "again")
    with home_database.read() as session:
        taken, promoted = promotions.promotions(session)
        acts = [entry.event.action for entry in audit.recent(session, limit=5)]
    assert (promoted.by, promoted.is_forced, taken.bundle) == ("chief", False, None)
    assert promoted.figures["comparison"]["n"] == 25  # type: ignore[index]
    assert acts[:2] == ["model:rolled_back", "model:promoted"]


def test_a_worse_model_is_promoted_only_by_force(
    home_database: Database,
    home: Path,
    tmp_path: Path,
    second_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LUNGNODE_MODEL__SHADOW_BUNDLE", str(second_bundle))
    with home_database.begin() as session:
        users.add_user(session, "chief", "correct horse battery", Role.ADMIN)
    cases = [(i % 2 == 0, 0.9 if i % 2 == 0 else 0.1, 0.5 + 0.01 * (i % 7)) for i in range(24)]
    judged(home_database, home, tmp_path / "many", cases)  # tried under a digest that is not this bundle's
    promote = ["model", "promote", SECOND.sha256[:4], "--by", "chief", "--reason", "for a test"]
    assert run(promote) == 1
    assert "not promoted: worse" in capsys.readouterr().err
    assert run([*promote, "--force"]) == 1
    assert "differs from the shadow-tested one" in capsys.readouterr().err
