"""Token buckets."""

from __future__ import annotations

import pytest

from webapp.http import rate_limit
from webapp.http.errors import TooManyRequestsError
from webapp.http.rate_limit import RateLimit


def test_a_burst_is_let_through_and_then_a_steady_flow() -> None:
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])
    for _ in range(60):
        limit.take("a")
    with pytest.raises(TooManyRequestsError) as refused:
        limit.take("a")
    assert refused.value.retry_after_s == pytest.approx(1.0)
    now[0] += 1.0
    limit.take("a")
    with pytest.raises(TooManyRequestsError):
        limit.take("a")


def test_one_client_does_not_use_up_another_s() -> None:
    limit = RateLimit(1, clock=lambda: 0.0)
    limit.take("a")
    limit.take("b")
    with pytest.raises(TooManyRequestsError):
        limit.take("a")


def test_many_clients_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_CLIENTS", 3)
    limit = RateLimit(1, clock=lambda: 0.0)
    for number in range(10):
        limit.take(str(number))
    assert len(limit._buckets) == 3
