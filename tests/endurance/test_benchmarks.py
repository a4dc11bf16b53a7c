"""The benchmarks run, and measure what they say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measure import sync_ms, table, usage
from benchmarks.receivers import path_without_ours
from benchmarks.soak import slope
from tests.support.benchmark_runs import run_benchmark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole services are measured; a busy machine takes its time


def test_paging_is_measured_in_every_order() -> None:
    result = run_benchmark("worklist", "--studies", "1200", "--repeat", "2")
    rows = result["rows"]
    assert isinstance(rows, list)
    assert {row["query"] for row in rows} >= {"newest", "oldest", "priority", "text, a name"}
    assert all(0 < row["json_median_ms"] <= row["json_p99_ms"] for row in rows)


def test_hostile_peers_delay_no_store_and_only_a_valid_certificate_is_accepted() -> None:
    result = run_benchmark("hostile_peers", "--counts", "5", "--stores", "2", "--watch", "0")
    rows, matrix = result["rows"], result["certificates"]
    assert isinstance(rows, list)
    assert isinstance(matrix, list)
    assert {row["stored"] for row in rows} == {"2/2"}
    assert {row["tls"] for row in rows} == {"yes", "no"}
    let_in = {(row["certificate"], name) for row in matrix for name, answer in row.items() if answer == "in"}
    assert let_in == {("good", "TLS 1.2"), ("good", "TLS 1.3")}


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
    assert usage(2**22 + 1).cpu_s == 0  # no such process


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
