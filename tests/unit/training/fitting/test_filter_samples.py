"""The filter's samples: folds without a shared patient or series, and marks of both kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.types import CtVolume
from inference.volumes.patches import PATCH_SHAPE, Patch
from training.data.marked_series import MarkedSeries, SeriesMark
from training.data.nodules import DataError, NoduleRow
from training.fitting.filter_samples import FilterSamples, add_marks, patient_folds
from training.fitting.tasks import PatchTask


def row(patient: str, number: int) -> NoduleRow:
    return NoduleRow(f"{patient}_{number}", patient, 8.0, 4.0, 4, True, 2.5, 0.7, "train")


def task(folds: list[int] | None) -> PatchTask:
    count = 6
    patch = Patch(np.zeros(PATCH_SHAPE, np.float16), (-20.0,) * 3, (20.0,) * 3)
    labels = np.arange(count) % 2 == 0
    everything = np.ones(count, dtype=bool)
    return PatchTask(
        "filter", ("not_nodule", "nodule"), [str(i) for i in range(count)], [patch] * count, labels.astype(np.float32),
        labels, everything, everything, [f"p{i}" for i in range(count)], np.array(["train"] * count),
        np.ones(count, dtype=np.float32), ~everything, None if folds is None else np.array(folds),
    )  # fmt: skip


def test_patients_are_not_divided_and_folds_are_even() -> None:
    rows = [row(f"p{patient}", number) for patient in range(20) for number in range(1 + patient % 3)]
    folds = patient_folds(rows, 3)
    counts = [sum(folds[one.patient_id] == fold for one in rows) for fold in range(3)]
    assert set(folds) == {one.patient_id for one in rows}
    assert max(counts) - min(counts) <= 2
    assert patient_folds(rows, 3) == folds


def test_a_task_keeps_its_own_folds() -> None:
    own = [0, 1, 2, -1, 0, 1]
    assert task(own).own_folds(3).tolist() == own


@pytest.mark.parametrize(("own", "count"), [([0, 1, 2, -1, 0, 1], 2), ([0, 1, 2, -1, 0, 1], 5), (None, 3)])
def test_another_number_of_folds_than_the_tasks_own_is_refused(own: list[int] | None, count: int) -> None:
    with pytest.raises(DataError, match=r"use --folds [03]"):
        task(own).own_folds(count)


def test_marks_of_three_readers_and_outlined_lesions_are_nodules() -> None:
    volume = CtVolume(np.zeros((20, 40, 40), np.int16), (2.5, 0.7, 0.7), np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]])
    marks = tuple(SeriesMark(20.0, 20.0, 10.0, 8.0, readers) for readers in (4, 3, 2, 1, None))
    samples = FilterSamples()
    add_marks(samples, MarkedSeries("A", Path("A"), "train", True, marks), volume, fold=2)
    assert samples.names == ["A:mark:0", "A:mark:1", "A:mark:4"]
    assert samples.labels == [True] * 3
    assert samples.folds == [2] * 3
    assert samples.groups == ["A"] * 3
