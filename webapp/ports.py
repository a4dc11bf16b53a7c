"""Interfaces that the web app depends on, implemented in ``lungnode.adapters``.

``webapp`` imports neither torch nor pynetdicom: a process that only serves pages never loads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Literal, Protocol

from db.domain.findings import NewFinding
from db.domain.models import ModelIdentity
from db.domain.scanners import Scanner
from db.domain.uploads import UploadAnswer

MapName = Literal["attention", "gradient"]


@dataclass(frozen=True, slots=True)
class UploadAnalysis:
    """Answer to an upload, and the images to show with it."""

    answer: UploadAnswer
    image_png: bytes | None
    """The 8-bit image as analysed, upright, at most 1024 pixels a side."""
    attention_png: bytes | None
    """The attention overlay on that image, same size (RGBA)."""


@dataclass(frozen=True, slots=True)
class MarkedPoint:
    """A reader's click: 0-based row and column in stored pixels of one instance and frame (counted from 1)."""

    series_instance_uid: str
    sop_instance_uid: str
    row: float
    column: float
    frame_number: int = 1


@dataclass(frozen=True, slots=True)
class PointAnswer:
    """Model output for a marked point, and the scanner of the series."""

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


class Predictor(Protocol):
    """Analysis of uploads and marked points. Calls take 10 ms to 2 s on two cores and are thread-safe."""

    def predict_upload(self, content: bytes, *, row: float | None, column: float | None) -> UploadAnalysis:
        """Analyse an uploaded PNG, JPEG or DICOM instance, detected by content.

        Raises
        ------
        UnfitInputError
            415 for another type, 413 for too many pixels, 422 for an image that cannot be read.
        """
        ...

    def preview(self, content: bytes) -> bytes:
        """Render the first frame of an uploaded DICOM instance in the lung window, at its own size (PNG).

        Raises
        ------
        UnfitInputError
            422 for an instance that cannot be read, or has no HU.
        """
        ...

    def analyse_point(self, study_instance_uid: str, point: MarkedPoint) -> PointAnswer:
        """Analyse the point that a reader marked.

        Raises
        ------
        UnfitInputError
            404 where the instance is not in that study, 422 where its series has no usable geometry.
        """
        ...

    def attention(self, study_instance_uid: str, point: MarkedPoint, kind: MapName = "attention") -> bytes:
        """Return the planar network's attention around a point: a transparent PNG (RGBA) of the size of its slice.

        ``gradient`` shows the gradient of its output instead; it takes about a second.

        Raises
        ------
        UnfitInputError
            As ``analyse_point``; 404 also if the model has no planar network.
        """
        ...

    def plots(self, model_name: str) -> Mapping[str, bytes]:
        """Return the plots (PNG) of a model's bundle by name; empty for an unknown model."""
        ...

    def status(self) -> dict[str, object]:
        """Return ``GET /model_status`` without counters: the nodule model's fields, and all models in ``models``."""
        ...


class StudyImages(Protocol):
    """Geometry of stored studies, parsed outside the web process."""

    def slices(self, study_instance_uid: str, series_instance_uid: str) -> tuple[SliceReference, ...]:
        """List the series' displayable slices in anatomical order (empty if none can be shown)."""
        ...


class Pieces(Protocol):
    """Iterator of chunks; ``close`` it if it is not exhausted."""

    def __iter__(self) -> Pieces:
        """Return the iterator itself."""
        ...

    def __next__(self) -> bytes:
        """Return the next chunk."""
        ...

    def close(self) -> None:
        """Release open resources."""
        ...


class Content(Protocol):
    """Content of a stored instance, read as it is sent."""

    @property
    def transfer_syntax_uid(self) -> str:
        """Transfer syntax of the content."""
        ...

    @property
    def size_bytes(self) -> int:
        """Size in bytes."""
        ...

    @property
    def pieces(self) -> Pieces:
        """Chunks of the content."""
        ...


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """Options for rendering a frame."""

    media_type: str
    """``image/png`` or ``image/jpeg``."""
    quality: int
    window: tuple[float, float, str] | None
    """Center, width, and ``linear``, ``linear-exact`` or ``sigmoid``; None uses the image's own."""
    size: tuple[int, int] | None
    """Width and height to fit into."""
    region: tuple[int, int, int, int] | None
    """Left, top, width and height of the rendered region."""


class SharedFiles(Protocol):
    """Files shared by web processes; each has a local folder with the same relative paths.

    Every method may raise ``UnfitInputError``: 503 if the store is unreachable.
    """

    def persist(self, paths: Sequence[str]) -> None:
        """Upload files of the local folder."""
        ...

    def fetch(self, paths: Sequence[str]) -> object:
        """Download missing files into the local folder."""
        ...

    def remove(self, path: str) -> None:
        """Delete a file, if it exists."""
        ...


class StoredFiles(Protocol):
    """Stored instances by relative path, for DICOMweb; parsed outside the web process.

    Every method may raise ``UnfitInputError``: 422 if a file cannot be read or decoded, 500 if its content differs from
    the received one.
    """

    def check(self, paths: Sequence[str]) -> None:
        """Check that files are undamaged, before any is sent."""
        ...

    def documents(self, paths: Sequence[str], urls: Sequence[str]) -> Iterator[str | None]:
        """Yield instances in the DICOM JSON Model, None for an unreadable one; ``urls`` are those of bulk data."""
        ...

    def frame(self, path: str, frame_number: int, *, stored: bool) -> Content | None:
        """Return one frame (counted from 1), as stored or decoded; None if it does not exist."""
        ...

    def part10_file(self, path: str, transfer_syntax_uid: str) -> Content:
        """Return the PS3.10 file as stored."""
        ...

    def uncompressed(self, path: str) -> Content:
        """Return the PS3.10 file in Explicit VR Little Endian."""
        ...

    def bulk(self, path: str, element_path: Sequence[str]) -> Content:
        """Return the value at a path of tags and, within sequences, item numbers."""
        ...

    def rendered(self, path: str, frame_number: int, rendering: RenderOptions) -> Content | None:
        """Render one frame; None if it does not exist."""
        ...


@dataclass(frozen=True, slots=True)
class InstanceOutcome:
    """Outcome of a posted instance; UIDs are empty if unknown."""

    sop_class_uid: str
    sop_instance_uid: str
    is_stored: bool
    failure_reason: int = 0
    """Failure Reason (0008,1197), PS3.18 table I.2-2."""


class InstanceReception(Protocol):
    """Reception of one PS3.10 file."""

    def write(self, piece: memoryview | bytes) -> None:
        """Write the next chunk."""
        ...

    def finish(self) -> InstanceOutcome:
        """Store the instance durably; return the outcome."""
        ...

    def abandon(self) -> None:
        """Discard an incomplete file; no effect after ``finish``."""
        ...


@dataclass(frozen=True, slots=True)
class LeftOutFiles:
    """Files of one kind in an uploaded zip that are not CT images."""

    kind: str
    """Stable: ``structured_report``, ``not_dicom``, ..."""
    count: int
    text: str
    """Display text in English: ``3 files that are not DICOM``."""


@dataclass(frozen=True, slots=True)
class AcceptedStudy:
    """Outcome of an uploaded zip."""

    study_instance_uid: str
    accepted: int
    """CT images of the zip; all are stored now."""
    already_stored: int
    """Number of these that were stored before."""
    left_out: tuple[LeftOutFiles, ...] = ()


class StudyIntake(Protocol):
    """Intake of uploads, with the same checks as for C-STORE."""

    def open_instance(self, *, actor: str, study_instance_uid: str) -> InstanceReception:
        """Begin the reception of a PS3.10 file of a study (empty: of any)."""
        ...

    def store_zip(self, content: bytes | mmap, *, actor: str) -> AcceptedStudy:
        """Store the CT images of a zip (in memory or a mapped file), all or none.

        Raises
        ------
        UnfitInputError
            413 if too large, 422 if it has no CT image, one is refused, or studies are mixed, 503 if storage is full.
        """
        ...
