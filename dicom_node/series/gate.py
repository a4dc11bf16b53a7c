"""Input gate: reasons from headers and geometry why a series is not analysed.

The body part is not checked here: headers name it wrongly too often. Whether lungs are in view is decided by the image
(``inference``), which abstains where there are none.

Lossy compression is refused: the models were made and measured on images that never went through a lossy codec, and
what it removes first is the fine texture by which they judge.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000MC,
    CTImageStorage,
    EnhancedCTImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
)

from db.domain.reasons import OVERRULABLE, Reason
from dicom_node.sandbox.frames import FrameHeader
from dicom_node.series.geometry import SeriesStack
from dicom_node.series.types import reason_of
from inference.gate import GateThresholds

CT_SOP_CLASSES = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
ALWAYS_LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
MAYBE_LOSSY = frozenset({JPEG2000, JPEG2000MC, HTJ2K})
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


def is_localizer(frame: FrameHeader) -> bool:
    """Return True if the frame is a scout view (PS3.3 C.8.2.1.1.1)."""
    return any("LOCALIZER" in value.upper() or value.upper() == "SCOUT" for value in frame.image_type)


def is_derived(frame: FrameHeader) -> bool:
    """Return True if the frame was derived from other images.

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
    """Return True if the pixels were or may have been lossily compressed (PS3.3 C.7.6.1.1.5)."""
    if frame.lossy == "01" or frame.transfer_syntax_uid in ALWAYS_LOSSY:
        return True
    return frame.transfer_syntax_uid in MAYBE_LOSSY and frame.lossy != "00"


def is_hounsfield(frame: FrameHeader) -> bool:
    """Return True if the rescaled values are HU; CT need not say so (PS3.3 C.11.1.1.2)."""
    return frame.rescale_type in ("", "HU")


def has_usable_rescale(frame: FrameHeader) -> bool:
    """Return True if slope and intercept are numbers that a CT scale can have."""
    return 0.01 <= _number(frame.slope) <= 16 and abs(_number(frame.intercept)) <= 32768


def has_usable_coding(frame: FrameHeader) -> bool:
    """Return True if the stored words are one sample of 8 or 16 bits that a table can map."""
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


_Check = tuple[Callable[[FrameHeader], bool], Reason]

_FRAME_CHECKS: tuple[_Check, ...] = (
    (
        lambda f: f.modality != "CT" or f.sop_class_uid not in CT_SOP_CLASSES,
        Reason("not_ct", "The series is not a CT series."),
    ),
    (is_localizer, Reason("localizer", "The series is a localizer (scout view).")),
    (
        lambda f: f.burned_in.upper() == "YES",
        Reason("burned_in", "The images have text burned in; they are captures, not measurements."),
    ),
    (
        is_derived,
        Reason("derived", "The series was derived from other images (reformatted, projected or captured)."),
    ),
    (
        lambda f: f.slope is None or f.intercept is None,
        Reason("missing_rescale", "Images lack Rescale Slope or Intercept; their values cannot be read as HU."),
    ),
    (
        lambda f: not has_usable_rescale(f),
        Reason("invalid_rescale", "Invalid Rescale Slope/Intercept for CT."),
    ),
    (
        lambda f: not is_hounsfield(f),
        Reason("not_hounsfield", "The values of the images are not Hounsfield units (Rescale Type)."),
    ),
    (
        lambda f: not has_usable_coding(f),
        Reason("unsupported_pixels", "Unsupported pixel format for CT."),
    ),
    (
        is_lossy,
        Reason("lossy", "The images were compressed with loss; the models are not validated for such images."),
    ),
)


def why_not_headers(frames: Sequence[FrameHeader], overruled: frozenset[str] = frozenset()) -> Reason | None:
    """Return the first reason why frames with such headers are not analysed, or None.

    Of ``overruled``, what a radiologist may overrule (``db.domain.reasons.OVERRULABLE``) is no reason.
    """
    if not frames:
        return Reason("no_images", "The series holds no image that can be read.")
    for fails, reason in _FRAME_CHECKS:
        if reason.code in overruled & OVERRULABLE:
            continue
        if any(fails(frame) for frame in frames):
            return reason
    return None


def why_not_stack(stack: SeriesStack, thresholds: GateThresholds) -> Reason | None:
    """Return the first reason why a stack of such geometry is not analysed, or None."""
    if _obliquity_deg(stack) > thresholds.max_obliquity_deg:
        return Reason("not_axial", "The slices are not axial.")
    unfit = thresholds.why_not_geometry(len(stack.frames), stack.geometry.spacing_mm)
    return reason_of(unfit) if unfit else None


def _obliquity_deg(stack: SeriesStack) -> float:
    """Return the angle between the slices' normal and the patient's long axis (z of LPS), degrees."""
    cosines = np.array(stack.geometry.orientation)
    normal = np.cross(cosines[:3], cosines[3:])
    return math.degrees(math.acos(min(1.0, abs(float(normal[2])) / float(np.linalg.norm(normal)))))
