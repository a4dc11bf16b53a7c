"""Instances received each second, and what each costs: ours beside the peers that are installed.

Usage: ``python -m benchmarks.receive [--instances N] [--associations 1,4] [--only NAME,...]``. The sender is DCMTK's
storescu, one process for each association; all receivers write to the same file system. Their promises differ, so the
table says what an acknowledgement means.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.measure import parser, report, sync_ms, usage
from benchmarks.receivers import AE_TITLE, RECEIVERS, Receiver, running

ROWS = 512


def make_instances(folder: Path, count: int) -> int:
    """Write CT instances of 512 x 512 into ``folder``; returns their size in bytes together."""
    rng = np.random.default_rng(0)
    study, series, size = generate_uid(), generate_uid(), 0
    for index in range(count):
        ds = _slice(study, series, index)
        ds.PixelData = rng.integers(0, 2000, (ROWS, ROWS), dtype=np.uint16).tobytes()
        path = folder / f"{index:05d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        size += path.stat().st_size
    return size


def _slice(study: str, series: str, index: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientID, ds.PatientName, ds.Modality = "BENCH", "Bench^Mark", "CT"
    ds.InstanceNumber, ds.SeriesNumber = index + 1, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, index * 1.25], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1.25
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.Rows = ds.Columns = ROWS
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    return ds


def send(storescu: str, folders: Sequence[Path], port: int) -> float:
    """Send each folder on an association of its own, all at once; returns seconds until the last is done."""
    command = [storescu, "--aetitle", "BENCHSCU", "--call", AE_TITLE, "127.0.0.1", str(port), "+sd"]
    started = time.perf_counter()
    senders = [
        subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for folder in folders
    ]
    statuses = [sender.wait() for sender in senders]
    elapsed = time.perf_counter() - started
    if any(statuses):
        raise SystemExit(f"storescu failed against port {port}: {statuses}")
    return elapsed


def deal(source: Path, target: Path, hands: int) -> list[Path]:
    """Deal the files of ``source`` into ``hands`` folders, as links."""
    folders = [target / f"hand{number}" for number in range(hands)]
    for folder in folders:
        folder.mkdir(parents=True)
    for index, path in enumerate(sorted(source.iterdir())):
        os.link(path, folders[index % hands] / path.name)
    return folders


def measure(receiver: Receiver, storescu: str, folders: Sequence[Path], work: Path) -> tuple[float, float, float]:
    """Run once against an empty receiver: seconds, CPU seconds, peak MiB."""
    with running(receiver, work) as (port, pid):
        before = usage(pid)
        elapsed = send(storescu, folders, port)
        after = usage(pid)
    shutil.rmtree(work)
    return elapsed, after.cpu_s - before.cpu_s, after.peak_mib


def main() -> None:
    """Measure all receivers that are there and report."""
    options = parser(__doc__ or "")
    options.add_argument("--instances", type=int, default=200, help="instances of 0.5 MiB in each run")
    options.add_argument("--associations", default="1,4", help="numbers of associations at once")
    options.add_argument("--only", default="", help="names of receivers, separated by commas")
    options.add_argument("--folder", type=Path, help="where receivers write; a temporary folder if left out")
    given = options.parse_args()
    storescu = shutil.which("storescu", path="/usr/local/bin:/usr/bin:/bin")
    if storescu is None:
        raise SystemExit("DCMTK's storescu is not installed (Debian: apt install dcmtk)")
    chosen = [one for one in RECEIVERS if one.is_there() and (not given.only or one.name in given.only.split(","))]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        base = Path(name)
        (base / "source").mkdir()
        size = make_instances(base / "source", given.instances)
        for associations in (int(text) for text in given.associations.split(",")):
            folders = deal(base / "source", base / f"hands{associations}", associations)
            for receiver in chosen:
                runs = [measure(receiver, storescu, folders, base / "receiver") for _ in range(given.repeat)]
                rows.append(_row(receiver, associations, given.instances, size, runs))
        synced_ms = sync_ms(base)
    report("receive", rows, instances=given.instances, instance_bytes=size // given.instances, sync_ms=synced_ms)


def _row(
    receiver: Receiver, associations: int, count: int, size: int, runs: Sequence[tuple[float, float, float]]
) -> dict[str, object]:
    elapsed, cpu_s, peak_mib = (statistics.median(values) for values in zip(*runs, strict=True))
    return {
        "receiver": receiver.name,
        "associations": associations,
        "instances_per_s": count / elapsed,
        "mib_per_s": size / elapsed / 2**20,
        "cpu_ms_per_instance": 1000 * cpu_s / count,
        "peak_mib": peak_mib,
        "promise": receiver.promise,
    }


if __name__ == "__main__":
    main()
