"""Summary page for a PACS that displays images only, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, MAX_HEIGHT = 1280, 3200
MARGIN, FOOT = 48, 72
PICTURE = 290
"""Side of a picture in pixels; a finding has two, the whole slice and 60 mm around it."""
ZOOM_MM = 60.0
WINDOW = (-600.0, 1500.0)
"""Window centre and width of the pictures, HU."""
_INK, _MUTED, _WARM, _PAPER = (240, 240, 240), (170, 178, 186), (255, 196, 64), (14, 17, 20)

Rgb = NDArray[np.uint8]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SlicePicture:
    """Source slice of a finding; ``spacing_mm`` is (row, column), ``sides`` names left and top of the picture."""

    slice_hu: NDArray[np.int16]
    spacing_mm: tuple[float, float]
    row: float
    column: float
    diameter_mm: float | None
    sides: tuple[str, str] = ("", "")
    instance_number: int | None = None
    contours: tuple[Points, ...] = ()
    """Contour of the mask and axes on this slice, in image coordinates (column, row)."""


@dataclass(frozen=True, slots=True)
class FindingPanel:
    """One finding: a headline, further lines, and its slice where it could be decoded."""

    headline: str
    lines: tuple[str, ...]
    picture: SlicePicture | None


@dataclass(frozen=True, slots=True)
class SummaryText:
    """Text above the findings: patient, series, outcome in words, and limitations."""

    identity: tuple[str, ...]
    analysed: tuple[str, ...]
    outcome: str
    explanation: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


def draw_pages(
    text: SummaryText, panels: Sequence[FindingPanel], *, per_page: int = 4, max_pages: int = 3
) -> list[Rgb]:
    """Draw the pages of a summary, ``(rows, columns, 3)`` uint8 each, as high as needed; at least one."""
    count = min(max(1, -(-len(panels) // per_page)), max_pages)
    left_out = len(panels) - count * per_page
    pages = []
    for number in range(count):
        page_panels = panels[number * per_page : (number + 1) * per_page]
        remainder = f"{left_out} more in the structured report" if left_out > 0 and number == count - 1 else ""
        pages.append(_draw_page(text, page_panels, f"Page {number + 1} of {count}", remainder))
    return pages


def _draw_page(text: SummaryText, panels: Sequence[FindingPanel], label: str, remainder: str) -> Rgb:
    page = Image.new("RGB", (WIDTH, MAX_HEIGHT), _PAPER)
    draw = ImageDraw.Draw(page)
    top = _draw_head(draw, text)
    for panel in panels:
        _draw_panel(page, draw, panel, top)
        top += PICTURE + 16
    height = min(top + FOOT, MAX_HEIGHT)
    page = page.crop((0, 0, WIDTH, height))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, height - FOOT, WIDTH, height), fill=_PAPER)
    _line(
        draw,
        (MARGIN, height - 52),
        "Second reader, not a diagnosis. Judge every finding on the source images.",
        26,
        _WARM,
    )
    footer = label if not remainder else f"{label}  |  {remainder}"
    _line(draw, (WIDTH - MARGIN, height - 52), footer, 22, _MUTED, anchor="ra")
    return np.asarray(page, dtype=np.uint8)


def _draw_head(draw: ImageDraw.ImageDraw, text: SummaryText) -> int:
    _line(draw, (MARGIN, 30), "lungnode", 40, _INK)
    _line(draw, (WIDTH - MARGIN, 36), "SECOND READER - NOT A DIAGNOSIS", 30, _WARM, anchor="ra")
    top = 90
    for line in text.identity:
        _line(draw, (MARGIN, top), line, 28, _INK)
        top += 36
    for line in text.analysed:
        _line(draw, (MARGIN, top), line, 22, _MUTED)
        top += 29
    top += 12
    for line in _wrapped(text.outcome, 34, WIDTH - 2 * MARGIN):
        _line(draw, (MARGIN, top), line, 34, _INK)
        top += 44
    for paragraph in text.explanation:
        for line in _wrapped(paragraph, 28, WIDTH - 2 * MARGIN):
            _line(draw, (MARGIN, top), line, 28, _INK)
            top += 36
    if text.caveats:
        top = _draw_caveats(draw, text.caveats, top + 8)
    return top + 10


def _draw_caveats(draw: ImageDraw.ImageDraw, caveats: Sequence[str], top: int) -> int:
    """Draw the limitations with a marker bar, and return where they end."""
    y = top
    _line(draw, (MARGIN + 18, y), "Limitations of this analysis", 28, _WARM)
    y += 38
    for caveat in caveats:
        for line in _wrapped(caveat, 26, WIDTH - 2 * MARGIN - 18):
            _line(draw, (MARGIN + 18, y), line, 26, _WARM)
            y += 34
    draw.rectangle((MARGIN, top, MARGIN + 6, y - 4), fill=_WARM)
    return y + 6


def _draw_panel(page: Image.Image, draw: ImageDraw.ImageDraw, panel: FindingPanel, top: int) -> None:
    left = MARGIN
    if panel.picture is not None:
        for picture in (_full_slice(panel.picture), _zoomed(panel.picture)):
            page.paste(picture, (left, top))
            left += PICTURE + 12
    width = WIDTH - MARGIN - left - 12
    y = top
    for line in _wrapped(panel.headline, 32, width):
        _line(draw, (left + 12, y), line, 32, _WARM)
        y += 40
    for paragraph in panel.lines:
        for line in _wrapped(paragraph, 22, width):
            if y + 26 <= top + PICTURE:
                _line(draw, (left + 12, y), line, 22, _INK)
            y += 28


def _windowed(hu: NDArray[np.int16]) -> Image.Image:
    low = WINDOW[0] - WINDOW[1] / 2
    grey = np.clip((hu.astype(np.float32) - low) * (255 / WINDOW[1]), 0, 255).astype(np.uint8)
    return Image.fromarray(grey)


def _full_slice(picture: SlicePicture) -> Image.Image:
    """Fit the full slice into the square at its aspect ratio, with a circle around the finding."""
    rows, columns = picture.slice_hu.shape
    height_mm, width_mm = rows * picture.spacing_mm[0], columns * picture.spacing_mm[1]
    scale = PICTURE / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    square = Image.new("RGB", (PICTURE, PICTURE))
    square.paste(_windowed(picture.slice_hu).resize(size, Image.Resampling.LANCZOS))
    position = (
        (picture.column + 0.5) * picture.spacing_mm[1] * scale,
        (picture.row + 0.5) * picture.spacing_mm[0] * scale,
    )
    draw = ImageDraw.Draw(square)
    _circle(draw, position, max(12.0, 0.75 * scale * (picture.diameter_mm or 10.0)))
    _line(draw, (6, PICTURE // 2 - 12), picture.sides[0], 22, _INK)
    _line(draw, (PICTURE // 2, 4), picture.sides[1], 22, _INK)
    return square


def _zoomed(picture: SlicePicture) -> Image.Image:
    """Enlarge the surroundings of the finding; the scale bar is 10 mm."""
    half = ZOOM_MM / 2
    box = (
        picture.column + 0.5 - half / picture.spacing_mm[1],
        picture.row + 0.5 - half / picture.spacing_mm[0],
        picture.column + 0.5 + half / picture.spacing_mm[1],
        picture.row + 0.5 + half / picture.spacing_mm[0],
    )
    full = _windowed(picture.slice_hu)
    data = (box[0], box[1], box[0], box[3], box[2], box[3], box[2], box[1])
    crop = full.transform((PICTURE, PICTURE), Image.Transform.QUAD, data, Image.Resampling.BICUBIC).convert("RGB")
    draw = ImageDraw.Draw(crop)
    scale = PICTURE / ZOOM_MM
    for points in picture.contours:
        across = (points[:, 0] - box[0]) * picture.spacing_mm[1] * scale
        down = (points[:, 1] - box[1]) * picture.spacing_mm[0] * scale
        draw.line([*zip(across.tolist(), down.tolist(), strict=True)], fill=_WARM, width=1)
    if not picture.contours:
        _circle(draw, (PICTURE / 2, PICTURE / 2), scale * ((picture.diameter_mm or 10.0) / 2 + 3))
    draw.line((12, PICTURE - 16, 16 + 10 * scale, PICTURE - 16), fill=_PAPER, width=7)
    draw.line((14, PICTURE - 16, 14 + 10 * scale, PICTURE - 16), fill=_INK, width=3)
    _line(draw, (14, PICTURE - 44), "10 mm", 20, _INK)
    return crop


def _circle(draw: ImageDraw.ImageDraw, center: tuple[float, float], radius: float) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=_WARM, width=2)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return DejaVu Sans, which covers Latin, Greek and Cyrillic and comes with matplotlib; else Pillow's own."""
    path = files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    try:
        return ImageFont.truetype(str(path), size)
    except OSError:
        return ImageFont.load_default(size)


def _line(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    fill: tuple[int, int, int],
    *,
    anchor: str = "la",
) -> None:
    printable_text = "".join(letter if letter.isprintable() else " " for letter in text)
    draw.text(at, printable_text, fill, _font(size), anchor=anchor, stroke_width=1, stroke_fill=_PAPER)


def _wrapped(text: str, size: int, width: float) -> list[str]:
    """Break text into lines that fit; a word that is too long is cut."""
    font, lines, current = _font(size), [], ""
    for word in text.split():
        longer = f"{current} {word}".strip()
        if font.getlength(longer) <= width:
            current = longer
            continue
        if current:
            lines.append(current)
        current = word
        while font.getlength(current) > width and len(current) > 1:
            current = current[:-1]
    return [*lines, current] if current else lines
