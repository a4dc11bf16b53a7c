"""Rendering of one frame as a consumer image: windowed, cropped, scaled, encoded (PS3.18 8.3.5); in the child only."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.sandbox.frames import read_frame_headers
from dicom_node.sandbox.inflating import plain_file
from dicom_node.sandbox.pixel_frames import decoded_frame
from dicom_node.sandbox.render_options import RenderOptions

Grey = NDArray[np.float32]


def draw(path: Path, index: int, render_options: RenderOptions, target: Path) -> int:
    """Render a frame, counted from 0, into a file, and return its size in bytes.

    Raises
    ------
    Exception
        Anything that pydicom or a codec raises on broken pixels; the child process translates it.
    """
    with plain_file(path) as plain:
        ds = dcmread(plain.path, stop_before_pixels=True)
        pixels = decoded_frame(plain, index)
    picture = Image.fromarray(pixels if pixels.ndim == 3 else _grey(pixels, path, index, ds, render_options))
    picture = _fitted(picture, render_options)
    options = (
        {"quality": render_options.quality} if render_options.media_type == "image/jpeg" else {"compress_level": 1}
    )
    picture.save(target, "JPEG" if render_options.media_type == "image/jpeg" else "PNG", **options)
    return target.stat().st_size


def _grey(
    pixels: NDArray[np.generic], path: Path, index: int, ds: Dataset, render_options: RenderOptions
) -> NDArray[np.uint8]:
    header = read_frame_headers(path)[index]
    slope, intercept = _finite(header.slope) or 1.0, _finite(header.intercept) or 0.0
    values = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    shares = _windowed(values, render_options.window or _own_window(ds, index) or _whole_range(values))
    if ds.get("PhotometricInterpretation") == "MONOCHROME1":
        shares = 1.0 - shares
    return np.rint(shares * 255.0).astype(np.uint8)


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _own_window(ds: Dataset, index: int) -> tuple[float, float, str] | None:
    """Return the window in the image: of the frame, of all frames, or of the instance (PS3.3 C.11.2)."""
    for keyword, number in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        groups = ds.get(keyword) or []
        if number < len(groups) and groups[number].get("FrameVOILUTSequence"):
            return _window(groups[number].FrameVOILUTSequence[0])
    return _window(ds)


def _window(ds: Dataset) -> tuple[float, float, str] | None:
    try:
        center, width = (np.atleast_1d(ds[keyword].value)[0] for keyword in ("WindowCenter", "WindowWidth"))
        function = str(ds.get("VOILUTFunction") or "LINEAR").lower().replace("_", "-")
        return (float(center), float(width), function) if float(width) >= 1 else None
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _whole_range(values: Grey) -> tuple[float, float, str]:
    low, high = float(values.min()), float(values.max())
    return (low + high) / 2, max(high - low, 1.0), "linear-exact"


def _windowed(values: Grey, window: tuple[float, float, str]) -> Grey:
    """Map values to 0..1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width, function = window
    if function == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -60, 60))), np.float32)
    if function == "linear" and width > 1:
        center, width = center - 0.5, width - 1.0
    return np.clip((values - (center - width / 2)) / width, 0.0, 1.0)


def _fitted(picture: Image.Image, render_options: RenderOptions) -> Image.Image:
    if render_options.region is not None:
        left, top, width, height = render_options.region
        picture = picture.crop((left, top, min(left + width, picture.width), min(top + height, picture.height)))
    if render_options.size is not None:
        scale = min(render_options.size[0] / picture.width, render_options.size[1] / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return picture
