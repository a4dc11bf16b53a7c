"""Encoded instances and a real intake for tests: pydicom writes what the intake reads, and nothing is mocked."""

from __future__ import annotations

import io
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from db.database import Database
from db.engine import schema
from dicom_node.intake.counters import Counters
from dicom_node.intake.instance_intake import Announced, Intake, IntakeLimits, IntakeVerdict, Sender
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.services.storage_service import start_listener
from dicom_node.storage.instance_store import InstanceStore

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
SENDER = Sender("PACS", "127.0.0.1")


def ct_dataset(number: int = 1, *, series: int = 1, study: int = 1, rows: int = 16) -> Dataset:
    """A small valid CT slice; ``number`` sets its UID and its pixels."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{study}.{series}.{number}"
    ds.StudyDate, ds.StudyTime = "20250131", "101500"
    ds.AccessionNumber = f"A{study}"
    ds.Modality = "CT"
    ds.ReferringPhysicianName = "REFERRER^R"
    ds.StudyDescription, ds.SeriesDescription = "CHEST", "LUNG 1.0"
    ds.PatientName, ds.PatientID = f"PATIENT^{study}", f"P{study}"
    ds.PatientBirthDate, ds.PatientSex = "19600102", "F"
    ds.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.{study}"
    ds.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.{study}.{series}"
    ds.SeriesNumber, ds.InstanceNumber = series, number
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 1
    ds.Rows = ds.Columns = rows
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
    ds.PixelData = (number % 65536).to_bytes(2, "little") * rows * rows
    ds["PixelData"].VR = "OW"
    return ds


def encoded(ds: Dataset, transfer_syntax: str = EXPLICIT) -> bytes:
    """Encode a dataset as it travels in a C-STORE, without file meta information."""
    if transfer_syntax == DEFLATED:
        import zlib

        deflater = zlib.compressobj(wbits=-15)
        return deflater.compress(encoded(ds)) + deflater.flush()
    stream = io.BytesIO()
    from pydicom.filebase import DicomFileLike

    file = DicomFileLike(stream)
    syntax = UID(transfer_syntax)
    file.is_little_endian, file.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(file, ds)
    return stream.getvalue()


def part10(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Encode a dataset as a PS3.10 file."""
    from pydicom.dataset import FileMetaDataset

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    stream = io.BytesIO()
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


def announced(ds: Dataset, transfer_syntax: str = EXPLICIT) -> Announced:
    """C-STORE command of a dataset."""
    return Announced(str(ds.SOPClassUID), str(ds.SOPInstanceUID), transfer_syntax)


@dataclass(frozen=True, slots=True)
class Node:
    """A store, an index and an intake, all real."""

    folder: Path
    store: InstanceStore
    database: Database
    intake: Intake

    @property
    def counters(self) -> Counters:
        """Counts of the intake."""
        return self.intake.counters

    def stored_files(self) -> list[Path]:
        """The files that have their names."""
        return sorted((self.folder / "store" / "instances").rglob("*.dcm"))

    def partial_files(self) -> list[Path]:
        """The files that are still being received."""
        return sorted((self.folder / "store" / "incoming").rglob("*.part"))


@cache
def _empty_index() -> bytes:
    """A migrated index without rows; migrating takes longer than most tests."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index.db"
        schema.upgrade(f"sqlite:///{index}")
        with sqlite3.connect(index) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return index.read_bytes()


@contextmanager
def running_node(
    folder: Path, *, limits: IntakeLimits | None = None, min_free_bytes: int = 0, busy_timeout_s: float = 30.0
) -> Iterator[Node]:
    """Make a node in a folder."""
    index = folder / "index.db"
    if not index.exists():
        index.write_bytes(_empty_index())
    database = Database(f"sqlite:///{index}", b"k" * 32, busy_timeout_s=busy_timeout_s)
    try:
        with InstanceStore(folder / "store", min_free_bytes) as store:
            yield Node(folder, store, database, Intake(store, database, limits))
    finally:
        database.dispose()


@contextmanager
def listening(node: Node, settings: ListenerSettings | None = None) -> Iterator[Listener]:
    """Listen on a port of the kernel's choice."""
    listener = start_listener(settings or ListenerSettings(port=0, timeout_s=10), node.intake)
    try:
        yield listener
    finally:
        listener.stop()


def receive_instance(
    intake: Intake, announced: Announced, dataset: bytes | memoryview, sender: Sender
) -> IntakeVerdict:
    """Store an instance that is complete in memory."""
    reception = intake.begin(announced, sender)
    reception.write(dataset)
    return reception.finish()
