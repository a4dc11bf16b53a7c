"""Several processes train as one: torchrun on the CPU, over gloo."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.test_commands import write_nodules

FITS = Path(__file__).parents[1] / "support" / "parallel_fits.py"


def torchrun(processes: int, *arguments: object, root: Path) -> dict[str, object]:
    """Run a module or script in so many processes; gives the JSON object that it prints last."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [str(c) for c in command], check=False, cwd=root, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_processes_share_each_batch_and_end_with_one_network(root: Path, tmp_path: Path) -> None:
    by_processes = {}
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        by_processes[processes] = torchrun(processes, FITS, tmp_path / str(processes), root=root)
    one_process, together = by_processes[1], by_processes[2]
    assert together["one_sample"] == one_process["one_sample"]
    assert together["unequal_shards"] == pytest.approx(one_process["unequal_shards"], abs=4e-3)  # bfloat16 sums differ
    assert together["same_everywhere"]
    for processes in (1, 2):
        assert by_processes[processes]["resumed"] == by_processes[processes]["whole"]
        wrong = f"was written by {2 * processes} processes, not {processes}"
        assert wrong in str(by_processes[processes]["refusal"])
    assert together["whole"] != one_process["whole"]


def test_the_training_command_runs_in_two_processes_of_which_one_writes(root: Path, tmp_path: Path) -> None:
    write_nodules(tmp_path)
    arguments = ["-m", "training.train", "--data", tmp_path, "--out", tmp_path / "out", "--preset", "small"]
    summary = torchrun(2, *arguments, "--epochs", 1, root=root)
    assert (summary["processes"], summary["samples"]) == (2, 16)
    unseen = np.load(tmp_path / "out" / "unseen.npz")
    assert np.isfinite(unseen["margins"]).sum(axis=1).tolist() == [6] * len(unseen["margins"])
    members = json.loads((tmp_path / "out" / "members.json").read_text())
    written = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert hashlib.sha256(written).hexdigest() == members["weights_sha256"]
