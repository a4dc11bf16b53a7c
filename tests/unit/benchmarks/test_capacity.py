"""The simulation of capacity agrees with queueing theory where there is one, and finds fleets that hold."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("simpy", reason="benchmarks.capacity needs simpy")

from benchmarks import capacity
from benchmarks.capacity import (
    GOAL_S,
    Study,
    draw_studies,
    poisson_day,
    simulate,
    smallest_fleet,
    stages_of,
)


@pytest.fixture
def costs() -> dict[str, dict[str, float]]:
    """The costs that the ADR rests on."""
    return tomllib.loads(Path(capacity.__file__).with_name("capacity_costs.toml").read_text())


def studies(rate: float, n: int, seed: int = 0) -> tuple[list[Study], np.ndarray]:
    """Poisson arrivals of so many a second, and exponential factors of mean one."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    luck = rng.exponential(1.0, n)
    return [Study(float(t), 1, float(x)) for t, x in zip(arrivals, luck, strict=True)], luck


def erlang_c(servers: int, load: float) -> float:
    """Probability of waiting in M/M/c (Erlang 1917)."""
    top = load**servers / math.factorial(servers) * servers / (servers - load)
    return top / (sum(load**k / math.factorial(k) for k in range(servers)) + top)


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.6), (3, 2.1), (8, 6.4)])
def test_waiting_agrees_with_erlang(servers: int, rate: float) -> None:
    sent, luck = studies(rate, 40_000)
    outcome = simulate(sent, [("workers", servers, lambda s: s.luck)])
    expected = erlang_c(servers, rate) / (servers - rate)
    assert float((outcome.latencies - luck).mean()) == pytest.approx(expected, rel=0.15)


def test_equal_services_wait_half_as_long(costs: dict[str, dict[str, float]]) -> None:
    sent, _ = studies(0.7, 40_000)
    outcome = simulate(sent, [("workers", 1, lambda _: 1.0)])
    expected = 0.7 / (2 * (1 - 0.7))  # M/D/1, Pollaczek-Khinchine
    assert float(outcome.latencies.mean()) - 1.0 == pytest.approx(expected, rel=0.1)


def test_a_day_brings_the_studies_asked_for_mostly_before_noon() -> None:
    times = np.array(poisson_day(5000, np.random.default_rng(1)))
    assert len(times) == pytest.approx(5000, rel=0.06)
    assert ((times > 8 * 3600) & (times < 12 * 3600)).sum() > 3 * (times < 6 * 3600).sum()


def test_the_fleet_found_holds_and_a_smaller_one_does_not(costs: dict[str, dict[str, float]]) -> None:
    fleet, outcome = smallest_fleet(20_000, costs, gpu=False, seed=3)
    assert outcome.percentile(99) <= GOAL_S
    assert fleet.workers > 2
    rng = np.random.default_rng(3)
    day = draw_studies(poisson_day(20_000, rng), costs, rng)
    fewer = simulate(day, stages_of(replace(fleet, workers=fleet.workers - 1), costs))
    assert fewer.percentile(99) > GOAL_S


def test_the_same_seed_gives_the_same_day(costs: dict[str, dict[str, float]]) -> None:
    first, second = (smallest_fleet(500, costs, gpu=True, seed=5) for _ in range(2))
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1].latencies, second[1].latencies)


def test_an_unknown_scale_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity.main(["--scales", "planet"]) == 2
    assert "planet" in capsys.readouterr().err
