"""Child process that makes result objects: a job as JSON in, object names and failures as JSON out.

It reads the headers of untrusted files, so it runs with limits, prints nothing that came from a dataset, and is
replaced for each analysis. A result file that exists is never written again: its bytes may be at a PACS already.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import secrets
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom.config
from pydantic import TypeAdapter
from pydicom.dataset import Dataset

from db.domain.exchange import ResultObject
from db.engine.files import sync_folder
from dicom_node.results.job import CreatedResults, ReportJob, expected_objects
from dicom_node.results.presentation_state import build_pr, presentation_states
from dicom_node.results.rejection_note import build_ko
from dicom_node.results.secondary_capture import build_pages
from dicom_node.results.segmentation import build_seg
from dicom_node.results.source import read_identity
from dicom_node.results.structured_report import build_sr
from dicom_node.sandbox.child import limit_process, take_over_stdout
from dicom_node.sandbox.decode_process import DecodeLimits

JOBS: TypeAdapter[ReportJob] = TypeAdapter(ReportJob)
RESULTS: TypeAdapter[CreatedResults] = TypeAdapter(CreatedResults)
_Build = Callable[[ReportJob, list[ResultObject]], Sequence[Dataset]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Objects of one kind, and the function that builds them."""

    results: list[ResultObject]
    build: _Build


def main(memory_mb: int, cpu_s: int) -> None:
    """Read one job from standard input, make its objects, and print their names on standard output."""
    replies = take_over_stdout()
    silence()
    limit_process({resource.RLIMIT_AS: memory_mb << 20, resource.RLIMIT_CPU: cpu_s, resource.RLIMIT_CORE: 0})
    gc.disable()  # a report is a great many small objects, and all of this ends with it
    job = JOBS.validate_json(sys.stdin.buffer.read())
    created = make_results(job, DecodeLimits(memory_mb=memory_mb))
    replies.write(RESULTS.dump_json(created) + b"\n")
    replies.flush()


def silence() -> None:
    """Turn off warnings and logs of libraries, which may quote patient data."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def make_results(job: ReportJob, limits: DecodeLimits | None = None) -> CreatedResults:
    """Write the missing result objects of a job; one that fails does not affect the others.

    An object that cannot be made with all that it inherits is made with no more than it cannot do without.
    """
    objects: list[ResultObject] = []
    failures: dict[str, str] = {}
    for kind, plan in _plans(job, limits).items():
        try:
            objects += _write_missing(job, plan)
        except Exception as error:  # noqa: BLE001 - whatever a library makes of a strange value; recorded by its kind
            failures[kind] = type(error).__name__
    return CreatedResults(objects, failures)


def _plans(job: ReportJob, limits: DecodeLimits | None) -> dict[str, _Plan]:
    """Return the objects of each kind with their builders."""
    results: dict[str, list[ResultObject]] = {}
    for result in expected_objects(job):
        results.setdefault(result.kind, []).append(result)
    builders: dict[str, _Build] = {
        "sr": _reports,
        "verified": _reports,
        "ko": lambda job, results: [build_ko(job, read_identity(job), results[0])],
        "sc": lambda job, results: build_pages(job, read_identity(job), results, limits),
        "pr": lambda job, results: [build_pr(job, result) for result in results],
        "seg": lambda job, results: [build_seg(job, results[0])],
    }
    return {kind: _Plan(objects, builders[kind]) for kind, objects in results.items()}


def _reports(job: ReportJob, results: list[ResultObject]) -> list[Dataset]:
    return [build_sr(job, read_identity(job), results[0])]


def _write_missing(job: ReportJob, plan: _Plan) -> list[ResultObject]:
    results = presentation_states(job) if plan.results[0].kind == "pr" else plan.results
    if not all((job.folder / result.path).exists() for result in results):
        try:
            datasets = plan.build(job, results)
        except Exception:
            if job.is_minimal:
                raise
            datasets = plan.build(replace(job, is_minimal=True), results)
        for result, ds in zip(results, datasets, strict=True):
            write_once(ds, job.folder / result.path)
    return results


def write_once(ds: Dataset, path: Path) -> None:
    """Write a DICOM file completely and durably under its name, unless that exists."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            ds.save_as(stream, enforce_file_format=True)
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
