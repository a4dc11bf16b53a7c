"""The benchmarks run, and measure what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measure import sync_ms, table, usage
from benchmarks.receivers import path_without_ours
from benchmarks.soak import slope

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole services are measured; a busy machine takes its time


def run_benchmark(name: str, *arguments: str) -> dict[str, object]:
    """Run one as its users do; gives its JSON."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    assert result["benchmark"] == name
    assert result["rows"]
    return result


def test_inference_and_preprocessing_are_measured() -> None:
    result = run_benchmark("inference", "--repeat", "1", "--networks", "cube24")
    rows = result["rows"]
    assert isinstance(rows, list)
    assert {(row["engine"], row["batch"]) for row in rows} >= {("torch-float32", 1), ("torch-float32", 32)}
    assert all(row["share_of_peak"] > 0 and row["images_per_s"] > 0 for row in rows)
    run_benchmark("preprocess", "--repeat", "1")


def test_whole_analyses_are_measured_beside_the_naive_way() -> None:
    rows = run_benchmark("analysis", "--repeat", "1", "--slices", "100")["rows"]
    assert isinstance(rows, list)
    assert [row["networks by"] for row in rows][:2] == ["naive", "auto"]
    stages = ("lungs_s", "candidates_s", "sorting_s", "grading_s")
    assert all(sum(row[stage] for stage in stages) <= row["seconds"] for row in rows)
    assert rows[0]["times_naive"] == 1


def test_a_study_is_measured_to_its_last_result_object() -> None:
    (row,) = rows_of(run_benchmark("service", "--repeat", "1", "--slices", "100"))
    assert 0 < row["push_s"] < row["whole_s"] < row["objects_s"]
    assert row["quiet_s"] + row["analysis_s"] < row["whole_s"]


def test_a_start_is_measured_beside_torch_alone() -> None:
    empty, again, torch_alone = rows_of(run_benchmark("start", "--repeat", "1"))
    assert 0 < again["ready_s"] <= again["first_answer_s"]
    assert again["cpu_s"] < empty["cpu_s"]
    assert torch_alone["cpu_s"] > 0


def test_uploads_are_measured_by_the_number_of_clients() -> None:
    rows = rows_of(run_benchmark("predict", "--requests", "4", "--concurrency", "1,2"))
    assert [(row["concurrency"], row["requests"]) for row in rows] == [(1, 4), (2, 4)]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] and row["cpu_ms"] > 0 for row in rows)


def rows_of(result: dict[str, object]) -> list[dict[str, Any]]:
    rows = result["rows"]
    assert isinstance(rows, list)
    return rows


def test_paging_is_measured_in_every_order() -> None:
    result = run_benchmark("worklist", "--studies", "1200", "--repeat", "2")
    rows = result["rows"]
    assert isinstance(rows, list)
    assert {row["query"] for row in rows} >= {"newest", "oldest", "priority", "text, a name"}
    assert all(0 < row["json_median_ms"] <= row["json_p99_ms"] for row in rows)


def test_strangers_are_in_nobodys_way_and_only_a_good_certificate_gets_in() -> None:
    result = run_benchmark("strangers", "--counts", "5", "--stores", "2", "--watch", "0")
    rows, matrix = result["rows"], result["certificates"]
    assert isinstance(rows, list)
    assert isinstance(matrix, list)
    assert {row["stored"] for row in rows} == {"2/2"}
    assert {row["tls"] for row in rows} == {"yes", "no"}
    let_in = {(row["certificate"], name) for row in matrix for name, answer in row.items() if answer == "in"}
    assert let_in == {("good", "TLS 1.2"), ("good", "TLS 1.3")}


def test_a_soak_tells_what_grew(tmp_path: Path) -> None:
    result = run_benchmark("soak", "--minutes", "0.6", "--every", "6", "--out", str(tmp_path))
    rows, counts = result["rows"], result["counts"]
    assert isinstance(rows, list)
    assert isinstance(counts, dict)
    assert {row["what"] for row in rows} >= {"dicom_mib", "worker_files", "web_threads", "database_mib", "store_mib"}
    assert counts["analysed"] >= 2
    assert not [name for name in counts if "failed" in name or "refused" in name or "answered" in name]
    assert counts["studies without a result"] == 0
    assert (tmp_path / "soak.png").stat().st_size > 10_000


def test_a_slope_is_that_of_the_line_and_not_of_the_noise() -> None:
    at_h, noise = np.linspace(0, 2, 600), np.random.default_rng(1).normal(0, 5, 600)
    per_hour, half = slope(at_h, 100 + 3 * at_h + noise)
    assert half is not None
    assert abs(per_hour - 3) < half < 2
    assert slope(at_h, np.full(600, 7.0)) == (0.0, 0.0)


@pytest.mark.dcmtk
def test_reception_is_measured_beside_a_peer() -> None:
    if shutil.which("storescu", path=path_without_ours()) is None:
        pytest.skip("DCMTK's storescu is not installed")
    arguments = ("--instances", "8", "--repeat", "1", "--associations", "2", "--only", "lungnode,pynetdicom")
    result = run_benchmark("receive", *arguments)
    rows = result["rows"]
    assert isinstance(rows, list)
    assert [row["receiver"] for row in rows] == ["lungnode", "pynetdicom"]
    assert all(row["instances_per_s"] > 0 for row in rows)


def test_the_use_of_a_process_is_read() -> None:
    mine = usage(os.getpid())
    assert mine.cpu_s > 0
    assert mine.peak_mib > 10
    assert usage(2**22 + 1).cpu_s == 0  # nobody


def test_tables_line_up(tmp_path: Path) -> None:
    lines = table([{"name": "a", "value": 1.5}, {"name": "bb", "value": None}]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert sync_ms(tmp_path, 2) > 0


def test_hostile_uploads_are_measured() -> None:
    result = run_benchmark("hostile_uploads", "--clients", "2", "--attacks", "JSON 30000 deep,QIDO with 3000 values")
    rows = result["rows"]
    assert isinstance(rows, list)
    assert [row["statuses"] for row in rows] == ["400 x2", "400 x2"]
    assert all(row["peak_mib"] > 0 and row["livez_s"] > 0 for row in rows)
