"""Patient-level splits and the check for leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class LeakError(Exception):
    """Two splits share a patient, cluster or duplicate; the message holds no identity."""


def check_no_leak(splits: Sequence[str], groups: Sequence[str], what: str) -> None:
    """Raise LeakError if a group is in more than one split."""
    splits_of: dict[str, set[str]] = {}
    for split, group in zip(splits, groups, strict=True):
        splits_of.setdefault(group, set()).add(split)
    torn = [group_splits for group_splits in splits_of.values() if len(group_splits) > 1]
    if torn:
        names = ", ".join(sorted(set().union(*torn)))
        counted = f"{len(torn)} of them, in {names}"
        raise LeakError(f"the splits share a {what} ({counted}): a model would be measured on what it has seen")


def group_folds(groups: Sequence[str], labels: Sequence[bool], *, folds: int, seed: int) -> NDArray[np.int_]:
    """Return the fold of each sample: groups undivided, positives balanced, deterministic for a seed."""
    rng = np.random.default_rng(seed)
    names = np.array(groups)
    flags = np.array(labels)
    order = rng.permutation(np.unique(names))
    load = np.zeros((folds, 2))
    fold_of: dict[str, int] = {}
    for name in sorted(order, key=lambda g: -int((names == g).sum())):
        counts = np.array([(~flags[names == name]).sum(), flags[names == name].sum()], dtype=float)
        cost = ((load + counts) ** 2).sum(axis=1) - (load**2).sum(axis=1)
        best = int(np.argmin(cost))
        load[best] += counts
        fold_of[name] = best
    return np.array([fold_of[name] for name in groups])


def split_hash(names: Sequence[str]) -> str:
    """Return the SHA-256 of the sorted sample names."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
