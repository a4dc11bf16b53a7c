"""SOP classes and transfer syntaxes that the listener accepts, and the encoding of each syntax."""

from __future__ import annotations

from pydicom.uid import (
    JPEG2000,
    Comprehensive3DSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    KeyObjectSelectionDocumentStorage,
    LegacyConvertedEnhancedCTImageStorage,
    ParametricMapStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.encoding.elements import Encoding

STORAGE_CLASSES: dict[str, str] = {
    CTImageStorage: "CT Image Storage",
    EnhancedCTImageStorage: "Enhanced CT Image Storage",
    LegacyConvertedEnhancedCTImageStorage: "Legacy Converted Enhanced CT Image Storage",
}
"""PS3.4 B.5: what is taken for analysis."""

RESULT_CLASSES: dict[str, str] = {
    Comprehensive3DSRStorage: "Comprehensive 3D SR Storage",
    SecondaryCaptureImageStorage: "Secondary Capture Image Storage",
    GrayscaleSoftcopyPresentationStateStorage: "Grayscale Softcopy Presentation State Storage",
    KeyObjectSelectionDocumentStorage: "Key Object Selection Document Storage",
    ParametricMapStorage: "Parametric Map Storage",  # attention maps of version 1.0
    SegmentationStorage: "Segmentation Storage",
}
"""SOP classes of results; only our own are accepted from peers, and answered as stored already."""

TRANSFER_SYNTAXES: dict[str, Encoding] = {
    ExplicitVRLittleEndian: Encoding(),
    ImplicitVRLittleEndian: Encoding(implicit=True),
    ExplicitVRBigEndian: Encoding(big_endian=True),  # retired, still sent
    DeflatedExplicitVRLittleEndian: Encoding(deflated=True),
    RLELossless: Encoding(encapsulated=True),
    JPEGLossless: Encoding(encapsulated=True),
    JPEGLosslessSV1: Encoding(encapsulated=True),
    JPEGLSLossless: Encoding(encapsulated=True),
    JPEGLSNearLossless: Encoding(encapsulated=True),
    JPEG2000Lossless: Encoding(encapsulated=True),
    JPEG2000: Encoding(encapsulated=True),
}
"""PS3.5 A; in the order of our preference."""
