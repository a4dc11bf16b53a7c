"""Results back to the PACS: an answered analysis becomes DICOM objects in the same study, once, to be delivered."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from db import analyses, audit, deliveries, findings
from db.domain import AnalysisStatus, AuditEvent, DeliveryRecord, FindingOrigin
from db.engine import Database
from dicom_node.errors import DicomNodeError
from dicom_node.results_job import ReportJob, ResultObject, SourceInstance, expected_objects

_log = logging.getLogger(__name__)

RESULTS_FOLDER = "results"
PARAMETERS = "algorithm_parameters"
"""Name of the measure of an analysis that holds parameters of its algorithm for the report."""

_JOBS: TypeAdapter[ReportJob] = TypeAdapter(ReportJob)
_OBJECTS: TypeAdapter[list[ResultObject]] = TypeAdapter(list[ResultObject])


class ResultsError(DicomNodeError):
    """Result objects cannot be made of an analysis."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the result objects cannot be made: {why}")


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """Who reports, and to whom.

    Attributes
    ----------
    station
        Our own AE title.
    software_version
        Version of this software.
    destinations
        AE titles of those that get results. With none, the objects are made all the same.
    parameters
        Parameters of the algorithm that the report states, as far as the analysis itself does not tell them.
    memory_mb, timeout_s
        What the making process may use.
    """

    station: str
    software_version: str
    destinations: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 6144
    timeout_s: float = 300.0


class ResultMaker:
    """Makes the result objects of analyses and asks for their delivery.

    Parameters
    ----------
    database
        The records.
    store_root
        Folder of stored instances; results go into ``results`` below it.
    settings
        Who reports, and to whom.
    """

    def __init__(self, database: Database, store_root: Path, settings: ReportSettings) -> None:
        self._database = database
        self._store_root = store_root
        self._settings = settings

    def make(self, analysis_id: str) -> tuple[DeliveryRecord, ...]:
        """Make what is missing of an analysis' objects and deliveries; may be called again at any time.

        Only the current analysis of a series is reported; for any other nothing is made.

        Raises
        ------
        ResultsError
            The objects cannot be made.
        """
        job = self._job(analysis_id)
        if job is None:
            return ()
        objects = make_in_child(job, memory_mb=self._settings.memory_mb, timeout_s=self._settings.timeout_s)
        requested = self._request(analysis_id, objects)
        _log.info("results:made", extra={"analysis_id": analysis_id, "object_count": len(objects)})
        return requested

    def failed(self, analysis_id: str) -> None:
        """Record that the objects of an analysis could not be made; the analysis stays answered."""
        with self._database.begin() as session:
            audit.append(session, AuditEvent("results:failed", "system", analysis_id, "failure"))
        _log.error("results:failed", extra={"analysis_id": analysis_id})

    def _job(self, analysis_id: str) -> ReportJob | None:
        with self._database.read() as session:
            analysis = analyses.analysis_record(session, analysis_id)
            if analysis is None or analysis.status is not AnalysisStatus.CURRENT:
                return None
            instances = analyses.analysis_instances(session, analysis_id)
            found = findings.findings_of_analysis(session, analysis_id)
        stated = analysis.measures.get(PARAMETERS)
        parameters = dict(self._settings.parameters)
        if isinstance(stated, dict):
            parameters |= {str(name): str(value) for name, value in stated.items()}
        return ReportJob(
            analysis=analysis,
            findings=tuple(record for record in found if record.origin is FindingOrigin.MODEL),
            sources=tuple(
                SourceInstance(instance.sop_instance_uid, instance.sop_class_uid, self._store_root / instance.path)
                for instance in instances
            ),
            folder=self._store_root / RESULTS_FOLDER,
            station=self._settings.station,
            software_version=self._settings.software_version,
            algorithm_parameters=parameters,
        )

    def _request(self, analysis_id: str, objects: Sequence[ResultObject]) -> tuple[DeliveryRecord, ...]:
        destinations = [name for name in self._settings.destinations if name != self._settings.station]
        with self._database.begin() as session:
            return tuple(
                deliveries.request_delivery(
                    session,
                    analysis_id=analysis_id,
                    sop_instance_uid=made.sop_instance_uid,
                    sop_class_uid=made.sop_class_uid,
                    kind=made.kind,
                    destination=destination,
                    path=f"{RESULTS_FOLDER}/{made.path}",
                )
                for destination in destinations
                for made in objects
            )


def make_in_child(job: ReportJob, *, memory_mb: int = 6144, timeout_s: float = 300.0) -> list[ResultObject]:
    """Make what is missing of a job's objects in a process of its own, which sees no secret and has limits.

    Raises
    ------
    ResultsError
        The process failed, hung or ran out of memory.
    """
    named = expected_objects(job)
    if all((job.folder / made.path).exists() for made in named):
        return named
    root = str(Path(__file__).resolve().parent.parent)
    environment = {
        name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "TZ") if name in os.environ
    }
    environment |= {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "dicom_node.results_child", str(memory_mb), str(int(2 * timeout_s) + 1)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command,
            input=_JOBS.dump_json(job),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResultsError("it takes longer than is allowed") from None
    if done.returncode != 0:
        raise ResultsError("a source image cannot be read, or its identity cannot be copied")
    try:
        return _OBJECTS.validate_json(done.stdout)
    except ValidationError:
        raise ResultsError("the making process gave no answer") from None
