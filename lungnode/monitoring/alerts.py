"""Alerts by webhook: sent when a condition is raised, daily while it lasts, and when it is cleared."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from db.analyses.quarantine import quarantined_scanners
from db.database import Database
from db.domain.deliveries import DeliveryStatus
from db.monitoring import faults
from db.monitoring.drift_observations import latest_report
from db.monitoring.workload import latest_arrival, workload
from db.results.deliveries import uncommitted_count
from dicom_node.port.tls import expiry, revocation_expiry
from lungnode.settings.service import Settings

_log = logging.getLogger(__name__)

REPEAT = timedelta(days=1)
TIMEOUT_S = 10.0
UNCOMMITTED_FOR = timedelta(days=7)
"""Objects sent earlier and never committed no longer count."""
CERTIFICATE_DAYS = 30
"""A certificate that expires sooner is an alert; issuing one takes hospitals weeks."""
LIST_HOURS = 24
"""The same for a revocation list; CAs issue one for about a week, some days before the last one expires."""

Entry = dict[str, Any]
"""Start of a condition (``since``) and last notification of each webhook (``notified``)."""
Post = Callable[[str, dict[str, object]], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that may hold: stable code, state, and a text without any identity."""

    code: str
    is_wrong: bool
    text: str


class Alerts:
    """Sends alerts for changed conditions; a state file prevents repeated alerts after a restart.

    Parameters
    ----------
    state
        Path of the state file.
    post
        Sends one object to one URL; returns True on success.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        state: Path,
        *,
        post: Post | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._database = database
        self._state = state
        self._post = post or post_json
        self._clock = clock
        self._started = clock()

    def notify(self) -> None:
        """Notify every webhook of raised, lasting and cleared conditions; failures are retried next time."""
        now = self._clock()
        entries = self._read_entries()
        for condition in self.conditions(now):
            entry = entries.get(condition.code)
            if condition.is_wrong:
                entries[condition.code] = self._raise(
                    condition, entry or {"since": now.isoformat(), "notified": {}}, now
                )
            elif entry is not None and not self._clear(condition, entry):
                del entries[condition.code]
        self._write_entries(entries)

    def _raise(self, condition: Condition, entry: Entry, now: datetime) -> Entry:
        """Notify each webhook not notified yet or not within ``REPEAT``; return the updated entry."""
        notified = dict(entry["notified"])
        for url in self._urls():
            last = notified.get(_key(url))
            if last is None or abs(now - datetime.fromisoformat(last)) >= REPEAT:  # a clock may have run ahead
                state = "raised" if last is None else "repeated"
                if self._send(url, condition, state, entry["since"]):
                    notified[_key(url)] = now.isoformat()
        return {"since": entry["since"], "notified": notified}

    def _clear(self, condition: Condition, entry: Entry) -> Entry | None:
        """Notify each notified webhook that the condition is over; return the entry of those still to be notified."""
        pending = {
            _key(url): entry["notified"][_key(url)]
            for url in self._urls()
            if _key(url) in entry["notified"] and not self._send(url, condition, "cleared", entry["since"])
        }
        entry["notified"] = pending
        return entry if pending else None

    def _urls(self) -> list[str]:
        return [url.get_secret_value() for url in self._settings.alerts.webhooks]

    def conditions(self, now: datetime) -> Sequence[Condition]:
        """Evaluate all conditions that the settings enable."""
        enabled = self._settings.alerts
        with self._database.read() as session:
            load, latest, report = workload(session), latest_arrival(session), latest_report(session)
            uncommitted = uncommitted_count(session, now - UNCOMMITTED_FOR)
            held_count = len(quarantined_scanners(session))
            broken = faults.counts(session)
        conditions = []
        if enabled.no_study_h:
            silent_h = (now - max(latest or self._started, self._started)).total_seconds() / 3600
            if latest is not None and latest > self._started:
                silent_h = (now - latest).total_seconds() / 3600
            text = f"No new study for {enabled.no_study_h:g} hours."
            conditions.append(Condition("no_study", silent_h >= enabled.no_study_h, text))
        if enabled.dead_letters:
            count = load.deliveries.get(DeliveryStatus.FAILED, 0)
            text = f"{count} result objects could not be delivered: see the administration page, or `lungnode resend`."
            conditions.append(Condition("dead_letters", count > 0, text))
            text = f"Result objects of {load.result_failures} analyses could not be made: see the administration page."
            conditions.append(Condition("results_failed", load.result_failures > 0, text))
            text = f"{uncommitted} result objects of the last week were sent and never committed by their destination."
            conditions.append(Condition("uncommitted", uncommitted > 0, text))
        if enabled.queue_age_m:
            age_m = load.oldest_queued_s / 60
            text = f"The oldest unfinished analysis waits for {age_m:.0f} minutes."
            conditions.append(Condition("queue_age", age_m >= enabled.queue_age_m, text))
        if enabled.drift:
            conditions += _drift_conditions(report[1] if report else {})
        text = f"{held_count} scanners are in quarantine: their results are not shown, see the administration page."
        conditions.append(Condition("scanners_held", held_count > 0, text))
        conditions += [
            Condition(code, broken[code] > 0, text.format(broken[code])) for code, text in FAULT_TEXTS.items()
        ]
        conditions += self._certificate(now)
        conditions += self._revocations(now)
        free_mb = shutil.disk_usage(self._settings.home).free >> 20
        limit_mb = 2 * self._settings.dicom.min_free_mb
        text = f"{free_mb} MiB are free; below {self._settings.dicom.min_free_mb} instances are refused."
        conditions.append(Condition("disk_low", free_mb < limit_mb, text))
        return conditions

    def _certificate(self, now: datetime) -> Sequence[Condition]:
        """Return the certificate condition; empty without a readable certificate."""
        path = self._settings.dicom.tls.certificate
        try:
            ends = expiry(path) if path is not None else None
        except (OSError, ValueError):
            return ()
        if ends is None:
            return ()
        text = f"The certificate of the DICOM port expires on {ends:%Y-%m-%d}."
        return (Condition("certificate", ends - now < timedelta(days=CERTIFICATE_DAYS), text),)

    def _revocations(self, now: datetime) -> Sequence[Condition]:
        """Return the condition of the revocation list; an unreadable list raises it."""
        path = self._settings.dicom.tls.revocations
        if path is None:
            return ()
        try:
            ends = revocation_expiry(path)
        except (OSError, ValueError):
            return (Condition("revocations", True, "The revocation list of the DICOM port cannot be read."),)
        text = "The revocation list of the DICOM port does not expire."
        if ends is not None:
            text = (
                f"The revocation list of the DICOM port expires on {ends:%Y-%m-%d %H:%M} UTC; then no peer is accepted."
            )
        is_wrong = ends is not None and ends - now < timedelta(hours=LIST_HOURS)
        return (Condition("revocations", is_wrong, text),)

    def _send(self, url: str, condition: Condition, state: str, since: str) -> bool:
        message: dict[str, object] = {
            "node": self._settings.dicom.ae_title,
            "alert": condition.code,
            "state": state,
            "text": condition.text if state != "cleared" else "Over.",
            "since": since,
            "at": self._clock().isoformat(),
        }
        _log.warning("alert:sent", extra={"code": condition.code, "state": state})
        return self._post(url, message)

    def _read_entries(self) -> dict[str, Entry]:
        try:
            content = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        items = content.items() if isinstance(content, dict) else ()
        return {
            code: entry for code, entry in items if isinstance(entry, dict) and isinstance(entry.get("notified"), dict)
        }

    def _write_entries(self, entries: dict[str, Any]) -> None:
        draft = self._state.with_name(f".{self._state.name}")
        draft.write_text(json.dumps(entries), encoding="utf-8")
        draft.replace(self._state)


FAULT_TEXTS = {
    faults.DAMAGED_FILE: "{} stored files are damaged and not sent or analysed: `lungnode store verify` lists them, "
    "`lungnode retrieve --force` repairs them; results are created again.",
    faults.DAMAGED_DATABASE: "The database is damaged: stop the service and restore a backup.",
    faults.CLOCK: "The clock of this machine was changed, so no study is deleted: correct it, or run "
    "`lungnode purge --accept-clock` if it is right.",
}
"""Alert texts of faults of the node itself (``db.monitoring.faults``)."""
DRIFT_TEXTS = {
    "drift": "{} scanners have drifted from their baseline: see the page /monitoring.",
    "overrides": "The override rate has risen for {} scanners or sites: see the page /monitoring.",
    "calibration": "Probabilities are miscalibrated at {} sites: see the page /monitoring.",
}
"""Alert texts of drift monitoring."""


def _drift_conditions(report: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions for the alarms of the latest report (``lungnode.monitoring.watch_report``)."""
    alarms = report.get("alarms", {})
    return [
        Condition(code, bool(alarms.get(code)), text.format(len(alarms.get(code, ()))))
        for code, text in DRIFT_TEXTS.items()
    ]


def _key(url: str) -> str:
    """Return a hash that identifies a webhook; its URL may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def post_json(url: str, message: dict[str, object]) -> bool:
    """POST a JSON object; return True for a 2xx response."""
    body = json.dumps(message).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 (settings allow http, https)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return bool(200 <= response.status < 300)
    except (OSError, ValueError):
        _log.warning("alert:send_failed", extra={"code": "webhook_unreachable"})
        return False
