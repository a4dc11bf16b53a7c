"""Alerts as webhooks: what is wrong is told when it begins, once a day while it lasts, and when it is over."""

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

from db.analyses.quarantine import held_scanners
from db.database import Database
from db.domain.records import DeliveryStatus
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
"""What was sent earlier and never committed is not told of any more."""
CERTIFICATE_DAYS = 30
"""A certificate that ends sooner is an alert; issuing one takes hospitals weeks."""
LIST_HOURS = 24
"""And a revocation list; authorities issue one for about a week, some days before the last one ends."""

Entry = dict[str, Any]
"""Since when something is wrong, and when each webhook was told last."""
Post = Callable[[str, dict[str, object]], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that may be wrong: a stable code, whether it is, and a sentence without any identity."""

    code: str
    is_wrong: bool
    text: str


class Alerts:
    """Looks at the conditions and tells what changed. What was told stands in a file, so that a restart tells nothing.

    Parameters
    ----------
    state
        That file.
    post
        Sends one object to one URL; True where it was taken.
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
        """Tell every webhook what began, lasts, or is over; what one did not take is told again at the next look."""
        now = self._clock()
        told = self._told()
        for condition in self.conditions(now):
            entry = told.get(condition.code)
            if condition.is_wrong:
                told[condition.code] = self._say(condition, entry or {"since": now.isoformat(), "told": {}}, now)
            elif entry is not None and not self._take_back(condition, entry):
                del told[condition.code]
        self._write(told)

    def _say(self, condition: Condition, entry: Entry, now: datetime) -> Entry:
        """Tell each webhook that was not told, or not today; gives what stands after that."""
        told = dict(entry["told"])
        for url in self._urls():
            last = told.get(_key(url))
            if last is None or abs(now - datetime.fromisoformat(last)) >= REPEAT:  # a clock may have run ahead
                state = "raised" if last is None else "repeated"
                if self._tell(url, condition, state, entry["since"]):
                    told[_key(url)] = now.isoformat()
        return {"since": entry["since"], "told": told}

    def _take_back(self, condition: Condition, entry: Entry) -> Entry | None:
        """Tell each webhook that was told that it is over; gives what is still to be told, if anything."""
        left = {
            _key(url): entry["told"][_key(url)]
            for url in self._urls()
            if _key(url) in entry["told"] and not self._tell(url, condition, "cleared", entry["since"])
        }
        entry["told"] = left
        return entry if left else None

    def _urls(self) -> list[str]:
        return [url.get_secret_value() for url in self._settings.alerts.webhooks]

    def conditions(self, now: datetime) -> Sequence[Condition]:
        """Look at everything that settings ask to be looked at."""
        wanted = self._settings.alerts
        with self._database.read() as session:
            load, latest, report = workload(session), latest_arrival(session), latest_report(session)
            uncommitted = uncommitted_count(session, now - UNCOMMITTED_FOR)
            held_count = len(held_scanners(session))
            broken = faults.counts(session)
        found = []
        if wanted.no_study_h:
            silent_h = (now - max(latest or self._started, self._started)).total_seconds() / 3600
            if latest is not None and latest > self._started:
                silent_h = (now - latest).total_seconds() / 3600
            text = f"No new study for {wanted.no_study_h:g} hours."
            found.append(Condition("no_study", silent_h >= wanted.no_study_h, text))
        if wanted.dead_letters:
            count = load.deliveries.get(DeliveryStatus.FAILED, 0)
            text = f"{count} result objects could not be delivered: see the administration page, or `lungnode resend`."
            found.append(Condition("dead_letters", count > 0, text))
            text = f"Result objects of {load.result_failures} analyses could not be made: see the administration page."
            found.append(Condition("results_failed", load.result_failures > 0, text))
            text = f"{uncommitted} result objects of the last week were sent and never committed by their destination."
            found.append(Condition("uncommitted", uncommitted > 0, text))
        if wanted.queue_age_m:
            age_m = load.oldest_queued_s / 60
            text = f"The oldest unfinished analysis waits for {age_m:.0f} minutes."
            found.append(Condition("queue_age", age_m >= wanted.queue_age_m, text))
        if wanted.drift:
            found += _drift_conditions(report[1] if report else {})
        text = f"{held_count} scanners are held: what comes from them is not shown, see the administration page."
        found.append(Condition("scanners_held", held_count > 0, text))
        found += [Condition(code, broken[code] > 0, text.format(broken[code])) for code, text in FAULT_TEXTS.items()]
        found += self._certificate(now)
        found += self._revocations(now)
        free_mb = shutil.disk_usage(self._settings.home).free >> 20
        limit_mb = 2 * self._settings.dicom.min_free_mb
        text = f"{free_mb} MiB are free; under {self._settings.dicom.min_free_mb} nothing is taken any more."
        found.append(Condition("disk_low", free_mb < limit_mb, text))
        return found

    def _certificate(self, now: datetime) -> Sequence[Condition]:
        """Whether the certificate of the port ends soon; nothing where there is none, or it cannot be read."""
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
        """Whether a revocation list has ended or soon will; the same for one that cannot be read."""
        path = self._settings.dicom.tls.revocations
        if path is None:
            return ()
        try:
            ends = revocation_expiry(path)
        except (OSError, ValueError):
            return (Condition("revocations", True, "The revocation list of the DICOM port cannot be read."),)
        text = "The revocation list of the DICOM port has no end."
        if ends is not None:
            text = f"The revocation list of the DICOM port ends on {ends:%Y-%m-%d %H:%M} UTC; nobody gets in then."
        is_wrong = ends is not None and ends - now < timedelta(hours=LIST_HOURS)
        return (Condition("revocations", is_wrong, text),)

    def _tell(self, url: str, condition: Condition, state: str, since: str) -> bool:
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

    def _told(self) -> dict[str, Entry]:
        try:
            told = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        entries = told.items() if isinstance(told, dict) else ()
        return {code: one for code, one in entries if isinstance(one, dict) and isinstance(one.get("told"), dict)}

    def _write(self, told: dict[str, Any]) -> None:
        draft = self._state.with_name(f".{self._state.name}")
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(self._state)


FAULT_TEXTS = {
    faults.DAMAGED_FILE: "{} stored files are damaged and not sent or analysed: `lungnode store verify` lists them, "
    "`lungnode retrieve --force` mends them.",
    faults.DAMAGED_DATABASE: "The database is damaged: stop the service and restore a backup.",
    faults.CLOCK: "The clock of this machine was set, so no study is removed: correct it, or run "
    "`lungnode purge --accept-clock` if it is right.",
}
"""What is wrong with the node itself (``db.monitoring.faults``)."""
DRIFT_TEXTS = {
    "drift": "Series or answers of {} scanners are unlike their first ones: see the page /monitoring.",
    "overrides": "Readers reject or doubt more of what the model calls, at {} places: see the page /monitoring.",
    "calibration": "Probabilities do not come true at {} places: see the page /monitoring.",
}
"""What the watch for drift alarms of."""


def _drift_conditions(report: Mapping[str, Any]) -> list[Condition]:
    """Read the alarms off the latest report of ``lungnode.monitoring.watch_report``, which keeps them steady."""
    alarms = report.get("alarms", {})
    return [
        Condition(code, bool(alarms.get(code)), text.format(len(alarms.get(code, ()))))
        for code, text in DRIFT_TEXTS.items()
    ]


def _key(url: str) -> str:
    """What stands for a webhook in the file: its address may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def post_json(url: str, message: dict[str, object]) -> bool:
    """Send a JSON object by HTTP; True where it was answered with success."""
    body = json.dumps(message).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 (settings allow http, https)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
            return bool(200 <= response.status < 300)
    except (OSError, ValueError):
        _log.warning("alert:send_failed", extra={"code": "webhook_unreachable"})
        return False
