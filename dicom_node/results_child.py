"""The process that makes result objects: a job as JSON in, the names of the objects as JSON out.

It reads the headers of strangers' files, so it runs with limits, prints nothing that came from a dataset, and is
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
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom.config
from pydantic import TypeAdapter
from pydicom.dataset import Dataset

from dicom_node.decode_process import DecodeLimits
from dicom_node.results_job import Purpose, ReportJob, ResultObject, expected_objects
from dicom_node.results_ko import build_ko
from dicom_node.results_pm import build_pm
from dicom_node.results_pr import build_pr
from dicom_node.results_sc import build_pages
from dicom_node.results_source import read_identity
from dicom_node.results_sr import build_sr

JOBS: TypeAdapter[ReportJob] = TypeAdapter(ReportJob)
OBJECTS: TypeAdapter[list[ResultObject]] = TypeAdapter(list[ResultObject])
_SINGLE: dict[str, Callable[[ReportJob, ResultObject], Dataset]] = {"pr": build_pr, "pm": build_pm}
"""Kinds of which one object is made, beside the report."""


def main(memory_mb: int, cpu_s: int) -> None:
    """Read one job from standard input, make its objects and name them on standard output."""
    replies = os.fdopen(os.dup(1), "wb")
    silence()
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.disable()  # a report is a great many small objects, and all of this ends with it
    job = JOBS.validate_json(sys.stdin.buffer.read())
    objects = make_objects(job, DecodeLimits(memory_mb=memory_mb))
    replies.write(OBJECTS.dump_json(objects) + b"\n")
    replies.flush()


def silence() -> None:
    """Print nothing: what libraries print on a strange value is that value."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE


def make_objects(job: ReportJob, limits: DecodeLimits | None = None) -> list[ResultObject]:
    """Write what is missing of a job's result objects; all of them are named."""
    named = expected_objects(job)
    for made, ds in zip(named, _built(job, named, limits), strict=True):
        write_once(ds, job.folder / made.path)
    return named


def _built(job: ReportJob, named: list[ResultObject], limits: DecodeLimits | None) -> Iterator[Dataset]:
    identity = read_identity(job)
    if job.purpose is Purpose.RETRACTION:
        yield build_ko(job, identity, named[0])
        return
    yield build_sr(job, identity, named[0])
    pages = [one for one in named if one.kind == "sc"]
    yield from build_pages(job, identity, pages, limits) if pages else ()
    for one in named:
        if one.kind in _SINGLE:
            yield _SINGLE[one.kind](job, one)


def write_once(ds: Dataset, path: Path) -> None:
    """Write a DICOM file that is whole and durable under its name, unless that exists."""
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
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
