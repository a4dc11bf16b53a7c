"""DICOM JSON Model of one instance (PS3.18 F.2), without its bulk data; in the decoding child only."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import BaseTag

from dicom_node.sandbox.inflating import plain_file
from dicom_node.sandbox.pixel_layout import next_tag

SOP_INSTANCE_UID = "00080018"
UTF_8 = "ISO_IR 192"
SPECIFIC_CHARACTER_SET, AVAILABLE_TRANSFER_SYNTAX_UID = "00080005", "00083002"
INLINE_BYTES = 1024
"""Longer values go as bulk data, at an address of their own."""
_NUMBER_STRINGS = {
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII),
    "IS": re.compile(r"[+-]?\d{1,12}", re.ASCII),
}
_MAX_PARTS = 10_000

Json = dict[str, Any]


def instance_json(path: Path, bulk_url: str) -> str:
    """Return an instance as JSON; its text is in Unicode whatever its character set.

    Parameters
    ----------
    bulk_url
        Address under which its bulk data are found by tag (and item number and tag, in sequences).

    Raises
    ------
    Exception
        ValueError for a file that is cut off, and anything that pydicom raises on a broken one.
    """
    with plain_file(path) as plain, plain.path.open("rb") as file:
        ds = dcmread(file, stop_before_pixels=True)
        pixels = next_tag(file, ds)
    described = _dataset(_unambiguous(ds), bulk_url)
    if SOP_INSTANCE_UID not in described:
        raise ValueError("the file is cut off before it says what it is")
    described[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": [UTF_8]}
    described[AVAILABLE_TRANSFER_SYNTAX_UID] = {"vr": "UI", "Value": [plain.transfer_syntax_uid]}
    if pixels:
        vr = "OW" if int(ds.get("BitsAllocated", 16)) > 8 else "OB"
        described[f"{pixels:08X}"] = {"vr": vr, "BulkDataURI": f"{bulk_url}/{pixels:08X}"}
    return json.dumps(dict(sorted(described.items())), allow_nan=False, separators=(",", ":"))


def _unambiguous(ds: Dataset) -> Dataset:
    """Resolve VRs that Pixel Representation decides (PS3.5 A.1); unresolved ones are left out."""
    try:
        return correct_ambiguous_vr(ds, is_little_endian=ds.original_encoding[1] is not False)
    except (AttributeError, KeyError, ValueError):
        return ds


def _dataset(ds: Dataset, url: str) -> Json:
    described = {}
    for tag in ds.keys():  # noqa: SIM118 (iterating a dataset converts its elements, and one may be broken)
        if tag.element == 0:  # group lengths (PS3.5 7.2)
            continue
        element = _element(ds, tag, f"{url}/{tag:08X}")
        if element is not None:
            described[f"{tag:08X}"] = element
    return described


def _element(ds: Dataset, tag: BaseTag, url: str) -> Json | None:
    """Return an element, or None where its value breaks the rules of its VR."""
    try:
        element: DataElement = ds[tag]
        if element.VR == "SQ":
            items = [_dataset(item, f"{url}/{number}") for number, item in enumerate(element.value)]
            return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
        return _finite(element.to_json_dict(lambda _: url, INLINE_BYTES))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - an untrusted value may raise anything; the other elements are still good
        return _numbers(ds, tag)


def _numbers(ds: Dataset, tag: BaseTag) -> Json | None:
    """Return a DS or IS of which a part is not a number: that part is null; None for other VRs."""
    try:
        raw = ds.get_item(tag)
        vr = str(raw.VR or dictionary_VR(tag))
        parts = _parts(raw.value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if vr not in _NUMBER_STRINGS or len(parts) > _MAX_PARTS:
        return None
    return {"vr": vr, "Value": [_number(part.strip(" \0"), _NUMBER_STRINGS[vr]) for part in parts]}


def _parts(value: Any) -> list[str]:
    """Return the values of a DS or IS as written, whether pydicom has converted them or not."""
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    written = (
        value.split("\\") if isinstance(value, str) else [getattr(part, "original_string", part) for part in value]
    )
    return [str(part) for part in written]


def _number(text: str, form: re.Pattern[str]) -> float | int | None:
    if not form.fullmatch(text):
        return None
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(text) if text.lstrip("+-").isdigit() else value


def _finite(described: Json) -> Json | None:
    """Replace infinities and not-a-number, which JSON lacks, by null (PS3.18 F.2.5)."""
    if len(described["vr"]) != 2:
        return None
    values = described.get("Value")
    if values is not None:
        described["Value"] = [None if _is_unwritable(value) else value for value in values]
    return described


def _is_unwritable(value: object) -> bool:
    return value == "" or (isinstance(value, float) and not math.isfinite(value))
