"""Work shared between processes adds up to that of one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.parallel import SINGLE_PROCESS, World


@given(n=st.integers(1, 40), size=st.integers(1, 8), seed=st.integers(0, 99))
def test_weighted_means_of_the_parts_average_to_the_mean_of_the_batch(n: int, size: int, seed: int) -> None:
    batch = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    losses = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    parts = [World(rank, size).share_of(batch) for rank in range(size)]
    assert sorted(torch.cat([part for part, weight in parts if weight]).tolist()) == list(range(n))
    assert all(len(part) for part, _ in parts)
    mean = sum(weight * losses[part].mean() for part, weight in parts) / size
    assert float(mean) == pytest.approx(float(losses.mean()))


def test_alone_nothing_changes() -> None:
    value = torch.arange(3)
    assert SINGLE_PROCESS.agreed(value) is value
    part, weight = SINGLE_PROCESS.share_of(value)
    assert part.equal(value)
    assert weight == 1.0
