"""DICOM unique identifiers: their rule, and those that pydicom and pynetdicom do not name publicly."""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 64
PATTERN: Final = r"[0-9]+(?:\.[0-9]+)*"
"""Components of a UID (PS3.5 9.1); leading zeros of a component are accepted, as devices in use write them."""
APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
"""DICOM Application Context Name (PS3.7 A.2.1)."""
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
"""Transfer syntaxes are named for packages that do without pydicom: it takes memory and time of the web process."""
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
_UID = re.compile(PATTERN)


def is_uid(text: str) -> bool:
    """Return True if a text is a UID: components of digits, at most 64 characters."""
    return len(text) <= MAX_LENGTH and _UID.fullmatch(text) is not None
