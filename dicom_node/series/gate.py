"""Input gate: reasons from headers and geometry why a series is not analysed.

The body part is not checked here: headers name it wrongly too often. Whether lungs are in view is decided by the image
(``inference``), which abstains where there are none.

Lossy compression is refused: the models were made and measured on images that never went through a lossy codec, and
what it removes first is the fine texture by which they judge.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from db.analyses.overruling import OVERRULABLE
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.geometry import SeriesStack
from dicom_node.series.types import Refusal

CT_SOP_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
    }
)
ALWAYS_LOSSY = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG Baseline
        "1.2.840.10008.1.2.4.51",  # JPEG Extended
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    }
)
MAYBE_LOSSY = frozenset(
    {
        "1.2.840.10008.1.2.4.91",  # JPEG 2000
        "1.2.840.10008.1.2.4.93",  # JPEG 2000 Part 2
        "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    }
)
MADE_FROM_OTHERS = frozenset(
    {
        *(
            "MIP",
            "MINIP",
            "MAXIP",
            "IP",
            "MAXIMUM",
            "MINIMUM",
            "AVERAGE",
            "MEAN",
            "MEDIAN",
            "PROJECTION",
            "RAYSUM",
            "SUM",
        ),
        *("MPR", "MPVR", "CPR", "CURVED", "REFORMATTED", "REFORMAT", "RESAMPLED", "OBLIQUE", "CORONAL", "SAGITTAL"),
        *("VRT", "VR", "SSD", "3D", "RENDERING", "ENDOSCOPY", "VOLREN", "SURFACE", "MPR3D", "VRT3D"),
        *("SCREEN", "SAVE", "SCREENSHOT", "CAPTURE", "SNAPSHOT", "CAPTURED", "COLOR", "RGB", "FUSION", "FUSED"),
        *("SUBTRACTION", "PERFUSION", "PARAMETRIC", "MAP", "CSA", "REPORT", "DOSE", "TABLE", "SEGMENTATION"),
    }
)
"""Words in values of Image Type after the first that name reformats, projections, renderings and captures."""
LOSSY_COMPRESSION_CODE = "113040"
"""The one code of CID 7203 (Image Derivation) that leaves an image what it was; ``is_lossy`` judges it."""


@dataclass(frozen=True, slots=True)
class GateThresholds:
    """Validated input of the models; part of the model bundle, never of the settings.

    Parameters
    ----------
    min_slices
        Fewest slices of a stack.
    min_extent_mm
        Least height of a stack along its normal; the models look at cubes of 32 mm.
    max_slice_spacing_mm, min_slice_spacing_mm
        Range of the distance between slices.
    max_pixel_spacing_mm, min_pixel_spacing_mm
        Range of the distance between pixels.
    max_obliquity_deg
        Largest angle between the slices' normal and the long axis of the patient.
    max_pixel_aspect
        Largest ratio of the two pixel spacings.
    max_alternation, max_texture_alternation
        How far neighbouring slices may differ more than every other slice does, see ``dicom_node.series.coherence``.
    """

    min_slices: int = 12
    min_extent_mm: float = 36.0
    max_slice_spacing_mm: float = 5.0
    min_slice_spacing_mm: float = 0.2
    max_pixel_spacing_mm: float = 1.5
    min_pixel_spacing_mm: float = 0.3
    max_obliquity_deg: float = 20.0
    max_pixel_aspect: float = 1.01
    max_alternation: float = 0.06
    max_texture_alternation: float = 0.25
    overruled: frozenset[str] = frozenset()
    """Codes of refusals that a radiologist overruled for one analysis (``db.analyses.overruling``)."""

    @classmethod
    def from_bundle(cls, values: Mapping[str, object]) -> GateThresholds:
        """Read a bundle's gate; absent names keep their defaults.

        Besides the names above, ``pixel_mm`` is the range of the pixel spacing and ``max_slice_mm`` the largest
        distance between slices.
        """
        bundle_values = dict(values)
        if isinstance(pixel := bundle_values.get("pixel_mm"), list | tuple):
            bundle_values["min_pixel_spacing_mm"], bundle_values["max_pixel_spacing_mm"] = pixel
        if "max_slice_mm" in bundle_values:
            bundle_values["max_slice_spacing_mm"] = bundle_values["max_slice_mm"]
        names = {field.name for field in fields(cls)} - {"overruled"}
        chosen = {name: float(str(bundle_values[name])) for name in names & bundle_values.keys()}
        least = int(chosen.pop("min_slices", cls().min_slices))
        return cls(least, **chosen)  # type: ignore[arg-type]


def is_localizer(frame: FrameHeader) -> bool:
    """Whether the frame is a scout view (PS3.3 C.8.2.1.1.1)."""
    return any("LOCALIZER" in value.upper() or value.upper() == "SCOUT" for value in frame.image_type)


def is_derived(frame: FrameHeader) -> bool:
    """Whether the frame was derived from other images.

    Value 1 of Image Type says whether the pixels are original (PS3.3 C.7.6.1.1.2); value 2 only says when the image was
    made, so that a retrospective reconstruction is ORIGINAL, SECONDARY. Words that name reformats or captures, and a
    Derivation Code, say that it was derived whatever value 1 is. An axial image that a scanner made itself (DERIVED,
    PRIMARY, AXIAL) is taken for a reconstruction.
    """
    values = [value.upper() for value in frame.image_type]
    words = {word for value in values[1:] for word in re.split(r"[^A-Z0-9]+", value)}
    if words & MADE_FROM_OTHERS or set(frame.derivation_codes) - {LOSSY_COMPRESSION_CODE}:
        return True
    return values[:1] == ["DERIVED"] and not (values[1:2] == ["PRIMARY"] and "AXIAL" in values[2:])


def is_lossy(frame: FrameHeader) -> bool:
    """Whether the pixels were ever lossily compressed (PS3.3 C.7.6.1.1.5), in doubt yes."""
    if frame.lossy == "01" or frame.transfer_syntax_uid in ALWAYS_LOSSY:
        return True
    return frame.transfer_syntax_uid in MAYBE_LOSSY and frame.lossy != "00"


def is_hounsfield(frame: FrameHeader) -> bool:
    """Whether the rescaled values are HU; CT need not say so (PS3.3 C.11.1.1.2)."""
    return frame.rescale_type in ("", "HU")


def has_usable_rescale(frame: FrameHeader) -> bool:
    """Whether slope and intercept are numbers that a CT scale can have."""
    return 0.01 <= _number(frame.slope) <= 16 and abs(_number(frame.intercept)) <= 32768


def has_usable_coding(frame: FrameHeader) -> bool:
    """Whether the stored words are one sample of 8 or 16 bits that a table can map."""
    return (
        frame.samples_per_pixel == 1
        and frame.bits_allocated in (8, 16)
        and 1 <= frame.bits_stored <= frame.bits_allocated
        and frame.bits_stored - 1 <= frame.high_bit < frame.bits_allocated
        and frame.pixel_representation in (0, 1)
        and 0 < frame.rows <= 8192
        and 0 < frame.columns <= 8192
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


_Check = tuple[Callable[[FrameHeader], bool], Refusal]

_FRAME_CHECKS: tuple[_Check, ...] = (
    (
        lambda f: f.modality != "CT" or f.sop_class_uid not in CT_SOP_CLASSES,
        Refusal("not_ct", "The series is not a CT series."),
    ),
    (is_localizer, Refusal("localizer", "The series is a localizer (scout view).")),
    (
        lambda f: f.burned_in.upper() == "YES",
        Refusal("burned_in", "The images have text burned in; they are captures, not measurements."),
    ),
    (
        is_derived,
        Refusal("derived", "The series was derived from other images (reformatted, projected or captured)."),
    ),
    (
        lambda f: f.slope is None or f.intercept is None,
        Refusal("missing_rescale", "Images lack Rescale Slope or Intercept; their values cannot be read as HU."),
    ),
    (
        lambda f: not has_usable_rescale(f),
        Refusal("invalid_rescale", "Invalid Rescale Slope/Intercept for CT."),
    ),
    (
        lambda f: not is_hounsfield(f),
        Refusal("not_hounsfield", "The values of the images are not Hounsfield units (Rescale Type)."),
    ),
    (
        lambda f: not has_usable_coding(f),
        Refusal("unsupported_pixels", "Unsupported pixel format for CT."),
    ),
    (
        is_lossy,
        Refusal("lossy", "The images were compressed with loss; the models are not validated for such images."),
    ),
)


def why_not_headers(frames: Sequence[FrameHeader], overruled: frozenset[str] = frozenset()) -> Refusal | None:
    """Return the first reason why frames with such headers are not analysed, or None.

    Of ``overruled``, what a radiologist may overrule (``db.analyses.overruling.OVERRULABLE``) is no reason.
    """
    if not frames:
        return Refusal("no_images", "The series holds no image that can be read.")
    for fails, refusal in _FRAME_CHECKS:
        if refusal.code in overruled & OVERRULABLE:
            continue
        if any(fails(frame) for frame in frames):
            return refusal
    return None


def why_not_stack(stack: SeriesStack, thresholds: GateThresholds) -> Refusal | None:
    """Return the first reason why a stack of such geometry is not analysed, or None."""
    return _why_not_axial(stack, thresholds) or _why_not_slices(stack, thresholds) or _why_not_pixels(stack, thresholds)


def _why_not_axial(stack: SeriesStack, thresholds: GateThresholds) -> Refusal | None:
    if _obliquity_deg(stack) > thresholds.max_obliquity_deg:
        return Refusal("not_axial", "The slices are not axial.")
    return None


def _why_not_slices(stack: SeriesStack, thresholds: GateThresholds) -> Refusal | None:
    slice_mm, count = stack.geometry.spacing_mm[0], len(stack.frames)
    if count < thresholds.min_slices or count * slice_mm < thresholds.min_extent_mm:
        return Refusal(
            "too_few_slices",
            "Too few slices ({count}, {extent} mm); at least {min_slices} over {min_extent} mm needed.".format(
                count=count,
                extent=f"{count * slice_mm:.0f}",
                min_slices=thresholds.min_slices,
                min_extent=f"{thresholds.min_extent_mm:g}",
            ),
        )
    if slice_mm > thresholds.max_slice_spacing_mm * 1.01:
        return Refusal(
            "coarse_slices",
            "The slices are {spacing} mm apart; the models need {most} mm or less.".format(
                spacing=f"{slice_mm:.1f}", most=f"{thresholds.max_slice_spacing_mm:g}"
            ),
        )
    if slice_mm < thresholds.min_slice_spacing_mm:
        return Refusal("implausible_spacing", "The distance between the slices is implausibly small.")
    return None


def _why_not_pixels(stack: SeriesStack, thresholds: GateThresholds) -> Refusal | None:
    low, high = sorted(stack.geometry.spacing_mm[1:])
    if low < thresholds.min_pixel_spacing_mm or high > thresholds.max_pixel_spacing_mm:
        return Refusal("implausible_pixel_spacing", "The pixels are too small or too large for a chest CT.")
    if high > thresholds.max_pixel_aspect * low:
        return Refusal("non_square_pixels", "The pixels are not square.")
    return None


def _obliquity_deg(stack: SeriesStack) -> float:
    """Return the angle between the slices' normal and the patient's long axis (z of LPS), degrees."""
    cosines = np.array(stack.geometry.orientation)
    normal = np.cross(cosines[:3], cosines[3:])
    return math.degrees(math.acos(min(1.0, abs(float(normal[2])) / float(np.linalg.norm(normal)))))
