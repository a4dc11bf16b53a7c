"""Folds keep groups together, and splits that leak are refused."""

from __future__ import annotations

import numpy as np
import pytest

from training.data.splits import LeakError, check_no_leak, group_folds


def test_folds_keep_groups_together_and_share_positives() -> None:
    rng = np.random.default_rng(0)
    groups = [f"p{i // 3}" for i in range(300)]
    labels = list(rng.random(300) < 0.4)
    fold = group_folds(groups, labels, folds=5, seed=1)
    assert all(len({int(f) for f, g in zip(fold, groups, strict=True) if g == name}) == 1 for name in set(groups))
    shares = [np.mean(np.array(labels)[fold == k]) for k in range(5)]
    assert max(shares) - min(shares) < 0.1
    assert (group_folds(groups, labels, folds=5, seed=1) == fold).all()


def test_a_split_that_shares_a_patient_is_refused() -> None:
    check_no_leak(["train", "train", "test"], ["a", "a", "b"], "patient")
    with pytest.raises(LeakError, match="share a patient"):
        check_no_leak(["train", "test"], ["a", "a"], "patient")
