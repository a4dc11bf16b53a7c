"""What the watch reports of the model in use, for the page, the metrics and the alerts: one JSON object, kept.

Alarms have two limits, so that a figure that lies between them changes nothing: an alarm begins below ``RAISE_P`` and
ends above ``CLEAR_P``. Those of blocks of series have their own (``lungnode.monitoring.drift_watch.CALM``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from db.analyses.ground_truth import Judged, Proven, latest_judged, latest_proven
from db.domain.records import Verdict
from db.engine.session import now
from db.monitoring.drift_observations import (
    Outcomes,
    figures_of_check,
    latest_observations,
    latest_report,
    outcomes_by_machine,
    report_fingerprint,
    save_report,
)
from inference.drift.calibration_watch import watch_calibration
from inference.drift.output_drift import Share, compare_answers, compare_shares, share
from inference.drift.series_drift import HU_EDGES, REFERENCE, WINDOW, TooFew
from lungnode.monitoring.drift_watch import (
    HISTORY,
    ScannerDrift,
    answers,
    collect_finished,
    compare_blocks,
    scanner_drifts,
)

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.database import Database

Told = dict[str, Any]

WATCH_EVERY_S = 60.0
"""Period of the watch."""

FRESH, STALE = timedelta(minutes=10), timedelta(hours=1)
"""So old a report is made anew where there is news, and without: days pass."""
OUTCOMES_OF = timedelta(days=30)
OVERALL_REFERENCE, OVERALL_WINDOW = 200, 100
RECENT_VERDICTS = 50
RAISE_P, CLEAR_P = 0.001, 0.05
MAX_SCANNERS, MAX_SITES = 50, 20
ALL = "all"
TRUTHS = ("read_first", "model_seen", "pathology")
"""Where the truth of a case is from: verdicts of readers who read before the model was shown, of those who did not, and
pathology."""


def run_watch(database: Database) -> None:
    """Collect what finished since the last look, compare what blocks became whole, and report where there is news."""
    collect_finished(database)
    refresh_report(database, at_once=compare_blocks(database) > 0)


def refresh_report(database: Database, *, at_once: bool = False) -> bool:
    """Make the report anew where it is old, or where there is news and it is no longer fresh; tells whether."""
    with database.read() as session:
        known, latest = latest_report(session), report_fingerprint(session)
        if known is not None and not at_once:
            age, has_news = now(session) - known[0], known[1].get("news") != latest
            if age < (FRESH if has_news else STALE):
                return False
        report = _report(session, known[1].get("alarms") if known else None) | {"news": latest}
    with database.begin() as session:
        save_report(session, report)
    return True


def _report(session: Session, before: object) -> Told:
    """Make a report; ``before`` are the alarms of the last one."""
    drifts, judged = scanner_drifts(session, HISTORY), latest_judged(session)
    scanners = [_scanner(session, one, judged) for one in drifts]
    overall: Told = {"key": ALL, "outputs": _overall(session), "overrides": overrides(judged)}
    sites = _sites(judged, latest_proven(session))
    alarms = {
        "drift": [one["key"] for one in scanners if one["is_alarmed"]],
        "overrides": lasting(
            {one["key"]: p_of_more(one["overrides"]) for one in (overall, *scanners)}, before, "overrides"
        ),
        "calibration": lasting(
            {f"{site['site']} {truth}": site[truth].get("p", 1.0) for site in sites for truth in TRUTHS},
            before,
            "calibration",
        ),
    }
    shown = sorted(scanners, key=lambda one: not one["is_alarmed"])[:MAX_SCANNERS]
    return {
        "sizes": {
            "reference": REFERENCE,
            "window": WINDOW,
            "overall_reference": OVERALL_REFERENCE,
            "overall_window": OVERALL_WINDOW,
            "verdicts": RECENT_VERDICTS,
        },
        "hu_range": [int(HU_EDGES[0]), int(HU_EDGES[-1])],
        "scanners": shown,
        "scanners_left_out": len(scanners) - len(shown),
        "overall": overall,
        "machines": _machines(outcomes_by_machine(session, now(session) - OUTCOMES_OF)),
        "sites": sites,
        "alarms": alarms,
    }


def lasting(p_values: Mapping[str, float], before: object, kind: str) -> list[str]:
    """Name what is alarmed: what became unlikely enough, and what was alarmed and is not likely enough yet."""
    known = before.get(kind, []) if isinstance(before, Mapping) else []
    return [name for name, p in p_values.items() if p < RAISE_P or (name in known and p <= CLEAR_P)]


def _scanner(session: Session, one: ScannerDrift, judged: Sequence[Judged]) -> Told:
    scanner, checks = one.watched.scanner, one.checks
    return {
        "key": scanner.key,
        **scanner._asdict(),
        "series_count": one.watched.series_count,
        "is_alarmed": one.is_alarmed,
        "drifted": list(one.drifted),
        "history": [{"block": check.block, "drifted": list(check.drifted), **check.indices} for check in checks],
        "checked_at": checks[-1].checked_at.isoformat() if checks else None,
        "figures": figures_of_check(session, scanner, checks[-1].block) if checks else None,
        "overrides": overrides([verdict for verdict in judged if verdict.scanner == scanner]),
    }


def _overall(session: Session) -> Told:
    """Compare the latest answers of all scanners with those before; no alarm, for the mix of scanners changes too."""
    latest = latest_observations(session, OVERALL_REFERENCE + OVERALL_WINDOW)
    own = [one for one in latest if one.model_sha256 == latest[-1].model_sha256]
    if len(own) < OVERALL_REFERENCE + OVERALL_WINDOW:
        return asdict(TooFew("series", len(own), OVERALL_REFERENCE + OVERALL_WINDOW))
    return asdict(compare_answers(answers(own[:OVERALL_REFERENCE]), answers(own[OVERALL_REFERENCE:])))


def overrides(judged: Sequence[Judged]) -> Told:
    """Tell how often readers rejected, or were unsure of, what the model called: of late and before."""
    everything = {"all": asdict(_overridden(judged))}
    if len(judged) < 2 * RECENT_VERDICTS:
        return everything | asdict(TooFew("verdicts", len(judged), 2 * RECENT_VERDICTS))
    earlier, recent = _overridden(judged[:-RECENT_VERDICTS]), _overridden(judged[-RECENT_VERDICTS:])
    return everything | asdict(compare_shares((earlier.k, earlier.n), (recent.k, recent.n)))


def _overridden(judged: Sequence[Judged]) -> Share:
    return share(sum(one.verdict is not Verdict.ACCEPT for one in judged), len(judged))


def p_of_more(told: Told) -> float:
    """Give the p-value of a comparison where the recent share is the larger one; fewer overrides are no alarm."""
    if "recent" not in told:
        return 1.0
    earlier, recent = (told[name]["k"] / told[name]["n"] for name in ("reference", "recent"))
    return float(told["p"]) if recent > earlier else 1.0


def _machines(found: Mapping[str, Outcomes]) -> list[Told]:
    """Tell how many series of each machine had no answer, and of findings no malignancy; why, most frequent first."""
    ordered = sorted(found.items(), key=lambda one: -one[1].series)[:MAX_SCANNERS]
    return [
        {
            "model": model,
            "unanswered": asdict(share(sum(one.reasons.values()), one.series)),
            "reasons": [_reason(why, k, one.series) for why, k in one.reasons.most_common()],
            "doubtful": asdict(share(sum(one.doubts.values()), one.findings)),
            "doubts": [_reason(why, k, one.findings) for why, k in one.doubts.most_common()],
        }
        for model, one in ordered
    ]


def _reason(why: str, k: int, n: int) -> Told:
    return {"why": why, **asdict(share(k, n))}


def _sites(judged: Sequence[Judged], proven: Sequence[Proven]) -> list[Told]:
    """Measure the calibration at each sender of images, and at all together, by where the truth is from."""
    counts = Counter([*(one.site for one in judged), *(one.site for one in proven)])
    names = [name for name, _ in counts.most_common(MAX_SITES)]
    if len(names) == 1:
        return [_site(names[0], judged, proven)]
    parts = [([j for j in judged if j.site == name], [p for p in proven if p.site == name]) for name in names]
    return [
        *([_site(ALL, judged, proven)] if names else []),
        *(_site(name, *part) for name, part in zip(names, parts, strict=True)),
    ]


def _site(name: str, judged: Sequence[Judged], proven: Sequence[Proven]) -> Told:
    certain = [
        (one.nodule_probability, one.verdict is Verdict.ACCEPT, one.patient, one.is_read_first)
        for one in judged
        if one.verdict is not Verdict.UNSURE and one.nodule_probability is not None
    ]
    return {
        "site": name,
        "read_first": _calibration([case[:3] for case in certain if case[3]]),
        "model_seen": _calibration([case[:3] for case in certain if not case[3]]),
        "pathology": _calibration([(one.malignancy_probability, one.is_malignant, one.patient) for one in proven]),
    }


def _calibration(cases: Sequence[tuple[float, bool, str]]) -> Told:
    probabilities = np.array([case[0] for case in cases], np.float64)
    labels = np.array([case[1] for case in cases], np.bool_)
    return asdict(watch_calibration(probabilities, labels, np.array([case[2] for case in cases], np.str_)))
