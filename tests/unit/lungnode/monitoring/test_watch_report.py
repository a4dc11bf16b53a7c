"""Alarms of the watch begin when something is unlikely, end when it is likely again, and do not flap between."""

from __future__ import annotations

import numpy as np

from db.analyses.ground_truth import Judged
from db.domain.findings import Verdict
from db.domain.scanners import Scanner
from lungnode.monitoring.watch_report import lasting, overrides, p_of_increase

SCANNER = Scanner("Maker One", "B60f", "1.0 mm")


def judged(*shares: tuple[int, float]) -> list[Judged]:
    """So many verdicts of which so large a share is a rejection, evenly spread."""
    verdicts = [
        Verdict.REJECT if int((i + 1) * share) > int(i * share) else Verdict.ACCEPT
        for n, share in shares
        for i in range(n)
    ]
    return [Judged(SCANNER, "PACS", str(i), verdict, False, 0.5) for i, verdict in enumerate(verdicts)]


def test_an_alarm_lasts_between_its_two_limits() -> None:
    alarms, before = [], None
    for p in (0.01, 0.0005, 0.01, 0.002, 0.04, 0.06, 0.01):
        before = {"overrides": lasting({"all": p}, before, "overrides")}
        alarms.append(before["overrides"] == ["all"])
    assert alarms == [False, True, True, True, True, False, False]


def test_more_overrides_alarm_and_fewer_do_not() -> None:
    more, fewer = overrides(judged((200, 0.1), (50, 0.5))), overrides(judged((200, 0.5), (50, 0.1)))
    assert p_of_increase(more) < 0.001
    assert p_of_increase(fewer) == 1.0
    assert fewer["p"] < 0.001
    assert (more["reference"]["k"], more["recent"]["k"], more["all"]["n"]) == (20, 25, 250)


def test_few_verdicts_are_counted_and_not_compared() -> None:
    counted = overrides(judged((30, 0.2)))
    assert (counted["n"], counted["needed"]) == (30, 100)
    assert counted["all"]["k"] == 6
    assert p_of_increase(counted) == 1.0
    assert np.isclose(counted["all"]["interval"], (0.0951, 0.3731), atol=1e-3).all()
