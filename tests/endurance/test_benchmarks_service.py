"""The benchmarks of a whole service run, and measure what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.benchmark_runs import rows_of, run_benchmark

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # whole services are measured; a busy machine takes its time
SIZE = ("--slices", "24", "--length", "60", "--rows", "256")


def test_a_study_is_measured_to_its_last_result_object() -> None:
    (row,) = rows_of(run_benchmark("service", "--repeat", "1", *SIZE))
    assert 0 < row["push_s"] < row["whole_s"] < row["objects_s"]
    assert row["quiet_s"] + row["analysis_s"] < row["whole_s"]


def test_a_start_is_measured_beside_torch_alone() -> None:
    empty, again, torch_alone = rows_of(run_benchmark("start", "--repeat", "1", "--idle", "0"))
    for start in (empty, again):
        assert 0 < start["ready_s"] <= start["first_answer_s"]
    assert all(row["cpu_s"] > 0 for row in (empty, again, torch_alone))


def test_uploads_are_measured_by_the_number_of_clients() -> None:
    rows = rows_of(run_benchmark("predict", "--requests", "4", "--concurrency", "1,2"))
    assert [(row["concurrency"], row["requests"]) for row in rows] == [(1, 4), (2, 4)]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] and row["cpu_ms"] > 0 for row in rows)


def test_a_soak_reports_growth(tmp_path: Path) -> None:
    result = run_benchmark("soak", "--minutes", "0.3", "--every", "4", "--out", str(tmp_path))
    rows, counts = result["rows"], result["counts"]
    assert isinstance(rows, list)
    assert isinstance(counts, dict)
    assert {row["what"] for row in rows} >= {"dicom_mib", "worker_files", "web_threads", "database_mib", "store_mib"}
    assert counts["analysed"] >= 2
    assert not [name for name in counts if "failed" in name or "refused" in name or "answered" in name]
    assert counts["studies without a result"] == 0
    assert (tmp_path / "soak.png").stat().st_size > 10_000
