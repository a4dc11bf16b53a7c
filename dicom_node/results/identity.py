"""Header of a source image, repaired attribute by attribute, for result objects that inherit its identity.

Senders write what the standard does not allow: two names in one, numbers with a comma, dates that never were. highdicom
refuses some of it, and then a patient's weight keeps a report from being made. So objects are built on a header in
which every value conforms (PS3.5 6.2, PS3.6) or is left out; then those attributes by which a PACS knows patient and
study are put back byte for byte as they were received.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from pydicom import config
from pydicom.charset import convert_encodings, python_encoding
from pydicom.datadict import dictionary_description, dictionary_has_tag, dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import DA, TM, PersonName, validate_value

IDENTITY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""Put back byte for byte: what a PACS matches by, valid or not. It has taken these very bytes before."""
LONGEST_BYTES = 1024
"""A longer value is no identity; what conforms of it stands in."""
MINIMAL = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyDescription"),
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber"),
    *("Modality", "Rows", "Columns", "NumberOfFrames", "FrameOfReferenceUID", "PixelSpacing", "SpecificCharacterSet"),
    *("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("SliceThickness", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""All that result objects cannot do without."""
_LONGEST = {"LO": 64, "SH": 16, "PN": 64, "ST": 1024, "LT": 10240, "UT": 1 << 16, "UC": 1 << 16}
_PARAGRAPHS = frozenset({"ST", "LT", "UT"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f]+")
_CONTROL_OF_PARAGRAPHS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x9f]+")  # keeps TAB, LF, FF, CR
_FUNCTIONAL_GROUPS = 0x5200
_SEXES = {"MALE": "M", "FEMALE": "F", "OTHER": "O"}
_CHARACTER_SETS = {"UTF-8": "ISO_IR 192", "UTF8": "ISO_IR 192", "UTF_8": "ISO_IR 192"}


class SourceHeader(Dataset):
    """A repaired header; ``received`` are identifying elements as they came, ``texts`` the same decoded."""

    received: dict[str, bytes]
    texts: dict[str, str]


def source_header(ds: Dataset, *, is_minimal: bool = False) -> SourceHeader:
    """Repair a freshly read header in place.

    Parameters
    ----------
    is_minimal
        Whether to leave out all that result objects can do without.
    """
    received = {keyword: value for keyword in IDENTITY if (value := _bytes_of(ds, keyword))}
    character_set = _repaired_character_set(ds)
    texts = {keyword: _text_of(ds, keyword) for keyword in IDENTITY}
    if is_minimal:
        needed = {Tag(keyword) for keyword in MINIMAL}
        for tag in [tag for tag in ds.keys() if tag not in needed]:  # noqa: SIM118 (a dataset yields elements)
            del ds[tag]
    repair(ds)
    header = SourceHeader(ds)
    header.received, header.texts = received, texts
    if character_set:
        header.SpecificCharacterSet = character_set
    elif "SpecificCharacterSet" in header:
        del header.SpecificCharacterSet
    return header


def bear_identity(ds: Dataset, header: SourceHeader) -> None:
    """Encode as the source is, and restore the original bytes of identifying attributes; our text is ASCII."""
    if "SpecificCharacterSet" in header:
        ds.SpecificCharacterSet = header.SpecificCharacterSet
    elif "SpecificCharacterSet" in ds:
        del ds.SpecificCharacterSet
    encodings = convert_encodings(ds.get("SpecificCharacterSet") or "")
    for keyword, value in header.received.items():
        if keyword in ds:
            vr = dictionary_VR(keyword)  # bytes are written as they are, a name's if its encodings are the dataset's
            exact = PersonName(value, encodings) if vr == "PN" else value
            ds[keyword] = DataElement(Tag(keyword), vr, exact, validation_mode=config.IGNORE)


def repair(ds: Dataset) -> None:
    """Make every element conform to its VR and multiplicity, or remove it; private ones are removed."""
    for tag in list(ds.keys()):
        if tag.group == _FUNCTIONAL_GROUPS:  # nothing of them is copied, and they may be many
            continue
        element = _element(ds, tag)
        if element is None or tag.is_private or not dictionary_has_tag(tag):
            del ds[tag]
        elif element.VR == "SQ":
            _repair_items(ds, element)
        elif not element.is_empty:
            value = _repaired(element)
            if value is None:
                del ds[tag]
            else:
                ds[tag] = DataElement(tag, element.VR, value, validation_mode=config.IGNORE)


def _repair_items(ds: Dataset, element: DataElement) -> None:
    for item in element.value or ():
        repair(item)
    if not element.value or not any(len(item) for item in element.value):
        del ds[element.tag]


def _element(ds: Dataset, tag: BaseTag) -> DataElement | None:
    try:
        return ds[tag]
    except Exception:  # noqa: BLE001 - pydicom raises whatever a strange value makes of it
        return None


def _repaired(element: DataElement) -> Any:
    """Return the conforming part of a value, or None."""
    values = list(element.value) if element.VM > 1 else [element.value]
    minimum, maximum = _multiplicity(element.tag)
    if element.VR in _LONGEST:
        if maximum == 1 and len(values) > 1 and element.VR != "PN":
            values = [" ".join(str(value).strip() for value in values)]
        parts = [text for value in values if (text := _repaired_text(str(value), element.VR))]
    else:
        parts = [part for value in values if (part := _repaired_value(value, element)) is not None]
        if len(parts) < len(values) and maximum > 1:  # positions and the like mean nothing in part
            return None
    parts = parts[:maximum]
    if len(parts) < minimum:
        return None
    return parts[0] if len(parts) == 1 else parts


def _repaired_text(text: str, vr: str) -> str:
    if vr == "PN":
        groups = [_CONTROL.sub(" ", group).strip()[:64].rstrip("^ ") for group in text.split("=")[:3]]
        return "=".join(groups).rstrip("=")
    control = _CONTROL_OF_PARAGRAPHS if vr in _PARAGRAPHS else _CONTROL
    return control.sub(" ", text).replace("\\", " " if vr not in _PARAGRAPHS else "\\").strip()[: _LONGEST[vr]]


def _repaired_value(value: Any, element: DataElement) -> Any:
    """Return one value that is not free text, or None."""
    vr = element.VR
    if vr in ("DS", "IS"):
        return _number(value, vr)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, str):
        return value if isinstance(value, bytes | int) else None
    text = str(value).strip(" \x00")
    if element.tag == 0x00100040:
        text = _SEXES.get(text.upper(), text.upper())
        return text if text in ("M", "F", "O") else None
    if vr == "TM":
        text = re.sub(r"(\.\d{6})\d+$", r"\1", text)
    return text if _is_valid(text, vr) else None


def _number(value: Any, vr: str) -> Any:
    text = str(value).strip(" \x00").replace(",", ".")
    try:
        number = float(text)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number) or (vr == "IS" and (not number.is_integer() or abs(number) >= 1 << 31)):
        return None
    if vr == "IS":
        return int(number)
    return text if len(text) <= 16 else f"{number:.10g}"


def _is_valid(text: str, vr: str) -> bool:
    try:
        validate_value(vr, text, config.RAISE)
        return vr not in ("DA", "TM") or bool({"DA": DA, "TM": TM}[vr](text) is not None)
    except (ValueError, TypeError, OverflowError):
        return False


def _multiplicity(tag: BaseTag) -> tuple[int, int]:
    """Return the minimum and maximum number of values (PS3.6)."""
    minimum, _, maximum = dictionary_VM(tag).partition("-")
    if not maximum:
        return int(minimum), int(minimum)
    return int(minimum), int(maximum) if maximum.isdigit() else 1 << 16


def _bytes_of(ds: Dataset, keyword: str) -> bytes | None:
    """Return the bytes of an undecoded identifying element; None where they cannot be restored."""
    element = ds.get_item(keyword)
    value = element.value if isinstance(element, RawDataElement) else None
    if not isinstance(value, bytes) or not value.strip(b" \x00") or len(value) > LONGEST_BYTES:
        return None
    return value


def _text_of(ds: Dataset, keyword: str) -> str:
    element = _element(ds, Tag(keyword)) if keyword in ds else None
    if element is None or element.is_empty:
        return ""
    values = element.value if element.VM > 1 else [element.value]
    return _CONTROL.sub(" ", "\\".join(str(value) for value in values)).strip()


def _repaired_character_set(ds: Dataset) -> list[str] | str | None:
    """Return character sets that are defined terms (PS3.3 C.12.1.1.2); None for the default."""
    element = _element(ds, Tag("SpecificCharacterSet")) if "SpecificCharacterSet" in ds else None
    if element is None or element.is_empty:
        return None
    names = [str(value or "") for value in (element.value if element.VM > 1 else [element.value])]
    terms = [term for name in names if (term := _defined_term(name)) is not None]
    if terms != names:
        ds.SpecificCharacterSet = terms or None
    if not any(terms):
        return None
    return terms if len(terms) > 1 else terms[0]


def _defined_term(name: str) -> str | None:
    text = _CHARACTER_SETS.get(name.strip().upper(), name.strip())
    spelt = re.sub(r"^ISO[_ -]*(2022)?[_ -]*IR[_ -]*(\d+)$", _corrected_spelling, text, flags=re.IGNORECASE)
    return spelt if spelt in python_encoding else None


def _corrected_spelling(match: re.Match[str]) -> str:
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"


def unrepresented(header: SourceHeader) -> Iterator[str]:
    """Return the identifying attributes that could not be restored as received."""
    for keyword in IDENTITY:
        if header.texts[keyword] and keyword not in header.received:
            yield f"{dictionary_description(keyword)} of the source is too long and was cut."
