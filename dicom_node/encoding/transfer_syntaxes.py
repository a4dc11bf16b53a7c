"""SOP classes and transfer syntaxes that the listener accepts, and the encoding of each syntax."""

from __future__ import annotations

from dicom_node.encoding.elements import Encoding

VERIFICATION = "1.2.840.10008.1.1"

STORAGE_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.2": "CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
"""PS3.4 B.5: what is taken for analysis."""

RESULT_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR Storage",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection Document Storage",
    "1.2.840.10008.5.1.4.1.1.30": "Parametric Map Storage",
}
"""SOP classes of results; only our own are accepted from peers, and answered as stored already."""

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"

TRANSFER_SYNTAXES: dict[str, Encoding] = {
    EXPLICIT_LITTLE_ENDIAN: Encoding(),
    IMPLICIT_LITTLE_ENDIAN: Encoding(implicit=True),
    "1.2.840.10008.1.2.2": Encoding(big_endian=True),  # Explicit VR Big Endian (retired, still sent)
    "1.2.840.10008.1.2.1.99": Encoding(deflated=True),  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5": Encoding(encapsulated=True),  # RLE Lossless
    "1.2.840.10008.1.2.4.57": Encoding(encapsulated=True),  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.4.70": Encoding(encapsulated=True),  # JPEG Lossless, process 14, selection value 1
    "1.2.840.10008.1.2.4.80": Encoding(encapsulated=True),  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81": Encoding(encapsulated=True),  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90": Encoding(encapsulated=True),  # JPEG 2000 Lossless Only
    "1.2.840.10008.1.2.4.91": Encoding(encapsulated=True),  # JPEG 2000
}
"""PS3.5 A; in the order of our preference."""
