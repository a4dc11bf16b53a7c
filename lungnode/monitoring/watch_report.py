"""Monitoring report of the model in use, for the page, the metrics and the alerts: one JSON object.

Alarms have hysteresis: an alarm begins below ``RAISE_P`` and ends above ``CLEAR_P``. Those of blocks of series end
after ``lungnode.monitoring.drift_watch.CALM`` blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from db.analyses.ground_truth import Judged, Proven, latest_judged, latest_proven
from db.domain.findings import Verdict
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

Report = dict[str, Any]

WATCH_EVERY_S = 60.0
"""Period of the watch."""

FRESH, STALE = timedelta(minutes=10), timedelta(hours=1)
"""Maximum age of a report with news and without."""
OUTCOMES_OF = timedelta(days=30)
OVERALL_REFERENCE, OVERALL_WINDOW = 200, 100
RECENT_VERDICTS = 50
RAISE_P, CLEAR_P = 0.001, 0.05
MAX_SCANNERS, MAX_SITES = 50, 20
ALL = "all"
TRUTHS = ("read_first", "model_seen", "pathology")
"""Reference standards: verdicts of readers before and after the model was shown, and pathology."""


def run_watch(database: Database) -> None:
    """Collect finished analyses, compare complete blocks, and refresh the report."""
    collect_finished(database)
    refresh_report(database, at_once=compare_blocks(database) > 0)


def refresh_report(database: Database, *, at_once: bool = False) -> bool:
    """Replace the report if it is stale, or not fresh and there is news; return whether it was replaced."""
    with database.read() as session:
        last, latest = latest_report(session), report_fingerprint(session)
        if last is not None and not at_once:
            age, has_news = now(session) - last[0], last[1].get("news") != latest
            if age < (FRESH if has_news else STALE):
                return False
        report = _report(session, last[1].get("alarms") if last else None) | {"news": latest}
    with database.begin() as session:
        save_report(session, report)
    return True


def _report(session: Session, before: object) -> Report:
    """Return a new report; ``before`` are the alarms of the last one."""
    drifts, judged = scanner_drifts(session, HISTORY), latest_judged(session)
    scanners = [_scanner(session, state, judged) for state in drifts]
    overall: Report = {"key": ALL, "outputs": _overall(session), "overrides": overrides(judged)}
    sites = _sites(judged, latest_proven(session))
    alarms = {
        "drift": [scanner["key"] for scanner in scanners if scanner["is_alarmed"]],
        "overrides": lasting(
            {group["key"]: p_of_increase(group["overrides"]) for group in (overall, *scanners)}, before, "overrides"
        ),
        "calibration": lasting(
            {f"{site['site']} {truth}": site[truth].get("p", 1.0) for site in sites for truth in TRUTHS},
            before,
            "calibration",
        ),
    }
    shown = sorted(scanners, key=lambda scanner: not scanner["is_alarmed"])[:MAX_SCANNERS]
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
    """Return the names in alarm: p below ``RAISE_P``, or in alarm before and p not above ``CLEAR_P``."""
    alarmed = before.get(kind, []) if isinstance(before, Mapping) else []
    return [name for name, p in p_values.items() if p < RAISE_P or (name in alarmed and p <= CLEAR_P)]


def _scanner(session: Session, state: ScannerDrift, judged: Sequence[Judged]) -> Report:
    scanner, checks = state.watched.scanner, state.checks
    return {
        "key": scanner.key,
        **scanner._asdict(),
        "series_count": state.watched.series_count,
        "is_alarmed": state.is_alarmed,
        "drifted": list(state.drifted),
        "history": [{"block": check.block, "drifted": list(check.drifted), **check.indices} for check in checks],
        "checked_at": checks[-1].checked_at.isoformat() if checks else None,
        "figures": figures_of_check(session, scanner, checks[-1].block) if checks else None,
        "overrides": overrides([verdict for verdict in judged if verdict.scanner == scanner]),
    }


def _overall(session: Session) -> Report:
    """Compare the latest answers of all scanners with earlier ones (no alarm: the mix of scanners changes too)."""
    latest = latest_observations(session, OVERALL_REFERENCE + OVERALL_WINDOW)
    own = [series for series in latest if series.model_sha256 == latest[-1].model_sha256]
    if len(own) < OVERALL_REFERENCE + OVERALL_WINDOW:
        return asdict(TooFew("series", len(own), OVERALL_REFERENCE + OVERALL_WINDOW))
    return asdict(compare_answers(answers(own[:OVERALL_REFERENCE]), answers(own[OVERALL_REFERENCE:])))


def overrides(judged: Sequence[Judged]) -> Report:
    """Return how often readers rejected or were unsure of findings of the model, recently and before."""
    shares = {"all": asdict(_overridden(judged))}
    if len(judged) < 2 * RECENT_VERDICTS:
        return shares | asdict(TooFew("verdicts", len(judged), 2 * RECENT_VERDICTS))
    earlier, recent = _overridden(judged[:-RECENT_VERDICTS]), _overridden(judged[-RECENT_VERDICTS:])
    return shares | asdict(compare_shares((earlier.k, earlier.n), (recent.k, recent.n)))


def _overridden(judged: Sequence[Judged]) -> Share:
    return share(sum(case.verdict is not Verdict.ACCEPT for case in judged), len(judged))


def p_of_increase(comparison: Report) -> float:
    """Return the p-value of a comparison if the recent share is larger, else 1 (fewer overrides are no alarm)."""
    if "recent" not in comparison:
        return 1.0
    earlier, recent = (comparison[name]["k"] / comparison[name]["n"] for name in ("reference", "recent"))
    return float(comparison["p"]) if recent > earlier else 1.0


def _machines(outcomes: Mapping[str, Outcomes]) -> list[Report]:
    """Return each machine's series without an answer and findings without malignancy, with reasons by frequency."""
    ordered = sorted(outcomes.items(), key=lambda item: -item[1].series)[:MAX_SCANNERS]
    return [
        {
            "model": model,
            "unanswered": asdict(share(sum(counts.reasons.values()), counts.series)),
            "reasons": [_reason(why, k, counts.series) for why, k in counts.reasons.most_common()],
            "doubtful": asdict(share(sum(counts.doubts.values()), counts.findings)),
            "doubts": [_reason(why, k, counts.findings) for why, k in counts.doubts.most_common()],
        }
        for model, counts in ordered
    ]


def _reason(why: str, k: int, n: int) -> Report:
    return {"why": why, **asdict(share(k, n))}


def _sites(judged: Sequence[Judged], proven: Sequence[Proven]) -> list[Report]:
    """Return the calibration of each site and of all together, by reference standard."""
    counts = Counter([*(case.site for case in judged), *(case.site for case in proven)])
    names = [name for name, _ in counts.most_common(MAX_SITES)]
    if len(names) == 1:
        return [_site(names[0], judged, proven)]
    parts = [([j for j in judged if j.site == name], [p for p in proven if p.site == name]) for name in names]
    return [
        *([_site(ALL, judged, proven)] if names else []),
        *(_site(name, *part) for name, part in zip(names, parts, strict=True)),
    ]


def _site(name: str, judged: Sequence[Judged], proven: Sequence[Proven]) -> Report:
    certain = [
        (case.nodule_probability, case.verdict is Verdict.ACCEPT, case.patient, case.is_read_first)
        for case in judged
        if case.verdict is not Verdict.UNSURE and case.nodule_probability is not None
    ]
    return {
        "site": name,
        "read_first": _calibration([case[:3] for case in certain if case[3]]),
        "model_seen": _calibration([case[:3] for case in certain if not case[3]]),
        "pathology": _calibration([(case.malignancy_probability, case.is_malignant, case.patient) for case in proven]),
    }


def _calibration(cases: Sequence[tuple[float, bool, str]]) -> Report:
    probabilities = np.array([case[0] for case in cases], np.float64)
    labels = np.array([case[1] for case in cases], np.bool_)
    return asdict(watch_calibration(probabilities, labels, np.array([case[2] for case in cases], np.str_)))
