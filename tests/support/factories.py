"""Small CT series with true geometry for tests: body, lungs, spine, nodules, and single defects as parameters.

For pictures that look like a chest use ``dicom_node.phantom``; these here are made in milliseconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from db.analyses import analyses
from db.database import Database
from db.domain.analyses import AnalysisOutcome
from db.domain.models import ModelIdentity
from db.domain.studies import PatientAttributes, ReceivedInstance
from db.studies.instances import series_record
from dicom_node.encoding.part10 import read_file_meta
from dicom_node.phantom.spec import Phantom, PhantomSpec
from dicom_node.phantom.writer import SeriesIdentity, SeriesLayout, save_instance, series_common, slice_instance
from tests.support.migrated import migrate_sqlite
from tests.support.records import record_instance

FIELD_MM = 340.0
"""Side of the square that a test slice covers."""
HEIGHT_MM = 240.0
"""Extent of a test chest along the body; ``n`` slices share it evenly by default."""


@dataclass(frozen=True, slots=True)
class CtSeries:
    """A series that was written: its files and the truth to compare with.

    ``volume_hu`` is ``(slices, rows, columns)`` from feet to head whatever order the files have; ``paths`` and
    ``sop_instance_uids`` are in that anatomical order too (dropped slices left out).
    """

    folder: Path
    paths: tuple[Path, ...]
    sop_instance_uids: tuple[str, ...]
    study_instance_uid: str
    series_instance_uid: str
    volume_hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    """``affine @ (slice, row, column, 1)`` is the voxel centre in the patient's frame (LPS, mm)."""
    nodules: tuple[SimpleNodule, ...] = ()

    def position_mm(self, index: Iterable[float]) -> tuple[float, float, float]:
        """Patient position (LPS, mm) of a fractional ``(slice, row, column)`` index."""
        x, y, z = (self.affine @ np.array([*index, 1.0]))[:3]
        return float(x), float(y), float(z)


@dataclass(frozen=True, slots=True)
class SimpleNodule:
    """A ball of soft tissue; the index is fractional ``(slice, row, column)``."""

    index: tuple[float, float, float]
    diameter_mm: float
    hu: float = 40.0


@dataclass(frozen=True, slots=True)
class Defects:
    """Defects of a series; each alone is one row of a refusal table."""

    drop: tuple[int, ...] = ()
    """Slices (anatomical order) that are not written: a gap."""
    missing: tuple[str, ...] = ()
    """Keywords deleted from every instance."""
    attributes: Mapping[str, object] = field(default_factory=dict)
    """Keywords overwritten in every instance (``Modality``, ``ImageType``, ``SOPClassUID``, ...)."""
    orientation: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    gantry_tilt_deg: float = 0.0
    """Slices sheared along y as a tilted gantry leaves them."""
    repeat: tuple[int, ...] = ()
    """Slices written a second time under a new SOP Instance UID: repeated positions."""
    alter: Callable[[Dataset, int], None] | None = None
    """Called with each dataset and its slice number before it is written."""


def simple_chest(
    n: int, rows: int, columns: int, spacing_mm: tuple[float, float, float], *, seed: int = 0, noise_hu: float = 12.0
) -> NDArray[np.int16]:
    """Make a plain chest in HU: air, body, fat rim, two lungs open at neither end, spine.

    Returns ``(n, rows, columns)`` int16.
    """
    rng = np.random.default_rng(seed)
    z = ((np.arange(n) - (n - 1) / 2) * spacing_mm[0])[:, None, None]
    y = ((np.arange(rows) - (rows - 1) / 2) * spacing_mm[1])[None, :, None]
    x = ((np.arange(columns) - (columns - 1) / 2) * spacing_mm[2])[None, None, :]
    half = max(n * spacing_mm[0] / 2, 1.0)
    volume = np.full((n, rows, columns), -1000.0, np.float32)
    rim = np.broadcast_to((x / 150) ** 2 + (y / 105) ** 2 < 1, volume.shape)
    volume[rim] = -100
    volume[np.broadcast_to((x / 138) ** 2 + (y / 93) ** 2 < 1, volume.shape)] = 45
    for side in (-1, 1):
        lung = ((x - side * 68) / 52) ** 2 + (y / 75) ** 2 + (z / (half * 0.92)) ** 2 < 1
        volume[lung] = -860
    volume[np.broadcast_to((x / 16) ** 2 + ((y - 70) / 15) ** 2 < 1, volume.shape)] = 400
    if noise_hu:
        volume += rng.normal(0, noise_hu, volume.shape).astype(np.float32)
    return np.clip(np.round(volume), -1024, 3071).astype(np.int16)


def add_ball(
    volume_hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], nodule: SimpleNodule
) -> NDArray[np.int16]:
    """Put an antialiased ball into a copy of a volume."""
    grids = np.ogrid[tuple(slice(size) for size in volume_hu.shape)]
    squares = [((grid - at) * mm) ** 2 for grid, at, mm in zip(grids, nodule.index, spacing_mm, strict=True)]
    distance = np.sqrt(squares[0] + squares[1] + squares[2])
    cover = np.clip(0.5 - (distance - nodule.diameter_mm / 2) / max(spacing_mm[1:]), 0, 1)
    return np.round(volume_hu * (1 - cover) + nodule.hu * cover).astype(np.int16)


def ct_series(
    folder: Path,
    *,
    n: int = 24,
    rows: int = 64,
    columns: int | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    nodules: tuple[SimpleNodule, ...] = (),
    volume_hu: NDArray[np.int16] | None = None,
    seed: int = 0,
    identity: SeriesIdentity | None = None,
    defects: Defects | None = None,
    transfer_syntax: str = "explicit",
    shuffle: bool = False,
) -> CtSeries:
    """Write a small chest CT as DICOM files and return it with its truth.

    Parameters
    ----------
    n, rows, columns
        Size; the chest always fills the slice, so fewer pixels are larger ones.
    spacing_mm
        ``(slice, row, column)``; by default ``HEIGHT_MM / n`` and ``FIELD_MM / rows``.
    volume_hu
        Voxels instead of the plain chest, ``(n, rows, columns)``.
    identity
        Patient, study and series; UIDs left empty derive from ``seed`` and the patient's ID.
    transfer_syntax
        A key of ``dicom_node.phantom.writer.TRANSFER_SYNTAXES``, or ``jpegll`` (JPEG Lossless, first-order).
    shuffle
        Give files and Instance Numbers an order that has nothing to do with anatomy.
    """
    wrong = defects or Defects()
    if volume_hu is not None:
        n, rows, columns = volume_hu.shape
    columns = columns or rows
    spacing_mm = spacing_mm or (HEIGHT_MM / n, FIELD_MM / rows, FIELD_MM / columns)
    if volume_hu is None:
        volume_hu = simple_chest(n, rows, columns, spacing_mm, seed=seed)
    for nodule in nodules:
        volume_hu = add_ball(volume_hu, spacing_mm, nodule)
    who = (identity or SeriesIdentity(patient_name="TEST^CHEST", patient_id="TEST-1")).resolved(f"factory {seed}")
    layout = _layout(spacing_mm, (n, rows, columns), wrong)
    order = np.random.default_rng(seed).permutation(n) if shuffle else np.arange(n)
    paths, uids = _write(folder, (who, layout, volume_hu), order, wrong, transfer_syntax)
    return CtSeries(
        folder, paths, uids, who.study_instance_uid, who.series_instance_uid, volume_hu, spacing_mm, _affine(layout),
        nodules,
    )  # fmt: skip


def phantom_of(series: CtSeries) -> Phantom:
    """Wrap a factory series as a phantom, for code that wants one (the Enhanced CT writer)."""
    origin = series.position_mm((0, 0, 0))
    n, rows, columns = series.volume_hu.shape
    spec = PhantomSpec(n, series.spacing_mm[0], rows, columns, series.spacing_mm[1], nodules=())
    return Phantom(spec, series.volume_hu, series.spacing_mm, origin, ())


def _layout(spacing_mm: tuple[float, float, float], shape: tuple[int, int, int], wrong: Defects) -> SeriesLayout:
    origin = tuple(-(size - 1) / 2 * mm for size, mm in zip(shape[::-1], spacing_mm[::-1], strict=True))
    layout = SeriesLayout(spacing_mm, origin, wrong.orientation)  # type: ignore[arg-type]
    if wrong.gantry_tilt_deg:
        shear = float(np.tan(np.radians(wrong.gantry_tilt_deg))) * spacing_mm[0]
        layout = replace(layout, step_mm=(0.0, shear, spacing_mm[0]))
    return layout


def _affine(layout: SeriesLayout) -> NDArray[np.float64]:
    first, second = (np.array(layout.position_mm(index)) for index in (0, 1))
    affine = np.eye(4)
    affine[:3, 0] = second - first
    affine[:3, 1] = np.array(layout.orientation[3:]) * layout.spacing_mm[1]
    affine[:3, 2] = np.array(layout.orientation[:3]) * layout.spacing_mm[2]
    affine[:3, 3] = first
    return affine


def _write(
    folder: Path,
    what: tuple[SeriesIdentity, SeriesLayout, NDArray[np.int16]],
    order: NDArray[np.int64],
    wrong: Defects,
    transfer_syntax: str,
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    identity, layout, volume_hu = what
    folder.mkdir(parents=True, exist_ok=True)
    common = series_common(identity, layout)
    paths, uids = [], []
    for index, copies in ((i, 1 + (i in wrong.repeat)) for i in range(len(volume_hu)) if i not in wrong.drop):
        for copy in range(copies):
            ds = slice_instance(common, layout, volume_hu[index], index)
            ds.InstanceNumber = int(order[index]) + 1 + copy * len(volume_hu)
            if copy:
                ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:-1]}{(int(ds.SOPInstanceUID[-1]) + copy) % 10}"
            _spoil(ds, wrong, index)
            name = f"{int(order[index]) + copy * len(volume_hu):05d}.dcm"
            path = save_instance(ds, folder / name, "explicit" if transfer_syntax == "jpegll" else transfer_syntax)
            if transfer_syntax == "jpegll":
                to_jpeg_lossless(path)
            paths.append(path)
            uids.append(str(ds.SOPInstanceUID))
    return tuple(paths), tuple(uids)


def to_jpeg_lossless(path: Path) -> None:
    """Rewrite a file in JPEG Lossless, process 14, selection value 1; pydicom has no encoder for it, GDCM has."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _spoil(ds: Dataset, wrong: Defects, index: int) -> None:
    for keyword in wrong.missing:
        if keyword in ds:
            delattr(ds, keyword)
    for keyword, value in wrong.attributes.items():
        setattr(ds, keyword, value)
    if wrong.alter is not None:
        wrong.alter(ds, index)


MODEL = ModelIdentity("test-model", "1.0.0", "ab" * 32)


def sqlite_database(folder: Path, **options: Any) -> Database:
    """Open a new SQLite database with the newest schema in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return Database(migrate_sqlite(folder / "lungnode.db"), bytes(range(32)), **options)


def index_series(database: Database, series: CtSeries, store_root: Path) -> str:
    """Put a written series into a store and its index as if it had been received; gives our own id of the series."""
    store_root.mkdir(parents=True, exist_ok=True)
    for path, sop_instance_uid in zip(series.paths, series.sop_instance_uids, strict=True):
        content = path.read_bytes()
        digest = hashlib.sha256(content[read_file_meta(content)[1] :]).hexdigest()
        (store_root / f"{digest}.dcm").write_bytes(content)
        ds = dcmread(path, stop_before_pixels=True)
        instance = ReceivedInstance(
            sop_instance_uid=sop_instance_uid,
            sop_class_uid=str(ds.SOPClassUID),
            transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
            study_instance_uid=series.study_instance_uid,
            series_instance_uid=series.series_instance_uid,
            patient=PatientAttributes(
                str(ds.PatientID), name=str(ds.PatientName), birth_date=str(ds.PatientBirthDate), sex=str(ds.PatientSex)
            ),
            path=f"{digest}.dcm",
            size_bytes=len(content),
            sha256=digest,
            modality="CT",
            study_date=str(ds.StudyDate),
            study_time=str(ds.StudyTime),
            study_description=str(ds.StudyDescription),
            accession_number=str(ds.AccessionNumber),
            series_number=int(ds.SeriesNumber),
            series_description=str(ds.SeriesDescription),
            instance_number=int(ds.InstanceNumber),
        )
        with database.begin() as session:
            record_instance(session, instance)
    with database.read() as session:
        record = series_record(session, series_instance_uid=series.series_instance_uid)
    assert record is not None
    return record.id


def answer_series(database: Database, series_id: str, outcome: AnalysisOutcome, *, force: bool = False) -> str:
    """Ask for an analysis of an indexed series and answer it; gives the analysis' id."""
    with database.begin() as session:
        record = analyses.request_analysis(session, series_id, MODEL, requested_by="system", force=force)
    with database.begin() as session:
        analyses.start_analysis(session, record.id)
        analyses.complete_analysis(session, record.id, outcome)
    return record.id
