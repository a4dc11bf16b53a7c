"""Milliseconds from a stored CT slice to HU, and from HU to a network's input, by the pipeline's own functions.

Usage: ``python -m benchmarks.preprocess [--repeat N]``. 512 x 512 slices of noise (a codec's worst case) for each
transfer syntax, as intake stores them, with headers as long as a scanner's; one thread, and each slice is read once.
A series goes through the decoding process, which uses every core that it may (``taskset`` gives it fewer). Beside
it, measured in turns, what is usually written: pydicom's ``pixel_array``, NumPy and Pillow's
resize. Training and serving make their input by the same ``inference.slices.slice_image.slice_input``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread

from benchmarks.measure import parser, report
from dicom_node.encoding.part10 import encode_file_meta, read_file_meta
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import Phantom, PhantomSpec
from dicom_node.phantom.writer import TRANSFER_SYNTAXES
from dicom_node.sandbox.decode import read_frames_hu
from dicom_node.sandbox.decode_process import DecodeProcess
from dicom_node.sandbox.frames import read_frame_headers
from inference.slices.slice_image import slice_input
from inference.types import CtVolume
from inference.volumes.patch_views import ViewSpec
from inference.volumes.patches import cut_patch
from inference.volumes.preprocessing import PreprocessingSpec
from lungnode.adapters.image_codec import windowed

ROWS = 512
SLICES = 24
TECHNIQUE: dict[str, object] = {
    "ScanOptions": "HELICAL MODE",
    "DataCollectionDiameter": 500,
    "DistanceSourceToDetector": 949,
    "DistanceSourceToPatient": 541,
    "GantryDetectorTilt": 0,
    "TableHeight": 151.5,
    "RotationDirection": "CW",
    "ExposureTime": 600,
    "XRayTubeCurrent": 250,
    "Exposure": 150,
    "FilterType": "BODY FILTER",
    "GeneratorPower": 30000,
    "FocalSpots": [0.7],
    "SoftwareVersions": "05MW11.10",
    "ProtocolName": "CHEST",
}
PRIVATE_ELEMENTS = 20
LOW_HU, HIGH_HU = -1000.0, 400.0
ROOM = np.empty((ROWS, ROWS), np.int16)
"""Buffer that slices are decoded into one after the other, as in the decoding process."""


def store_as_scanned(path: Path) -> None:
    """Lengthen a header to about a scanner's 90 elements, and store the file as intake does."""
    ds = dcmread(path)
    for keyword, value in TECHNIQUE.items():
        setattr(ds, keyword, value)
    block = ds.private_block(0x0045, "SCANNER VENDOR 01", create=True)
    for element in range(1, PRIVATE_ELEMENTS):
        block.add_new(element, "LO", f"value {element}")
    ds.save_as(path)
    content = path.read_bytes()
    meta, start = read_file_meta(content)
    path.write_bytes(encode_file_meta(meta) + content[start:])


def median_ms(work: Callable[[], object], count: int) -> float:
    """Time ``work`` ``count`` times after a warm-up; median in milliseconds."""
    work()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def read_hu(path: Path) -> NDArray[np.int16]:
    """Read one slice as the decoding process does: header, pixels, HU."""
    return next(read_frames_hu(path, read_frame_headers(path), ROOM))


def usual_hu(path: Path) -> NDArray[np.float64]:
    """Read one slice as most programs do."""
    ds = dcmread(path)
    values_hu: NDArray[np.float64] = ds.pixel_array.astype(np.float64)
    return values_hu * float(ds.RescaleSlope) + float(ds.RescaleIntercept)


def usual_input(path: Path) -> NDArray[np.float32]:
    """Make a network's input of a slice as most programs do."""
    grey = ((np.clip(usual_hu(path), LOW_HU, HIGH_HU) - LOW_HU) * (255.0 / (HIGH_HU - LOW_HU))).astype(np.uint8)
    resized = Image.fromarray(grey).resize((224, 224), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32) / np.float32(255.0)


def own_input(path: Path) -> torch.Tensor:
    """Make a network's input of a slice by the pipeline's functions."""
    return slice_input(windowed(read_hu(path), ((LOW_HU + HIGH_HU) / 2, HIGH_HU - LOW_HU)))


def decoding_rows(folder: Path, count: int) -> list[dict[str, object]]:
    """Time reading a slice in each transfer syntax, and reading and resizing it, beside the usual way."""
    rng = np.random.default_rng(0)
    spec = PhantomSpec()
    volume_hu = rng.integers(-1000, 400, (2 * count + 1, ROWS, ROWS)).astype(np.int16)
    phantom = Phantom(spec, volume_hu, (1.25, 0.7, 0.7), (-180.0, -180.0, 0.0), ())
    rows: list[dict[str, object]] = []
    for name in TRANSFER_SYNTAXES:
        first, *paths = write_series(phantom, folder / name, transfer_syntax=name)
        for path in (first, *paths):
            store_as_scanned(path)
        own_input(first), usual_input(first)
        times = np.array(
            [
                [timed_ms(read_hu, one), timed_ms(own_input, other), timed_ms(usual_input, one)]
                for one, other in zip(paths[::2], paths[1::2], strict=True)
            ]
        )
        hu_ms, own_ms, usual_ms = np.median(times, axis=0).tolist()
        rows.append({"step": f"{name} to HU", "ms": hu_ms, "usual_ms": None, "usual / own": None})
        step = f"{name} to 224 x 224"
        rows.append({"step": step, "ms": own_ms, "usual_ms": usual_ms, "usual / own": usual_ms / own_ms})
        rows.append(series_row(name, paths))
    return rows


def series_row(name: str, paths: list[Path]) -> dict[str, object]:
    """Time a series to a volume through the decoding process, for each of its slices, beside the usual way."""
    own, usual = [], []
    with DecodeProcess() as process:
        process.headers(paths)
        for _ in range(3):
            began = time.perf_counter()
            process.volume_hu([file[0] for file in process.headers(paths) if file])
            middle = time.perf_counter()
            np.stack([usual_hu(path).astype(np.int16) for path in paths])
            own.append(1000 * (middle - began) / len(paths))
            usual.append(1000 * (time.perf_counter() - middle) / len(paths))
    own_ms, usual_ms = statistics.median(own), statistics.median(usual)
    step = f"{name} series to volume, a slice"
    return {"step": step, "ms": own_ms, "usual_ms": usual_ms, "usual / own": usual_ms / own_ms}


def timed_ms(work: Callable[[Path], object], path: Path) -> float:
    """Time one call, in milliseconds."""
    started = time.perf_counter()
    work(path)
    return 1000 * (time.perf_counter() - started)


def input_rows(count: int) -> list[dict[str, object]]:
    """Time cutting a patch out of a volume and making the networks' inputs of it."""
    rng = np.random.default_rng(0)
    volume = CtVolume(
        rng.integers(-1000, 400, (SLICES, ROWS, ROWS)).astype(np.int16),
        (1.25, 0.7, 0.7),
        np.diag([0.7, 0.7, 1.25, 1.0]),
    )
    patch = cut_patch(volume, (SLICES / 2, 256.3, 255.7))
    plane = ViewSpec((PreprocessingSpec(),))
    cube = ViewSpec((PreprocessingSpec(size=32),), volumetric=True)
    grey = rng.integers(0, 255, (ROWS, ROWS)).astype(np.uint8)
    steps: tuple[tuple[str, Callable[[], object]], ...] = (
        ("HU to patch", lambda: cut_patch(volume, (SLICES / 2, 256.3, 255.7))),
        ("patch to 224 x 224", lambda: plane.inputs([patch])),
        ("patch to 32 x 32 x 32", lambda: cube.inputs([patch])),
        ("picture to 224 x 224", lambda: slice_input(grey)),
    )
    empty = {"usual_ms": None, "usual / own": None}
    return [{"step": name, "ms": median_ms(work, count), **empty} for name, work in steps]


def main() -> None:
    """Measure all steps and report."""
    options = parser(__doc__ or "")
    options.set_defaults(repeat=30)
    count = options.parse_args().repeat
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = decoding_rows(Path(folder), count)
    report("preprocess", rows + input_rows(count), threads=1)


if __name__ == "__main__":
    main()
