"""The benchmarks of networks and whole analyses run, and measure what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from inference.bundle import SHIPPED
from tests.support.benchmark_runs import rows_of, run_benchmark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole services are measured; a busy machine takes its time


def test_inference_is_measured_by_every_engine() -> None:
    rows = rows_of(run_benchmark("inference", "--repeat", "1", "--networks", "cube24"))
    assert {(row["engine"], row["batch"]) for row in rows} >= {("torch-float32", 1), ("torch-float32", 32)}
    assert all(row["share_of_peak"] > 0 and row["images_per_s"] > 0 for row in rows)


def test_preprocessing_is_measured() -> None:
    run_benchmark("preprocess", "--repeat", "1")


@pytest.fixture
def few_candidates(tmp_path: Path) -> Path:
    """Shipped bundles of which the filter sorts few candidates: the naive way takes a third of a second for each."""
    for task in ("nodule", "filter"):
        shutil.copytree(SHIPPED / task, tmp_path / task)
    recipe = json.loads((tmp_path / "filter" / "bundle.json").read_text())
    recipe["gate"]["max_candidates"] = 4
    (tmp_path / "filter" / "bundle.json").write_text(json.dumps(recipe))
    return tmp_path


def test_whole_analyses_are_measured_beside_the_naive_way(few_candidates: Path) -> None:
    size = ("--slices", "24", "--length", "60", "--rows", "256")
    arguments = ("--repeat", "1", *size, "--engines", "torch-float32", "--bundle", str(few_candidates))
    rows = rows_of(run_benchmark("analysis", *arguments))
    assert [row["networks by"] for row in rows] == ["naive", "auto", "torch-float32"]
    stages = ("lungs_s", "candidates_s", "sorting_s", "grading_s")
    assert all(sum(row[stage] for stage in stages) <= row["seconds"] for row in rows)
    assert rows[0]["times_naive"] == 1
