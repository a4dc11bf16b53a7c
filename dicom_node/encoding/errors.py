"""Errors of the package; no message holds a value of a dataset.

::

    DicomNodeError
    +-- InstanceError                     one instance is not taken; carries its DIMSE status and a stable code
    |   +-- HeaderError                   0xC000  the dataset cannot be understood
    |   |   +-- TruncatedDatasetError             it ends before a value does
    |   |   +-- MalformedElementError             an element breaks the encoding's rules
    |   |   +-- DatasetTooDeepError               sequences are nested deeper than any image needs
    |   |   +-- DatasetTooLongError               more elements or inflated bytes than any image has
    |   |   +-- NotDicomError                     a file is neither DICOM nor a DICOM dataset
    |   |   +-- MissingAttributeError             an attribute that the index needs is absent or empty
    |   |   +-- InvalidAttributeError             an attribute that the index needs has an impossible value
    |   +-- InstanceMismatchError         0xA900  the dataset is not what its command said
    |   +-- NotAnImageError               0xA900  an image class without Pixel Data
    |   +-- UnsupportedSopClassError      0x0122  not an image that this node takes
    |   +-- UnsupportedTransferSyntaxError 0xC000 an encoding that this node does not take
    |   +-- OwnResultError                0x0000  a result of ours that comes back; it is here
    |   +-- NotAuthorizedError            0x0124  this peer may not store
    |   +-- InstanceTooLargeError         0xA700  larger than this node takes
    |   +-- StorageFullError              0xA700  too little free space, or none
    |   +-- StorageUnavailableError       0xA700  the store or the index does not answer
    +-- ZipRefusedError                           an uploaded zip is not taken
    +-- RefusedError                              images are not analysed or displayed; carries its reason
        +-- DecodeError                           they cannot be decoded (``sandbox.decode_process``)
        +-- UnfitImagesError                      they are not fit for the models (``series``)
"""

from __future__ import annotations

from db.domain.reasons import Reason
from dicom_node.encoding.status import Status

UNREADABLE = (AttributeError, LookupError, NotImplementedError, OSError, RecursionError, TypeError, ValueError)
"""Exceptions of pydicom when an untrusted dataset is read, accessed or encoded again."""


class DicomNodeError(Exception):
    """Base class of every error of this package."""


class InstanceError(DicomNodeError):
    """An instance is refused.

    Attributes
    ----------
    status
        The DIMSE status that answers it.
    code
        Stable and machine-readable: a metric's label, an audit's detail.
    """

    status: Status = Status.CANNOT_UNDERSTAND
    code: str = "not-understood"


class HeaderError(InstanceError):
    """The dataset cannot be parsed; ``offset`` counts bytes from its (inflated) start."""

    def __init__(self, text: str, offset: int = 0) -> None:
        super().__init__(text)
        self.offset = offset


class TruncatedDatasetError(HeaderError):
    """The dataset ends within a value."""

    code = "truncated"

    def __init__(self, offset: int) -> None:
        super().__init__(f"dataset ends inside an element at byte {offset}", offset)


class MalformedElementError(HeaderError):
    """An element breaks the rules of its encoding."""

    code = "malformed"

    def __init__(self, problem: str, offset: int) -> None:
        super().__init__(f"{problem} at byte {offset}", offset)
        self.problem = problem


class NotDicomError(HeaderError):
    """A file is neither a PS3.10 file nor a DICOM dataset."""

    code = "not-dicom"

    def __init__(self) -> None:
        super().__init__("not a DICOM file")


class DatasetTooDeepError(HeaderError):
    """Sequences are nested too deeply."""

    code = "too-deep"

    def __init__(self, limit: int, offset: int) -> None:
        super().__init__(f"sequences nested deeper than {limit} at byte {offset}", offset)
        self.limit = limit


class DatasetTooLongError(HeaderError):
    """The dataset has too many elements, or inflates to too many bytes."""

    code = "too-long"

    def __init__(self, unit: str, limit: int, offset: int) -> None:
        super().__init__(f"more than {limit} {unit}", offset)
        self.limit = limit


class MissingAttributeError(HeaderError):
    """A required attribute is absent or empty."""

    code = "missing-attribute"

    def __init__(self, keyword: str) -> None:
        super().__init__(f"{keyword} is absent or empty")
        self.keyword = keyword


class InvalidAttributeError(HeaderError):
    """A required attribute has an impossible value."""

    code = "invalid-attribute"

    def __init__(self, keyword: str, problem: str) -> None:
        super().__init__(f"{keyword} {problem}")
        self.keyword = keyword


class InstanceMismatchError(InstanceError):
    """The dataset contradicts its command set or file meta information."""

    status = Status.DOES_NOT_MATCH
    code = "mismatch"

    def __init__(self, keyword: str, against: str) -> None:
        super().__init__(f"{keyword} differs from that of the {against}")
        self.keyword = keyword


class NotAnImageError(InstanceError):
    """The SOP class requires pixels and the dataset has none."""

    status = Status.DOES_NOT_MATCH
    code = "no-pixels"

    def __init__(self) -> None:
        super().__init__("an image without Pixel Data")


class UnsupportedSopClassError(InstanceError):
    """The SOP class is not stored by this node."""

    status = Status.SOP_CLASS_NOT_SUPPORTED
    code = "sop-class"

    def __init__(self) -> None:
        super().__init__("SOP Class not supported")


class UnsupportedTransferSyntaxError(InstanceError):
    """The transfer syntax is not supported by this node."""

    code = "transfer-syntax"

    def __init__(self) -> None:
        super().__init__("Transfer Syntax not supported")


class OwnResultError(InstanceError):
    """A result object of this node was sent back; it is stored already and the sender may delete it."""

    status = Status.SUCCESS
    code = "own-result"

    def __init__(self) -> None:
        super().__init__("a result of this node")


class NotAuthorizedError(InstanceError):
    """The peer may not store."""

    status = Status.NOT_AUTHORIZED
    code = "not-authorized"

    def __init__(self) -> None:
        super().__init__("this peer may not store")


class InstanceTooLargeError(InstanceError):
    """The dataset exceeds the size limit of this node."""

    status = Status.OUT_OF_RESOURCES
    code = "too-large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"dataset larger than {limit_bytes >> 20} MiB")
        self.limit_bytes = limit_bytes


class StorageFullError(InstanceError):
    """Too little free disk space."""

    status = Status.OUT_OF_RESOURCES
    code = "storage-full"

    def __init__(self) -> None:
        super().__init__("storage is full")


class StorageUnavailableError(InstanceError):
    """The store or the database is unavailable; the same instance may be sent again later."""

    status = Status.OUT_OF_RESOURCES
    code = "storage-unavailable"

    def __init__(self, component: str) -> None:
        super().__init__(f"{component} is unavailable")
        self.component = component


class ZipRefusedError(DicomNodeError):
    """An uploaded zip is refused.

    Attributes
    ----------
    http_status
        413 for too much, 422 for content that is refused, 503 when the store or the index cannot take it now.
    code
        Stable and machine-readable.
    """

    def __init__(self, http_status: int, code: str, text: str, **values: object) -> None:
        """Build the message from an English text whose ``{places}`` are filled by ``values``."""
        self.text = text.format(**values) if values else text
        super().__init__(self.text)
        self.http_status = http_status
        self.code = code


class RefusedError(DicomNodeError):
    """Images are not analysed or displayed.

    Attributes
    ----------
    reason
        For display and the record; holds nothing from a dataset.
    attributes
        Acquisition attributes of the series without identity, where its headers were read.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.text)
        self.reason = reason
        self.attributes: dict[str, str] = {}


class UnfitImagesError(RefusedError):
    """The images are not fit for the models."""
