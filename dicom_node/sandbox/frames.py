"""Frame headers of an instance as plain values; read in the decoding child only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.encoding.raw_values import RawValues
from dicom_node.sandbox.fast_header import FastHeader, read_fast_header, tags
from dicom_node.sandbox.inflating import plain_file

Attributes: TypeAlias = Dataset | RawValues

Triple = tuple[float, float, float]
Sextuple = tuple[float, float, float, float, float, float]

MAX_FRAME_PIXELS = 16 << 20
"""4096 x 4096: four times the largest CT matrix in use; larger frames are not decoded."""
MAX_PICTURE_PIXELS = 4 << 20
"""2048 x 2048: a larger PNG or JPEG is decoded at half its size."""
MAX_FRAMES = 20_000
"""More frames than any CT acquisition has; a header that claims more is not believed."""

ATTRIBUTE_KEYWORDS = (
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "KVP",
    "SliceThickness",
    "XRayTubeCurrent",
    "Exposure",
    "ReconstructionDiameter",
    "FilterType",
    "ScanOptions",
    "PatientPosition",
    "BodyPartExamined",
    "GantryDetectorTilt",
)
"""Acquisition attributes that hold no identity and that the record of an analysis keeps."""

PROPERTIES: dict[str, tuple[str, ...]] = {
    "AcquisitionNumber": ("AcquisitionNumber", "FrameAcquisitionNumber"),
    "IrradiationEventUID": ("IrradiationEventUID",),
    "AcquisitionDateTime": ("AcquisitionDateTime", "FrameAcquisitionDateTime"),
    "AcquisitionDate": ("AcquisitionDate",),
    "AcquisitionTime": ("AcquisitionTime",),
    "TemporalPositionIdentifier": ("TemporalPositionIdentifier",),
    "TemporalPositionIndex": ("TemporalPositionIndex",),
    "TemporalPositionTimeOffset": ("TemporalPositionTimeOffset",),
    "TriggerTime": ("TriggerTime",),
    "NominalPercentageOfCardiacPhase": ("NominalPercentageOfCardiacPhase",),
    "ConvolutionKernel": ("ConvolutionKernel",),
    "ReconstructionAlgorithm": ("ReconstructionAlgorithm",),
    "FilterType": ("FilterType",),
    "ImageType": ("FrameType", "ImageType"),
    "StackID": ("StackID",),
    "KVP": ("KVP",),
    "SliceThickness": ("SliceThickness",),
    "ContrastBolusAgent": ("ContrastBolusAgent",),
    "ContrastBolusAgentPhase": ("ContrastBolusAgentPhase",),
    "ScanOptions": ("ScanOptions",),
    "SeriesNumber": ("SeriesNumber",),
    "SeriesTime": ("SeriesTime",),
    "SeriesDescription": ("SeriesDescription",),
    "ContentTime": ("ContentTime",),
    "InstanceCreationTime": ("InstanceCreationTime",),
    "XRayTubeCurrent": ("XRayTubeCurrent", "XRayTubeCurrentInmA"),
    "Exposure": ("Exposure", "ExposureInmAs"),
    "ExposureTime": ("ExposureTime", "ExposureTimeInms"),
}
"""Properties that separate stacks of a series, and their attributes in ordinary and in enhanced CT."""
_MACROS = (
    *("FrameContentSequence", "CTImageFrameTypeSequence", "CTReconstructionSequence", "CTXRayDetailsSequence"),
    *("CTExposureSequence", "PixelMeasuresSequence", "TemporalPositionSequence", "CardiacSynchronizationSequence"),
    *("ContrastBolusUsageSequence", "IrradiationEventIdentificationSequence"),
    "UnassignedPerFrameConvertedAttributesSequence",
)
"""Functional groups in which these stand (PS3.3 C.7.6.16.2, C.8.15.3)."""

_HEADER_TAGS = tags(
    *ATTRIBUTE_KEYWORDS,
    *(keyword for keywords in PROPERTIES.values() for keyword in keywords),
    *("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "AcquisitionNumber", "Modality", "ImageType"),
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "FrameOfReferenceUID", "LossyImageCompression"),
    *("BurnedInAnnotation", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameType"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType"),
)
"""All that is read below of an instance without functional groups."""
_PER_SLICE = tags(
    *("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "XRayTubeCurrent", "Exposure", "AcquisitionNumber"),
    *("AcquisitionTime", "ContentTime", "InstanceCreationTime", "AcquisitionDateTime", "TriggerTime", "ExposureTime"),
)
"""Of these, what differs from slice to slice."""


def check_size(rows: int, columns: int) -> None:
    """Refuse a frame that is too large to decode.

    Raises
    ------
    ValueError
    """
    if rows * columns > MAX_FRAME_PIXELS:
        raise ValueError("a frame has more pixels than any that this node decodes")


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Header of one frame of one instance; None where an attribute is absent or unreadable.

    ``slope`` and ``intercept`` are NaN where a value is present but is no finite number. ``padding`` is the lowest and
    highest stored value that means "no measurement". ``frame_number`` is 1-based.
    """

    path: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    frame_number: int
    instance_number: int | None
    acquisition_number: int | None
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    position_mm: Triple | None
    orientation: Sextuple | None
    pixel_spacing_mm: tuple[float, float] | None
    """``(between rows, between columns)`` (PS3.3 10.7.1.3)."""
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: tuple[int, int] | None
    frame_of_reference_uid: str
    lossy: str
    """Lossy Image Compression (0028,2110): ``00``, ``01`` or empty."""
    burned_in: str
    attributes: dict[str, str]
    derivation_codes: tuple[str, ...] = ()
    """Code values of the Derivation Code Sequence (PS3.3 C.7.6.1.1.3) of the image or its frame."""
    properties: dict[str, str] = field(default_factory=dict)
    """Values of ``PROPERTIES`` and of single dimension indices, absent ones left out."""
    pixels_at: tuple[int, int, int] | None = field(default=None, repr=False, compare=False)
    """Of an ordinary slice: see ``FastHeader``."""

    def message(self) -> dict[str, object]:
        """Return plain values for the exchange with the decoding child."""
        return dict(zip(_NAMES, _values_of(self), strict=True))


_NAMES = tuple(each.name for each in fields(FrameHeader))
_values_of = attrgetter(*_NAMES)


def read_frame_headers(path: Path, at_most: int = MAX_FRAMES) -> list[FrameHeader]:
    """Read the headers of the first ``at_most`` frames of a file, without its pixels.

    Raises
    ------
    Exception
        Anything that pydicom raises on a broken file; the child process translates it.
    """
    if fast := read_fast_header(path, _HEADER_TAGS):
        return [_fast_header(path, fast)][:at_most]
    with plain_file(path) as plain:
        ds = dcmread(plain.path, stop_before_pixels=True)
    syntax = plain.transfer_syntax_uid
    return [replace(header, path=str(path), transfer_syntax_uid=syntax) for header in islice(_headers(ds), at_most)]


def _fast_header(path: Path, fast: FastHeader) -> FrameHeader:
    """Read an ordinary slice; values shared by its series are cached."""
    frame_attributes, common = fast.values.parted(_PER_SLICE)
    values = _common_header(common).message()
    texts = values["attributes"] | _attributes([frame_attributes])  # type: ignore[operator]
    properties = values["properties"] | _properties(frame_attributes)  # type: ignore[operator]
    values |= {
        "path": str(path),
        "transfer_syntax_uid": fast.transfer_syntax_uid,
        "sop_instance_uid": _text(frame_attributes, "SOPInstanceUID"),
        "instance_number": _optional_integer(frame_attributes, "InstanceNumber"),
        "acquisition_number": _optional_integer(frame_attributes, "AcquisitionNumber"),
        "properties": {name: properties[name] for name in PROPERTIES if name in properties},
        "position_mm": tuple(_floats(frame_attributes, "ImagePositionPatient", 3)) or None,
        "attributes": {keyword: texts[keyword] for keyword in ATTRIBUTE_KEYWORDS if keyword in texts},
        "pixels_at": fast.pixels_at,
    }
    return FrameHeader(**values)  # type: ignore[arg-type]


@lru_cache(256)
def _common_header(values: RawValues) -> FrameHeader:
    return _instance_header(values, [values])


def _headers(ds: Attributes) -> Iterator[FrameHeader]:
    count = max(_integer(ds, "NumberOfFrames", 1), 1)
    if count > MAX_FRAMES:
        raise ValueError("more frames than any CT acquisition has")
    shared = _first(ds, "SharedFunctionalGroupsSequence")
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or []
    first = per_frame[0] if per_frame else None
    instance = _instance_header(ds, _scopes(first, shared, ds))
    common = {keyword: text for scope in _scopes(ds, shared) for keyword, text in _properties(scope).items()}
    yield replace(instance, properties=common | (_properties(first) if first is not None else {}))
    for number in range(2, count + 1):
        frame_attributes = per_frame[number - 1] if number <= len(per_frame) else None
        values = _frame_values(_scopes(frame_attributes, shared, ds))
        values["properties"] = common | (_properties(frame_attributes) if frame_attributes is not None else {})
        if frame_attributes is not None and (attributes := _attributes([frame_attributes])):
            values["attributes"] = instance.attributes | attributes
        yield replace(instance, frame_number=number, **values)


def _scopes(*groups: Attributes | None) -> list[Attributes]:
    """List the datasets that may hold a frame's attributes, nearest first; the dataset itself is always last."""
    return [group for group in groups if group is not None]


def _frame_values(scopes: Sequence[Attributes]) -> dict[str, Any]:
    """Read values that may differ from frame to frame."""
    transform = _macro(scopes, "PixelValueTransformationSequence", "RescaleSlope")
    plane = _macro(scopes, "PlanePositionSequence", "ImagePositionPatient")
    frame_type = _macro(scopes, "CTImageFrameTypeSequence", "FrameType")
    spacing = _floats(_macro(scopes, "PixelMeasuresSequence", "PixelSpacing"), "PixelSpacing", 2)
    position = _floats(plane, "ImagePositionPatient", 3)
    cosines = _macro(scopes, "PlaneOrientationSequence", "ImageOrientationPatient")
    orientation = _floats(cosines, "ImageOrientationPatient", 6)
    return {
        "image_type": _texts(frame_type, "FrameType") or _texts(scopes[-1], "ImageType"),
        "position_mm": tuple(position) or None,
        "orientation": tuple(orientation) or None,
        "pixel_spacing_mm": tuple(spacing) or None,
        "slope": _number(transform, "RescaleSlope"),
        "intercept": _number(transform, "RescaleIntercept"),
        "rescale_type": _text(transform, "RescaleType"),
        "derivation_codes": _derivation_codes(scopes),
    }


def _derivation_codes(scopes: Sequence[Attributes]) -> tuple[str, ...]:
    """Read the derivation codes of an image, of the dataset itself and of functional groups."""
    items = [*scopes, *(item for scope in scopes for item in (scope.get("DerivationImageSequence") or ())[:16])]
    codes = [code for item in items for code in (item.get("DerivationCodeSequence") or ())[:16]]
    return tuple(dict.fromkeys(_text(code, "CodeValue") for code in codes))


def _instance_header(ds: Attributes, scopes: Sequence[Attributes]) -> FrameHeader:
    """Read the first frame and the values that all frames of its instance share."""
    return FrameHeader(
        path="",
        sop_instance_uid=_text(ds, "SOPInstanceUID"),
        sop_class_uid=_text(ds, "SOPClassUID"),
        transfer_syntax_uid="",
        frame_number=1,
        instance_number=_optional_integer(ds, "InstanceNumber"),
        acquisition_number=_optional_integer(ds, "AcquisitionNumber"),
        modality=_text(ds, "Modality"),
        rows=_integer(ds, "Rows", 0),
        columns=_integer(ds, "Columns", 0),
        samples_per_pixel=_integer(ds, "SamplesPerPixel", 1),
        bits_allocated=_integer(ds, "BitsAllocated", 0),
        bits_stored=_integer(ds, "BitsStored", 0),
        high_bit=_integer(ds, "HighBit", _integer(ds, "BitsStored", 0) - 1),
        pixel_representation=_integer(ds, "PixelRepresentation", 0),
        padding=_padding(ds),
        frame_of_reference_uid=_text(ds, "FrameOfReferenceUID"),
        lossy=_text(ds, "LossyImageCompression"),
        burned_in=_text(ds, "BurnedInAnnotation"),
        attributes=_attributes(scopes),
        properties=_properties(ds),
        **_frame_values(scopes),
    )


def _properties(scope: Attributes) -> dict[str, str]:
    """Read the attributes that separate stacks, in one scope: a dataset, or a frame's or the shared groups."""
    items = [scope, *(item for name in _MACROS if (item := _first(scope, name)) is not None)]
    texts = {
        name: next(filter(None, (_text(item, keyword) for item in items for keyword in keywords)), "")
        for name, keywords in PROPERTIES.items()
    }
    content = _first(scope, "FrameContentSequence")
    indices = _texts(content, "DimensionIndexValues") if content is not None else ()
    texts |= {f"DimensionIndexValues.{number}": text for number, text in enumerate(indices, 1)}
    return {name: text for name, text in texts.items() if text}


def _first(ds: Attributes, keyword: str) -> Attributes | None:
    """Return the first item of a sequence, or None."""
    sequence = ds.get(keyword)
    return sequence[0] if sequence else None


def _macro(scopes: Sequence[Attributes], sequence: str, keyword: str) -> Attributes:
    """Return the item that holds ``keyword``: per-frame group, shared group, or the dataset itself (PS3.3 C.7.6.16)."""
    for scope in scopes:
        item = _first(scope, sequence)
        if item is not None and keyword in item:
            return item
    return scopes[-1]


def _attributes(scopes: Sequence[Attributes]) -> dict[str, str]:
    """Return the printable attributes of the dataset or of its functional groups, at most 64 characters of each."""
    items = [
        item for scope in (scopes[-1], *scopes[:-1]) for item in (scope, *(value[0] for value in _sequences(scope)))
    ]
    texts = {
        keyword: next(filter(None, (_text(item, keyword) for item in items)), "") for keyword in ATTRIBUTE_KEYWORDS
    }
    return {keyword: text for keyword, text in texts.items() if text}


def _sequences(scope: Attributes) -> Iterator[Sequence[Attributes]]:
    """Yield the macros of a functional group that hold acquisition attributes."""
    for keyword in ("CTReconstructionSequence", "CTXRayDetailsSequence", "CTExposureSequence", "PixelMeasuresSequence"):
        value = scope.get(keyword)
        if value:
            yield value


def _text(ds: Attributes, keyword: str) -> str:
    return "\\".join(_texts(ds, keyword))[:64]


def _texts(ds: Attributes, keyword: str) -> tuple[str, ...]:
    value = _value(ds, keyword)
    if value is None:
        return ()
    return tuple(_printable(str(part)).strip()[:64] for part in _parts(value)[:16])


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())


def _parts(value: object) -> list[object]:
    """Return the values of a multi-valued attribute, or the only one."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else [value]


def _value(ds: Attributes, keyword: str) -> object:
    """Return the value, or None where it is absent, empty or cannot be converted."""
    try:
        value: object = ds.get(keyword)
    except (ValueError, TypeError, OverflowError, NotImplementedError, AttributeError):
        return None
    return None if value in (None, "") else value


def _is_present(ds: Attributes, keyword: str) -> bool:
    if keyword not in ds:
        return False
    raw = ds.get_item(keyword)
    return bool(getattr(raw, "value", None))


def _number(ds: Attributes, keyword: str) -> float | None:
    """Return a finite float, NaN where the value is not a number, or None where it is absent."""
    values = _floats(ds, keyword, 1)
    if values:
        return values[0]
    return math.nan if _is_present(ds, keyword) else None


def _floats(ds: Attributes, keyword: str, count: int) -> list[float]:
    """Return exactly ``count`` finite floats, or an empty list."""
    value = _value(ds, keyword)
    try:
        numbers = [float(str(part)) for part in _parts(value)]
    except (ValueError, TypeError, OverflowError):
        return []
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else []


def _optional_integer(ds: Attributes, keyword: str) -> int | None:
    numbers = _floats(ds, keyword, 1)
    return int(numbers[0]) if numbers else None


def _integer(ds: Attributes, keyword: str, default: int) -> int:
    number = _optional_integer(ds, keyword)
    return default if number is None else number


def _padding(ds: Attributes) -> tuple[int, int] | None:
    """Return Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2) as an ordered pair of stored values."""
    value = _optional_integer(ds, "PixelPaddingValue")
    if value is None:
        return None
    limit = _optional_integer(ds, "PixelPaddingRangeLimit")
    signed = _integer(ds, "PixelRepresentation", 0) == 1
    bits = _integer(ds, "BitsAllocated", 16)
    first = as_stored(value, bits, signed=signed)
    last = first if limit is None else as_stored(limit, bits, signed=signed)
    return min(first, last), max(first, last)


def as_stored(value: int, bits: int, *, signed: bool) -> int:
    """Convert a value of VR US or SS to the signedness of the pixels: writers often confuse the two."""
    wrapped = value % (1 << bits)
    return wrapped - (1 << bits) if signed and wrapped >= 1 << (bits - 1) else wrapped
