"""The line that training prints of each epoch says how long the rest takes."""

from __future__ import annotations

import time

import pytest

from training.loop import EpochReport
from training.train import progress_printer


@pytest.mark.parametrize(
    ("epochs_done", "lines"),
    [
        ([1, 2], ["epoch 1/20 loss 0.5000, 190 s left", "epoch 2/20 loss 0.5000, 180 s left"]),
        ([13, 14], ["epoch 13/20 loss 0.5000, 70 s left", "epoch 14/20 loss 0.5000, 60 s left"]),  # resumed
        ([20], ["epoch 20/20 loss 0.5000, 0 s left"]),
    ],
)
def test_the_time_left_is_that_of_the_epochs_trained_here(
    epochs_done: list[int], lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    report = progress_printer("slice")
    for epoch in epochs_done:
        report(EpochReport(epoch, 20, 0.5, None))
    assert capsys.readouterr().err.splitlines() == [f"slice: {line}" for line in lines]
