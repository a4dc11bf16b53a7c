"""Stored studies for the web: slices, rendered frames and volumes, all decoded in a child process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from db.analyses.overruling import overruled_of_series
from db.database import Database
from db.domain.studies import SeriesRecord
from db.studies.instances import series_instances, series_record
from dicom_node.encoding.errors import UnfitImagesError
from dicom_node.sandbox.decode_process import DecodeError, DecodeLimits, DecodeProcess
from dicom_node.series.assembly import listed_slices, load_series, series_geometry
from dicom_node.series.types import LoadedSeries, SeriesGeometry, SourceSlice, StoredInstance
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.integrity import Integrity
from inference.gate import GateThresholds
from lungnode.adapters.archive_files import check_undamaged, refusing
from webapp.http.errors import UnfitInputError
from webapp.ports import SliceReference

Value = TypeVar("Value")

CACHED_GEOMETRIES = 64
CACHED_VOLUMES = 2
"""Number of cached volumes of 70 to 300 MB each."""
FRAME_TIMEOUT_S = 15.0
"""Time limit per frame (usually 5 to 50 ms)."""


class _Cache(Generic[Value]):
    """LRU cache by series id and number of instances, so that late slices make a new entry."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[tuple[str, int], Value] = OrderedDict()

    def get(self, series: SeriesRecord, make: Callable[[], Value]) -> Value:
        key = (series.id, series.instance_count)
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


class StoredSeries:
    """Slices and volumes of stored series; implements ``webapp.ports.StudyImages``.

    Parameters
    ----------
    database, store
        Database and instance store.
    limits
        Limits of decoding.
    """

    def __init__(self, database: Database, store: InstanceStore, limits: DecodeLimits) -> None:
        self._database = database
        self._store = store
        self._limits = limits
        self._integrity = Integrity(database, store.files)
        self._process = DecodeProcess(replace(limits, timeout_s=FRAME_TIMEOUT_S))
        self._slices: _Cache[tuple[SliceReference, ...]] = _Cache(CACHED_GEOMETRIES)
        self._volumes: _Cache[LoadedSeries] = _Cache(CACHED_VOLUMES)

    def close(self) -> None:
        """End the decoding child."""
        self._process.close()

    def slices(self, study_instance_uid: str, series_instance_uid: str) -> tuple[SliceReference, ...]:
        """See ``StudyImages``."""
        series = self._series(study_instance_uid, series_instance_uid)
        if series is None:
            return ()
        return self._slices.get(series, lambda: self._list(series))

    def volume(self, study_uid: str, series_uid: str, thresholds: GateThresholds) -> LoadedSeries:
        """Load a series for inference.

        Raises
        ------
        UnfitInputError
            404 where the study has no such series, 422 where it cannot be analysed, 500 where a file of it is damaged.
        """
        series = self._series(study_uid, series_uid)
        if series is None:
            raise UnfitInputError(404, "no_such_series", "Series not found in this study.")
        return self._volumes.get(series, lambda: self._load(series, thresholds))

    def _load(self, series: SeriesRecord, thresholds: GateThresholds) -> LoadedSeries:
        with self._database.read() as session:
            paths = [record.path for record in series_instances(session, series.id)]
            overruled = overruled_of_series(session, series.id)
        with refusing():
            check_undamaged(self._integrity, paths)
            return load_series(self._instances(series), self._limits, thresholds, overruled=overruled)

    def _series(self, study_uid: str, series_uid: str) -> SeriesRecord | None:
        with self._database.read() as session:
            series = series_record(session, series_instance_uid=series_uid)
        return series if series is not None and series.study_instance_uid == study_uid else None

    def _instances(self, series: SeriesRecord) -> list[StoredInstance]:
        with self._database.read() as session:
            records = series_instances(session, series.id)
        with refusing():
            paths = self._store.files.fetch([record.path for record in records])
        return [StoredInstance(record.sop_instance_uid, path) for record, path in zip(records, paths, strict=True)]

    def _list(self, series: SeriesRecord) -> tuple[SliceReference, ...]:
        instances = self._instances(series)
        try:
            try:
                geometry = series_geometry(instances, self._process)
            except UnfitImagesError:
                return tuple(_reference(source, None) for source in listed_slices(instances, self._process))
            return tuple(_reference(source, geometry) for source in geometry.slices)
        except DecodeError:
            return ()


def _reference(source: SourceSlice, geometry: SeriesGeometry | None) -> SliceReference:
    return SliceReference(
        sop_instance_uid=source.sop_instance_uid,
        frame_number=source.frame_number,
        instance_number=source.instance_number,
        position_mm=source.position_mm if geometry else None,
        rows=source.rows,
        columns=source.columns,
        row_spacing_mm=geometry.spacing_mm[1] if geometry else None,
        column_spacing_mm=geometry.spacing_mm[2] if geometry else None,
        orientation=geometry.orientation if geometry else None,
    )
