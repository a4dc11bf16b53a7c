"""What the web needs from elsewhere: the composition root hands in objects of these shapes.

``webapp`` imports neither torch nor pynetdicom; a process that only serves pages never loads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, Protocol

from db.analyses.scanners import Scanner
from db.domain.records import ModelIdentity, NewFinding, Reason

MapName = Literal["attention", "gradient"]


@dataclass(frozen=True, slots=True)
class UploadAnswer:
    """What a model says of one uploaded image; probabilities are percentages nowhere, always 0..1."""

    kind: str
    """``slice`` (PNG, JPEG), ``nodule`` (DICOM with row and column) or ``dicom`` (DICOM without)."""
    predicted_class: str | None
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    in_domain: bool
    reasons: tuple[Reason, ...]
    unvalidated: dict[str, object] | None
    """``{"class": ..., "confidence": {...}}`` where a raw answer exists for an input outside the domain."""
    model: ModelIdentity
    temperature: float
    image_png: bytes | None
    """The 8-bit picture that was read, upright, at most 1024 pixels a side."""
    attention_png: bytes | None
    """The attention overlay on that picture, same size (RGBA)."""
    displayed: dict[str, object] | None = None
    """What is shown of the probability of ``malignant``, as ``inference.displayed`` records it."""


@dataclass(frozen=True, slots=True)
class MarkedPoint:
    """A reader's click: 0-based row and column in stored pixels of one instance (frame 1 unless told)."""

    series_instance_uid: str
    sop_instance_uid: str
    row: float
    column: float
    frame_number: int = 1


@dataclass(frozen=True, slots=True)
class PointAnswer:
    """What a model says of a marked place, and the scanner that the series is from."""

    model: ModelIdentity
    finding: NewFinding
    scanner: Scanner


@dataclass(frozen=True, slots=True)
class SliceReference:
    """One displayable slice of a series, in anatomical order."""

    sop_instance_uid: str
    frame_number: int
    instance_number: int | None
    position_mm: tuple[float, float, float] | None
    rows: int
    columns: int
    row_spacing_mm: float | None
    column_spacing_mm: float | None
    orientation: tuple[float, float, float, float, float, float] | None = None
    """Direction cosines of first row and first column (PS3.3 C.7.6.2.1.1); with None no orientation is shown."""


@dataclass(frozen=True, slots=True)
class StatementTable:
    """A table of the conformance statement."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class StatementSection:
    """A section of the conformance statement, numbered as PS3.2 lays it out."""

    number: str
    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[StatementTable, ...] = ()


class UnfitInputError(Exception):
    """The input cannot be answered: ``status`` is the HTTP status, ``code`` stable, ``message`` for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class Predictor(Protocol):
    """Answers uploads and clicks. Calls take from 10 ms to 2 s on two cores and may be made from several threads."""

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnswer:
        """Answer an uploaded PNG, JPEG or DICOM instance; type is told by content.

        Raises
        ------
        UnfitInputError
            415 for another type, 413 for too many pixels, 422 for an image that cannot be read.
        """
        ...

    def preview(self, content: bytes) -> bytes:
        """Draw the first frame of an uploaded DICOM instance in the lung window, pixel by pixel (PNG).

        Raises
        ------
        UnfitInputError
            422 for an instance that cannot be read, or has no HU.
        """
        ...

    def analyse_place(self, study_instance_uid: str, place: MarkedPoint) -> PointAnswer:
        """Analyse the place that a reader pointed at.

        Raises
        ------
        UnfitInputError
            404 where the instance is not in that study, 422 where its series has no usable geometry.
        """
        ...

    def attention(self, study_instance_uid: str, place: MarkedPoint, kind: MapName = "attention") -> bytes:
        """Say where the planar network looks around a place: a transparent PNG (RGBA) of the size of its slice.

        ``gradient`` instead shows the pixels that move its answer; it takes about a second.

        Raises
        ------
        UnfitInputError
            As ``analyse_place``; 404 too where no network of the model looks at planes.
        """
        ...

    def plots(self, model_name: str) -> Mapping[str, bytes]:
        """Give the plots (PNG) that came with a model, by name; none for a model that is not known."""
        ...

    def status(self) -> dict[str, object]:
        """Give ``GET /model_status`` without counters: the nodule model's fields on top, all in ``models``."""
        ...


class StudyImages(Protocol):
    """How stored studies lie in space, read outside the web process's own trust."""

    def slices(self, study_instance_uid: str, series_instance_uid: str) -> tuple[SliceReference, ...]:
        """List the series' displayable slices in anatomical order (empty where none can be shown)."""
        ...


class Pieces(Protocol):
    """Bytes that come a piece at a time; ``close`` them where they are not read to their end."""

    def __iter__(self) -> Pieces:
        """Be read from here on."""
        ...

    def __next__(self) -> bytes:
        """Give the next piece."""
        ...

    def close(self) -> None:
        """Give up what is held open."""
        ...


class Content(Protocol):
    """Bytes of a stored instance, read as they are sent."""

    @property
    def transfer_syntax_uid(self) -> str:
        """How they are encoded."""
        ...

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    @property
    def pieces(self) -> Pieces:
        """The bytes."""
        ...


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """How a frame is drawn."""

    media_type: str
    """``image/png`` or ``image/jpeg``."""
    quality: int
    window: tuple[float, float, str] | None
    """Center, width, and ``linear``, ``linear-exact`` or ``sigmoid``; None takes the image's own."""
    size: tuple[int, int] | None
    """Width and height to fit into."""
    region: tuple[int, int, int, int] | None
    """Left, top, width and height of what is shown."""


class SharedFiles(Protocol):
    """Files that every web sees; each has them in a folder of its own, by the same relative paths.

    Every method may raise ``UnfitInputError``: 503 where they cannot be reached.
    """

    def persist(self, paths: Sequence[str]) -> None:
        """Share files that were written to the folder."""
        ...

    def fetch(self, paths: Sequence[str]) -> object:
        """Bring files to the folder that are not there, where they are kept."""
        ...

    def remove(self, path: str) -> None:
        """Forget a file; harmless where there is none."""
        ...


class StoredFiles(Protocol):
    """Stored instances by their relative paths, as DICOMweb sends them; parsed outside the web process's own trust.

    Every method may raise ``UnfitInputError``: 422 where a file cannot be read or decoded, 500 where it is damaged: its
    content is no longer what was received.
    """

    def check(self, paths: Sequence[str]) -> None:
        """See that files are undamaged, before the first of them is sent."""
        ...

    def documents(self, paths: Sequence[str], urls: Sequence[str]) -> Iterator[str | None]:
        """Describe instances in the DICOM JSON Model, None where one cannot be read; ``urls`` lead to bulk data."""
        ...

    def frame(self, path: str, frame_number: int, *, stored: bool) -> Content | None:
        """Give one frame, as it is stored or decoded; None where there is no such frame (counted from 1)."""
        ...

    def part10_file(self, path: str, transfer_syntax_uid: str) -> Content:
        """Give the PS3.10 file as it is stored."""
        ...

    def uncompressed(self, path: str) -> Content:
        """Give the PS3.10 file in Explicit VR Little Endian."""
        ...

    def bulk(self, path: str, place: Sequence[str]) -> Content:
        """Give the value at a place: a tag, or item numbers and tags in turn within sequences."""
        ...

    def rendered(self, path: str, frame_number: int, rendering: RenderOptions) -> Content | None:
        """Draw one frame; None where there is no such frame."""
        ...


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """What became of a posted instance; UIDs are empty where it did not tell them."""

    sop_class_uid: str
    sop_instance_uid: str
    is_stored: bool
    failure_reason: int = 0
    """Failure Reason (0008,1197), as PS3.18 table I.2-2 has them."""


class InstanceReception(Protocol):
    """One PS3.10 file while it arrives."""

    def write(self, piece: memoryview | bytes) -> None:
        """Take what comes next."""
        ...

    def finish(self) -> InstanceOutcome:
        """Make the instance durable, or say why not."""
        ...

    def abandon(self) -> None:
        """Forget what came so far; harmless after ``finish``."""
        ...


@dataclass(frozen=True, slots=True)
class LeftOutFiles:
    """Files of one kind in an uploaded zip that are no CT images."""

    kind: str
    """Stable: ``structured_report``, ``not_dicom``, ..."""
    count: int
    text: str
    """For people, in English: ``3 files that are not DICOM``."""


@dataclass(frozen=True, slots=True)
class AcceptedStudy:
    """What became of an uploaded zip."""

    study_instance_uid: str
    accepted: int
    """CT images of the zip; all are stored now."""
    already_stored: int
    """How many of these were stored before."""
    left_out: tuple[LeftOutFiles, ...] = ()


class StudyIntake(Protocol):
    """Takes what is sent by the web into the same intake as the PACS' pushes."""

    def open_instance(self, *, actor: str, study_instance_uid: str) -> InstanceReception:
        """Begin to take a PS3.10 file, which has to belong to that study (empty: to any)."""
        ...

    def store_zip(self, content: bytes | mmap, *, actor: str) -> AcceptedStudy:
        """Store the CT images of a zip, in memory or as a mapped file; all or none.

        Raises
        ------
        UnfitInputError
            413 for too much, 422 where no CT image is in it, one is refused, or studies are mixed, 503 when storage is
            full.
        """
        ...
