"""Check for leaks: splits that share a patient, cluster or image are refused before training or evaluation."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.nodules import DataError, content_digest, crop_digest, nodule_folder, partly_read_rows, read_rows
from training.data.slices import slice_folder
from training.data.splits import LeakError, check_no_leak


def refuse_leaks(task: str, data: Path, *, workers: int = 2) -> None:
    """Check the splits of the data that ``task`` reads, ``test`` and ``e2e`` among them.

    Raises
    ------
    LeakError
        Two splits share a patient, a cluster or a duplicate.
    DataError
        The folder has another layout than documented, or its files differ from the table.
    """
    _CHECKS[task](data, workers)


def _check_nodules(data: Path, workers: int) -> None:
    """Check by patient, and by the voxels of every crop."""
    folder, rows = nodule_folder(data), read_rows(data)
    splits = [row.split for row in rows]
    partly_read = partly_read_rows(data)
    check_no_leak(
        splits + [row.split for row in partly_read], [row.patient_id for row in rows + partly_read], "patient"
    )
    with ProcessPoolExecutor(workers) as pool:
        digests = list(pool.map(partial(crop_digest, folder), rows, chunksize=16))
    check_no_leak(splits, digests, "duplicate")
    patients_of: dict[str, set[str]] = {}
    for digest, row in zip(digests, rows, strict=True):
        patients_of.setdefault(digest, set()).add(row.patient_id)
    if torn := sum(len(patients) > 1 for patients in patients_of.values()):
        raise LeakError(f"{torn} crops stand under more than one patient: folds by patient would share a duplicate")


def _check_slices(data: Path, workers: int) -> None:
    """Check by cluster, by the manifest's duplicates, and by the pixels of every image."""
    folder = slice_folder(data)
    with (folder / "manifest.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    splits = [line["split"] for line in lines]
    check_no_leak(splits, [line["cluster"] for line in lines], "cluster")
    check_no_leak(splits, [line["duplicate_of"] or line["file"] for line in lines], "duplicate")
    with ProcessPoolExecutor(workers) as pool:
        digests = list(pool.map(partial(_picture_digests, folder), [line["file"] for line in lines], chunksize=16))
    changed = sum(line.get("md5", "") not in ("", md5) for line, (md5, _) in zip(lines, digests, strict=True))
    if changed:
        raise DataError(f"{changed} pictures in {folder} are not those that manifest.csv names (md5 differs)")
    check_no_leak(splits, [pixels for _, pixels in digests], "duplicate")


def _picture_digests(folder: Path, file: str) -> tuple[str, str]:
    """Return the MD5 of the file, as in the manifest, and the digest of its pixels."""
    content = (folder / file).read_bytes()
    with Image.open(folder / file) as image:
        return hashlib.md5(content, usedforsecurity=False).hexdigest(), content_digest(np.asarray(image.convert("L")))


_CHECKS: dict[str, Callable[[Path, int], None]] = {
    "nodule": _check_nodules,
    "filter": _check_nodules,
    "slice": _check_slices,
}
