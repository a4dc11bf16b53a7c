"""Instances received each second, and what each costs: ours beside the peers that are installed.

Usage: ``python -m benchmarks.receive [--instances 300,3000] [--associations 1,4,16] [--only NAME,...] [--repeat N]``.
All receivers are up at once and take turns, so that whatever else the machine does falls on all of them. The sender is
DCMTK's storescu with TCP_NODELAY, one process for each association, and invents new instances at every run. Promises
differ, so the table says what an acknowledgement means; "as shipped" peers wait for delayed acknowledgements of TCP
with every response, which TCP_NODELAY (a variable that DCMTK reads) ends. Receivers that slow get a tenth of the work.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.measure import forget_peak, parser, report, sync_ms, usage
from benchmarks.receivers import AE_TITLE, RECEIVERS, Receiver, running

ROWS = 512
_SOURCES = 300
_LIMIT_S = 200.0


@dataclass(frozen=True, slots=True)
class Run:
    """One receiver, once."""

    instances_per_s: float
    cpu_ms: float
    peak_mib: float


def encoded_slice(study: str, series: str, sop_instance_uid: str, number: int, rows: int = ROWS) -> bytes:
    """Encode one CT slice as it travels in a C-STORE, in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, _slice(study, series, sop_instance_uid, number, rows))
    content: bytes = buffer.getvalue()
    return content


def make_instances(folder: Path, count: int) -> int:
    """Write CT instances of 512 x 512 into ``folder``; returns the size of one in bytes."""
    study, series = generate_uid(), generate_uid()
    for index in range(count):
        ds = _slice(study, series, generate_uid(), index + 1, ROWS)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / f"{index:05d}.dcm", enforce_file_format=True)
    return (folder / "00000.dcm").stat().st_size


def _slice(study: str, series: str, sop_instance_uid: str, number: int, rows: int) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, sop_instance_uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
    ds.PatientID, ds.PatientName, ds.Modality, ds.StudyID = "BENCH", "Bench^Mark", "CT", "1"
    ds.InstanceNumber, ds.SeriesNumber = number, 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, number * 1.25], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1.25
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.Rows = ds.Columns = rows
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    pixels = np.random.default_rng(number).integers(0, 2000, (rows, rows), dtype=np.uint16)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def send(storescu: str, folders: Sequence[Path], port: int) -> float:
    """Send each folder on an association of its own, all at once; returns seconds until the last is done."""
    command = [storescu, "--aetitle", "BENCHSCU", "--call", AE_TITLE, "+II", "127.0.0.1", str(port), "+sd"]
    environment = os.environ | {"TCP_NODELAY": "1"}
    started = time.perf_counter()
    senders = [
        subprocess.Popen([*command, str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        for folder in folders
    ]
    statuses = [sender.wait() for sender in senders]
    elapsed = time.perf_counter() - started
    if any(statuses):
        raise SystemExit(f"storescu failed against port {port}: {statuses}")
    return elapsed


def deal(source: Path, target: Path, hands: int, count: int) -> list[Path]:
    """Deal ``count`` links to the files of ``source`` into ``hands`` folders."""
    folders = [target / f"hand{number}" for number in range(hands)]
    for folder in folders:
        folder.mkdir(parents=True)
    files = sorted(source.iterdir())
    for index in range(count):
        os.link(files[index % len(files)], folders[index % hands] / f"{index:05d}.dcm")
    return folders


def measure(receiver: Receiver, storescu: str, folders: Sequence[Path], where: tuple[int, int], work: Path) -> Run:
    """Run once: rate, CPU of the receiver, its peak memory. What it stored goes away afterwards where it may."""
    port, pid = where
    forget_peak(pid)
    before = usage(pid)
    elapsed = send(storescu, folders, port)
    after = usage(pid)
    count = sum(len(list(folder.iterdir())) for folder in folders)
    if receiver.has_no_index:
        for path in work.iterdir():
            os.truncate(path, 0)  # a deleted file would slow the making of the next ones (ext4)
    return Run(count / elapsed, 1000 * (after.cpu_s - before.cpu_s) / count, after.peak_mib)


def main() -> None:
    """Measure all receivers that are there and report."""
    options = parser(__doc__ or "")
    options.add_argument("--instances", default="300", help="numbers of instances of 0.5 MiB in each run")
    options.add_argument("--associations", default="1,4,16", help="numbers of associations at once")
    options.add_argument("--only", default="", help="names of receivers, separated by commas")
    options.add_argument("--folder", type=Path, help="where receivers write; a temporary folder if left out")
    given = options.parse_args()
    storescu = shutil.which("storescu", path="/usr/local/bin:/usr/bin:/bin")
    if storescu is None:
        raise SystemExit("DCMTK's storescu is not installed (Debian: apt install dcmtk)")
    chosen = [one for one in RECEIVERS if one.is_there() and (not given.only or one.name in given.only.split(","))]
    cells = [
        (int(count), int(associations))
        for count in given.instances.split(",")
        for associations in given.associations.split(",")
    ]
    with tempfile.TemporaryDirectory(dir=given.folder) as name, ExitStack() as stack:
        base = Path(name)
        (base / "source").mkdir()
        size = make_instances(base / "source", _SOURCES)
        up = {one.name: stack.enter_context(running(one, base / one.folder_name)) for one in chosen}
        runs: dict[tuple[int, int, str], list[Run]] = defaultdict(list)
        hands = {}
        for count, associations in cells:
            for share in {one.share for one in chosen}:
                target = base / f"hands-{count}-{associations}-{share}"
                dealt = max(associations, int(count * share))
                hands[count, associations, share] = deal(base / "source", target, associations, dealt)
        began = time.monotonic()
        for _ in range(given.repeat):
            for count, associations in cells:
                for one in chosen:
                    if time.monotonic() - began > _LIMIT_S:
                        continue
                    folders = hands[count, associations, one.share]
                    run = measure(one, storescu, folders, up[one.name], base / one.folder_name)
                    runs[count, associations, one.name].append(run)
        synced_ms = sync_ms(base)
    rows = [_row(cell, one, runs) for cell in cells for one in chosen if runs[(*cell, one.name)]]
    report("receive", rows, instance_bytes=size, sync_ms=synced_ms, load=os.getloadavg())


def _row(cell: tuple[int, int], receiver: Receiver, runs: dict[tuple[int, int, str], list[Run]]) -> dict[str, object]:
    own = runs[(*cell, receiver.name)]
    rate = statistics.median(run.instances_per_s for run in own)
    ours = {name: runs.get((*cell, name)) for name in ("lungnode", "lungnode unsynced")}
    ratios = {
        f"{name} / this": statistics.median(run.instances_per_s for run in theirs) / rate if theirs else None
        for name, theirs in ours.items()
    }
    return {
        "receiver": receiver.name,
        "instances": cell[0],
        "associations": cell[1],
        "runs": len(own),
        "instances_per_s": rate,
        "cpu_ms": statistics.median(run.cpu_ms for run in own),
        "peak_mib": max(run.peak_mib for run in own),
        **ratios,
        "promise": receiver.promise,
    }


if __name__ == "__main__":
    main()
