"""The administrator's commands on both kinds of database: send again, withdraw, purge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from db.audit import trail as audit
from db.database import Database, load_or_create_audit_key
from db.domain.analyses import AnalysisOutcome
from db.domain.deliveries import DeliveryStatus
from db.domain.exchange import ResultObject
from db.read_models.studies import study_detail
from db.results import deliveries
from db.results import objects as results
from dicom_node.storage.instance_store import InstanceStore
from lungnode.cli import run
from tests.support.factories import CtSeries, answer_series, ct_series, index_series
from tests.support.records import delivery_record

SR = "1.2.840.10008.5.1.4.1.1.88.34"
AGE = timedelta(days=31)


@dataclass
class Home:
    """A node with one study that was answered a month ago, its report failed for two destinations."""

    database: Database
    folder: Path
    series: CtSeries
    dead: dict[str, str]
    capsys: pytest.CaptureFixture[str]

    def type(self, *arguments: str) -> tuple[int, list[Any], str]:
        """Type a command; gives exit status, what it printed as JSON, and errors."""
        status = run(list(arguments))
        out, errors = self.capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()], errors

    def statuses(self) -> dict[str, DeliveryStatus]:
        with self.database.read() as session:
            records = {name: delivery_record(session, one) for name, one in self.dead.items()}
        return {name: record.status for name, record in records.items() if record}

    def actors(self, action: str) -> list[str]:
        with self.database.read() as session:
            entries = audit.recent(session, limit=100)
        return [entry.event.actor for entry in entries if entry.event.action == action]


@pytest.fixture
def home(
    tmp_path: Path, migrated_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Home]:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LUNGNODE_HOME", str(folder))
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", migrated_url)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("dicom_node.storage.purge.GRACE", timedelta(0))
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    database = Database(
        migrated_url, load_or_create_audit_key(folder / "audit.key"), clock=lambda: datetime.now(UTC) - AGE
    )
    with InstanceStore(folder / "store") as store:
        series = ct_series(tmp_path / "sent", n=3, rows=16)
        analysis_id = answer_series(database, index_series(database, series, store.root), AnalysisOutcome())
        (store.root / "results").mkdir()
        (store.root / "results" / "a.dcm").write_text("x")
    result = ResultObject("sr", SR, "2.25.9", "2.25.8", 9801, "SR", 1, "results/a.dcm")
    with database.begin() as session:
        results.record_results(session, analysis_id, [result])
        asked = {"analysis_id": analysis_id, "sop_instance_uid": "2.25.9", "sop_class_uid": SR, "kind": "sr"}
        dead = {
            name: deliveries.request_delivery(session, destination=name, path=result.path, **asked).id
            for name in ("PACS", "RIS")
        }
        for one in dead.values():
            deliveries.record_delivery(session, one, DeliveryStatus.FAILED, "connection refused")
    yield Home(database, folder, series, dead, capsys)
    database.dispose()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_dead_letters_are_listed_and_sent_again_to_one_or_to_all(home: Home) -> None:
    status, lines, _ = home.type("resend", "--list")
    assert status == 0
    assert {(one["destination"], one["kind"], one["reason"]) for one in lines} == {
        ("PACS", "sr", "connection refused"),
        ("RIS", "sr", "connection refused"),
    }
    assert set(home.statuses().values()) == {DeliveryStatus.FAILED}
    _, lines, _ = home.type("resend", "--to", "RIS")
    assert [one["id"] for one in lines] == [home.dead["RIS"]]
    assert home.statuses() == {"PACS": DeliveryStatus.FAILED, "RIS": DeliveryStatus.PENDING}
    _, lines, _ = home.type("resend")
    assert [one["id"] for one in lines] == [home.dead["PACS"]]
    assert home.type("resend") == (0, [], "")
    assert home.actors("delivery:resent") == ["command:ada", "command:ada"]


def test_results_are_withdrawn_once_with_who_and_why(home: Home) -> None:
    uid = home.series.study_instance_uid
    status, (line,), _ = home.type("retract", uid, "--code", "safety", "--reason", "wrong patient")
    assert status == 0
    assert (line["code"], line["reason"], line["requested_by"]) == ("113037", "wrong patient", "command:ada")
    with home.database.read() as session:
        assert results.unreported_retractions(session) == (line["analysis"],)
    assert home.type("retract", uid, "--code", "quality", "--reason", "again")[1] == [line]  # the first one stands
    assert home.actors("result:retracted") == ["command:ada"]
    status, _, errors = home.type("retract", "1.2.3", "--code", "quality", "--reason", "x")
    assert (status, errors) == (1, "lungnode: study not found\n")


def test_an_old_study_is_purged_only_without_pending_work(home: Home) -> None:
    def is_there() -> bool:
        with home.database.read() as session:
            return study_detail(session, home.series.study_instance_uid) is not None

    status, _, errors = home.type("purge")
    assert (status, errors) == (1, "lungnode: specify --days N or set LUNGNODE_RETENTION__DAYS\n")
    assert home.type("purge", "--days", "30") == (0, [{"studies": 0, "files": 0}], "")  # dead letters
    with home.database.begin() as session:
        for one in home.dead.values():
            deliveries.record_delivery(session, one, DeliveryStatus.SENT)
    assert home.type("purge", "--days", "40")[1] == [{"studies": 0, "files": 0}]
    assert home.type("purge", "--days", "30", "--dry-run")[1] == [{"studies": 1}]
    assert is_there()
    assert home.type("purge", "--days", "30")[:2] == (0, [{"studies": 1, "files": 4}])
    assert not is_there()
    assert [path for path in (home.folder / "store").rglob("*") if path.suffix == ".dcm"] == []
    assert home.type("audit", "verify")[0] == 0


def test_every_file_that_a_row_names_is_looked_at(home: Home) -> None:
    assert home.type("store", "verify") == (0, [{"files": 4, "wrong": 0}], "")
    (home.folder / "store" / "results" / "a.dcm").unlink()
    status, (lost, counts), _ = home.type("store", "verify")
    assert (status, counts) == (1, {"files": 4, "wrong": 1})
    assert (lost["problem"], lost["path"]) == ("missing", "results/a.dcm")
    assert len(home.actors("store:verified")) == 2
