"""Alerts reach webhooks once when something begins, once a day while it lasts, and once when it is over."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from benchmarks.authority import issue, revocation_list
from db.analyses import quarantine
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.deliveries import DeliveryStatus
from db.domain.scanners import Scanner
from db.results import deliveries
from db.studies.instances import receiving_series
from lungnode.monitoring.alerts import Alerts, post_json
from lungnode.settings.dicom import DicomSettings, TlsSettings
from lungnode.settings.notices import AlertSettings
from lungnode.settings.service import Settings
from tests.support.factories import answer_series, ct_series, index_series, sqlite_database

HOUR = timedelta(hours=1)


class Hook:
    """A webhook that is a list; it may be away."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        self.is_away = False

    def __call__(self, _url: str, message: dict[str, object]) -> bool:
        if not self.is_away:
            self.received.append((str(message["alert"]), str(message["state"])))
        return not self.is_away


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return sqlite_database(tmp_path)


def alerts_of(tmp_path: Path, database: Database, hook: Hook, ahead: list[timedelta], **enabled: object) -> Alerts:
    settings = Settings(home=tmp_path, alerts=AlertSettings(webhooks=("http://127.0.0.1:9/",), **enabled))  # type: ignore[arg-type]
    clock = lambda: datetime.now(UTC) + ahead[0]  # noqa: E731
    return Alerts(settings, database, tmp_path / "alerts.json", post=hook, clock=clock)


def test_dead_letters_raise_a_daily_alert_until_they_are_cleared(tmp_path: Path, database: Database) -> None:
    hook, ahead = Hook(), [timedelta(0)]
    alerts = alerts_of(tmp_path, database, hook, ahead)
    alerts.notify()
    assert hook.received == []
    series_id = index_series(database, ct_series(tmp_path / "s", n=1, rows=16), tmp_path / "store")
    analysis_id = answer_series(database, series_id, AnalysisOutcome())
    with database.begin() as session:
        delivery = deliveries.request_delivery(
            session, analysis_id=analysis_id, sop_instance_uid="2.25.1", sop_class_uid="1.2", kind="sr",
            destination="PACS", path="x",
        )  # fmt: skip
        deliveries.record_delivery(session, delivery.id, DeliveryStatus.FAILED, "refused")
    hook.is_away = True
    alerts.notify()
    hook.is_away = False
    alerts.notify()
    alerts.notify()
    assert hook.received == [("dead_letters", "raised")]
    ahead[0] = 25 * HOUR
    alerts_of(tmp_path, database, hook, ahead).notify()  # after a restart
    with database.begin() as session:
        deliveries.resend(session, delivery.id, requested_by="ada")
    alerts.notify()
    assert [state for _, state in hook.received] == ["raised", "repeated", "cleared"]


def test_uncommitted_objects_raise_an_alert_for_a_week(tmp_path: Path, database: Database) -> None:
    hook, ahead = Hook(), [timedelta(0)]
    series_id = index_series(database, ct_series(tmp_path / "s", n=1, rows=16), tmp_path / "store")
    analysis_id = answer_series(database, series_id, AnalysisOutcome())
    with database.begin() as session:
        asked = {"analysis_id": analysis_id, "sop_class_uid": "1.2", "kind": "sr", "destination": "PACS", "path": "x"}
        sent = [deliveries.request_delivery(session, sop_instance_uid=f"2.25.{n}", **asked).id for n in (1, 2)]
        deliveries.record_delivery(session, sent[0], DeliveryStatus.SENT, "stored with a warning (0xB000)")
        deliveries.record_delivery(session, sent[1], DeliveryStatus.SENT)
    alerts = alerts_of(tmp_path, database, hook, ahead)
    alerts.notify()
    assert hook.received == []
    with database.begin() as session:
        deliveries.schedule_check(session, sent[1], None, f"{deliveries.UNCOMMITTED}, and the node does not list it")
    alerts.notify()
    ahead[0] = 8 * 24 * HOUR
    alerts.notify()
    assert hook.received == [("uncommitted", "raised"), ("uncommitted", "cleared")]


def test_an_unreachable_webhook_is_notified_later_and_the_others_once(tmp_path: Path, database: Database) -> None:
    received: list[tuple[str, str]] = []
    away = {"http://two.example/"}

    def post(url: str, message: dict[str, object]) -> bool:
        if url not in away:
            received.append((url[7:10], str(message["state"])))
        return url not in away

    ahead = [timedelta(0)]
    urls = ("http://one.example/", "http://two.example/")
    settings = Settings(home=tmp_path, alerts=AlertSettings(webhooks=urls, no_study_h=1, queue_age_m=0))  # type: ignore[arg-type]
    alerts = Alerts(settings, database, tmp_path / "alerts.json", post=post, clock=lambda: datetime.now(UTC) + ahead[0])
    ahead[0] = 2 * HOUR
    for _ in range(3):
        alerts.notify()
    assert received == [("one", "raised")]
    away.clear()
    alerts.notify()
    alerts.notify()
    assert received[1:] == [("two", "raised")]
    away.add("http://two.example/")
    ahead[0] = timedelta(0)
    index_series(database, ct_series(tmp_path / "s", n=1, rows=16), tmp_path / "store")
    alerts.notify()
    alerts.notify()
    away.clear()
    alerts.notify()
    alerts.notify()
    assert received[2:] == [("one", "cleared"), ("two", "cleared")]
    assert "example" not in (tmp_path / "alerts.json").read_text()


def test_a_certificate_that_expires_soon_raises_an_alert(tmp_path: Path, database: Database) -> None:
    hook = Hook()
    authority = trustme.CA()
    for days, expected in ((31, []), (29, [("certificate", "raised")])):
        leaf = authority.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=days))
        leaf.cert_chain_pems[0].write_to_path(tmp_path / "node.crt")
        leaf.private_key_pem.write_to_path(tmp_path / "node.key")
        authority.cert_pem.write_to_path(tmp_path / "ca.crt")
        tls = TlsSettings(certificate=tmp_path / "node.crt", key=tmp_path / "node.key", authority=tmp_path / "ca.crt")
        alerts = AlertSettings(webhooks=("http://127.0.0.1:9/",))  # type: ignore[arg-type]
        settings = Settings(home=tmp_path, dicom=DicomSettings(tls=tls), alerts=alerts)
        Alerts(settings, database, tmp_path / "alerts.json", post=hook).notify()
        assert hook.received == expected


def test_a_revocation_list_that_expires_soon_or_is_unreadable_raises_an_alert(
    tmp_path: Path, database: Database
) -> None:
    hook, lists, authority = Hook(), tmp_path / "lists.pem", issue("authority", is_authority=True)
    tls = TlsSettings(certificate=lists, key=lists, authority=lists, revocations=lists)
    alerts = AlertSettings(webhooks=("http://127.0.0.1:9/",))  # type: ignore[arg-type]
    settings = Settings(home=tmp_path, dicom=DicomSettings(tls=tls), alerts=alerts)
    for hours, expected in ((25, "raised cleared"), (23, "raised cleared raised")):
        Alerts(settings, database, tmp_path / "alerts.json", post=hook).notify()
        lists.write_bytes(revocation_list(authority, (), ends=timedelta(hours=hours)))
        Alerts(settings, database, tmp_path / "alerts.json", post=hook).notify()
        assert [state for code, state in hook.received if code == "revocations"] == expected.split()


def test_a_quarantined_scanner_raises_an_alert_each_day_until_its_release(tmp_path: Path, database: Database) -> None:
    hook, ahead = Hook(), [timedelta(0)]
    alerts, scanner = alerts_of(tmp_path, database, hook, ahead), Scanner("Maker One", "B60f", "1.0 mm")
    with database.begin() as session:
        quarantine.quarantine_scanner(session, scanner, "noise went up", held_by="chief")
    alerts.notify()
    ahead[0] = 25 * HOUR
    alerts.notify()
    with database.begin() as session:
        quarantine.release_scanner(session, scanner, "serviced", released_by="chief")
    alerts.notify()
    assert hook.received == [("scanners_held", state) for state in ("raised", "repeated", "cleared")]


def test_no_study_for_some_hours_raises_an_alert(tmp_path: Path, database: Database) -> None:
    hook, ahead = Hook(), [timedelta(0)]
    alerts = alerts_of(tmp_path, database, hook, ahead, no_study_h=2, queue_age_m=0)
    ahead[0] = HOUR
    alerts.notify()
    assert hook.received == []
    ahead[0] = 3 * HOUR
    alerts.notify()
    assert hook.received == [("no_study", "raised")]
    ahead[0] = timedelta(0)
    index_series(database, ct_series(tmp_path / "s", n=1, rows=16), tmp_path / "store")
    alerts.notify()
    assert hook.received[-1] == ("no_study", "cleared")
    with database.read() as session:
        assert len(receiving_series(session)) == 1


def test_a_message_is_posted_as_json() -> None:
    taken: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    assert post_json(url, {"alert": "x"})
    server.server_close()
    assert taken == [{"alert": "x"}]
    assert not post_json(url, {"alert": "y"})
