"""Rate at which mixes of two stacks are detected by pixels alone, and how far coherent series stay from the limits.

Usage: ``python -m benchmarks.mixed_stacks --data DIR [--series N]``. ``DIR`` holds folders or ``.tar.xz`` archives of
single CT series. Each series is judged whole, thinned by 2 and by 3, and in slabs of a third (false alarms); then every
second slice is replaced by one of another stack: the next series, another breath of the same patient (moved, deeper),
another kernel, dose or contrast. Both are done beside the generated phantom.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.measure import parser, report
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.spec import PhantomSpec
from dicom_node.sandbox.decode_process import DecodeProcess
from dicom_node.series.coherence import anatomy_alternation, texture_alternation
from dicom_node.series.geometry import order_frames
from inference.gate import GateThresholds

Volume = NDArray[np.int16]
RNG_SEED = 0


def alternate(first: Volume, second: Volume) -> Volume:
    """Take even slices of one volume and odd ones of the other."""
    count = min(len(first), len(second))
    mixed = first[:count].copy()
    mixed[1::2] = second[1:count:2]
    return mixed


def moved(volume_hu: Volume, pixels: int) -> Volume:
    """Move the patient along the rows, toward the table."""
    return np.roll(volume_hu, pixels, axis=1)


def breathed(volume_hu: Volume, slices: float, widening: float) -> Volume:
    """Draw another breath: the base of the lungs moves up by some slices, the chest shrinks by a share."""
    count, rows, columns = volume_hu.shape
    source = np.arange(count) + slices * (1 - np.arange(count) / (count - 1))
    offset = (widening * rows / 2, widening * columns / 2)
    drawn = np.empty_like(volume_hu)
    for index, at in enumerate(source):
        low, share = min(int(at), count - 1), at % 1
        slice_hu = (1 - share) * volume_hu[low] + share * volume_hu[min(low + 1, count - 1)]
        scale = (1 - widening, 1 - widening)
        drawn[index] = np.rint(ndimage.affine_transform(slice_hu, scale, offset, order=1, mode="nearest"))
    return drawn


def smoothed(volume_hu: Volume, sigma: float) -> Volume:
    """Reconstruct with a softer kernel, nearly: blur each slice."""
    return np.stack([ndimage.gaussian_filter(each.astype(np.float32), sigma) for each in volume_hu]).astype(np.int16)


def noisier(volume_hu: Volume, noise_hu: float) -> Volume:
    """Lower the dose: add noise."""
    noise = np.random.default_rng(RNG_SEED).normal(0, noise_hu, volume_hu.shape)
    return np.clip(volume_hu + noise, -1024, 3071).astype(np.int16)


def enhanced(volume_hu: Volume, contrast_hu: int) -> Volume:
    """Raise blood and soft tissue as contrast medium does."""
    return np.where((volume_hu > 20) & (volume_hu < 150), volume_hu + contrast_hu, volume_hu).astype(np.int16)


MIXES: dict[str, Callable[[Volume], Volume]] = {
    "same breath, moved by 1 pixel": lambda volume: moved(volume, 1),
    "same breath, moved by 2 pixels": lambda volume: moved(volume, 2),
    "breath: base 2 slices higher": lambda volume: breathed(volume, 2, 0.0),
    "breath: base 4 slices higher": lambda volume: breathed(volume, 4, 0.0),
    "breath: base 8 slices higher": lambda volume: breathed(volume, 8, 0.0),
    "breath: chest 1 % narrower": lambda volume: breathed(volume, 0, 0.01),
    "breath: base 4 slices higher, chest 3 % narrower": lambda volume: breathed(volume, 4, 0.03),
    "softer kernel (blur of 0.7 pixels)": lambda volume: smoothed(volume, 0.7),
    "lower dose (20 HU more noise)": lambda volume: noisier(volume, 20),
    "contrast phase (80 HU)": lambda volume: enhanced(volume, 80),
    "same breath displaced by 2 slices": lambda volume: np.roll(volume, 2, axis=0),
    "same breath displaced by 4 slices": lambda volume: np.roll(volume, 4, axis=0),
}
COHERENT: dict[str, Callable[[Volume], list[Volume]]] = {
    "whole": lambda volume: [volume],
    "thinned by 2": lambda volume: [volume[::2], volume[1::2]],
    "thinned by 3": lambda volume: [volume[::3], volume[1::3], volume[2::3]],
    "a third of the slices": lambda volume: np.array_split(volume, 3),
    "whole, 60 HU more noise": lambda volume: [noisier(volume, 60)],
}


def read_volumes(data: Path, most: int) -> Iterator[Volume]:
    """Read series that are folders or archives of DICOM files, ordered by position alone."""
    with DecodeProcess() as process, tempfile.TemporaryDirectory() as scratch:
        for number, source in enumerate(sorted(p for p in data.iterdir() if p.is_dir() or p.name.endswith(".tar.xz"))):
            if number == most:
                return
            folder = source
            if source.is_file():
                folder = Path(scratch) / str(number)
                with tarfile.open(source) as tar:
                    tar.extractall(folder, filter="data")
            frames = [frame for file in process.headers(sorted(folder.rglob("*.dcm"))) for frame in file or ()]
            with suppress(UnfitImagesError):
                yield process.volume_hu(order_frames(frames).frames)


def row(kind: str, volumes: list[Volume]) -> dict[str, object]:
    """Judge volumes of one kind."""
    thresholds = GateThresholds()
    anatomy = [anatomy_alternation(volume) for volume in volumes]
    texture = [texture_alternation(volume) for volume in volumes]
    flagged = sum(
        a > thresholds.max_alternation or t > thresholds.max_texture_alternation
        for a, t in zip(anatomy, texture, strict=True)
    )
    return {
        "kind": kind,
        "flagged": f"{flagged}/{len(volumes)}",
        "anatomy": f"{min(anatomy):.3f} to {max(anatomy):.3f}",
        "texture": f"{min(texture):.3f} to {max(texture):.3f}",
    }


def main() -> None:
    """Judge all kinds and report."""
    options = parser(__doc__ or "")
    options.add_argument(
        "--data", type=Path, help="folder of CT series (folders or .tar.xz); default: the phantom only"
    )
    options.add_argument("--series", type=int, default=8, help="most series to read")
    chosen = options.parse_args()
    specs = (PhantomSpec(slices=60, rows=256, columns=256, pixel_spacing_mm=1.4, seed=seed) for seed in (1, 2))
    phantoms = [make_phantom(spec).volume_hu for spec in specs]
    volumes = phantoms + (list(read_volumes(chosen.data, chosen.series)) if chosen.data else [])
    rows = [
        row(f"coherent: {name}", [v for volume in volumes for v in make(volume)]) for name, make in COHERENT.items()
    ]
    for name, make in MIXES.items():
        rows.append(row(name, [alternate(volume, make(volume)) for volume in volumes]))
    pairs = [(a, b) for a, b in pairwise(volumes) if a.shape[1:] == b.shape[1:]]
    rows.append(row("another patient", [alternate(a, b) for a, b in pairs]))
    report("mixed_stacks", rows, series=len(volumes))


if __name__ == "__main__":
    main()
