"""Result objects of answered analyses in the same study: made once, and queued for delivery."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from db.accounts.provider_accounts import display_names
from db.analyses import analyses, findings
from db.analyses.masks import with_masks
from db.database import Database
from db.domain.analyses import AnalysisRecord, AnalysisStatus
from db.domain.deliveries import DeliveryRecord
from db.domain.errors import DamagedRecordError
from db.domain.exchange import ResultObject, RetractionCode, RetractionRecord
from db.domain.findings import FindingOrigin, FindingRecord
from db.monitoring import faults
from db.results import deliveries
from db.results import failures as result_failures
from db.results import objects as results
from dicom_node.encoding.errors import DicomNodeError
from dicom_node.results.job import (
    CHOSEN_KINDS,
    KINDS,
    CreatedResults,
    Purpose,
    ReportJob,
    SourceInstance,
    expected_objects,
)
from dicom_node.sandbox.child import child_environment
from dicom_node.storage.files import Files
from dicom_node.storage.integrity import Integrity, file_sha256

_log = logging.getLogger(__name__)

PARAMETERS = "algorithm_parameters"
"""Name of the measure of an analysis that holds parameters of its algorithm for the report."""

_JOBS: TypeAdapter[ReportJob] = TypeAdapter(ReportJob)
_RESULTS: TypeAdapter[CreatedResults] = TypeAdapter(CreatedResults)


class ResultsError(DicomNodeError):
    """Result objects of an analysis could not be made.

    Attributes
    ----------
    reason
        What cannot be made, and why; without any value of a dataset.
    objects
        What was made all the same.
    """

    def __init__(self, reason: str, objects: Sequence[ResultObject] = ()) -> None:
        super().__init__(f"result objects cannot be made: {reason}")
        self.reason = reason
        self.objects = list(objects)


@dataclass(frozen=True, slots=True)
class ReportSettings:
    """Author and destinations of reports.

    Attributes
    ----------
    station
        Our own AE title.
    software_version
        Version of this software.
    destinations
        AE titles of those that get results. With none, the objects are made all the same.
    parameters
        Parameters of the algorithm that the report states, as far as the analysis itself does not state them.
    organization
        For whom readers verify; where it is empty, the source's institution.
    kinds
        What is made of an answer, by names of ``results_job.KINDS``.
    memory_mb, timeout_s
        What the making process may use.
    """

    station: str
    software_version: str
    destinations: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    organization: str = ""
    kinds: tuple[str, ...] = CHOSEN_KINDS
    memory_mb: int = 6144
    timeout_s: float = 300.0


class ResultMaker:
    """Makes the result objects of analyses and queues their delivery.

    Parameters
    ----------
    database
        The records.
    files
        Stored instances; results go into the folder ``results`` of the same store.
    settings
        Who reports, and to whom.
    """

    def __init__(self, database: Database, files: Files, settings: ReportSettings) -> None:
        self._database = database
        self._files = files
        self._settings = settings
        self._integrity = Integrity(database, files)

    def make(self, analysis_id: str) -> tuple[DeliveryRecord, ...]:
        """Make missing objects and deliveries of an analysis; idempotent.

        Only what speaks for its series is reported: the current analysis, or the failed one where there is none. Of a
        study that was not analysed one series speaks, once all of them are settled
        (``db.results.objects.speaks_for_study``).

        Raises
        ------
        ResultsError
            The objects cannot be made.
        """
        with self._database.read() as session:
            analysis = analyses.analysis_record(session, analysis_id)
            if analysis is None or not results.speaks_for_study(session, analysis):
                return ()
            records = findings.findings_of_analysis(session, analysis_id)
        return self._make(analysis, [record for record in records if record.origin is FindingOrigin.MODEL])

    def make_verified(self, analysis_id: str) -> tuple[DeliveryRecord, ...]:
        """Make the report verified by readers: findings with a verdict, and those that they marked.

        Raises
        ------
        ResultsError
            The object cannot be made.
        """
        with self._database.read() as session:
            analysis = analyses.analysis_record(session, analysis_id)
            if analysis is None or analysis.status is not AnalysisStatus.CURRENT:
                return ()
            records = [record for record in results.series_findings(session, analysis) if _is_verified(record)]
            reports = [result for result in _stored(session, analysis_id) if result.kind in ("sr", "verified")]
        if not records or not reports:
            return ()
        return self._make(analysis, records, purpose=Purpose.VERIFIED, earlier=(reports[-1],))

    def make_rejection_note(self, analysis_id: str) -> tuple[DeliveryRecord, ...]:
        """Make the object that rejects the objects of an analysis (except the verified report).

        Raises
        ------
        ResultsError
            The object cannot be made.
        """
        with self._database.read() as session:
            analysis = analyses.analysis_record(session, analysis_id)
            retraction = results.retraction(session, analysis_id)
            rejected = [
                result
                for result in _stored(session, analysis_id)
                if result.kind not in (results.VERIFIED, results.RETRACTION)
            ]
        if analysis is None or retraction is None or not rejected:
            return ()
        return self._make(analysis, (), purpose=Purpose.RETRACTION, earlier=tuple(rejected), retraction=retraction)

    def follow_up(self) -> None:
        """Make what is due without an analysis ending: verdicts, rejections, studies not analysed.

        What cannot be made is put on record (``db.results.failures``) and left alone for a while.
        """
        with self._database.read() as session:
            outdated = results.outdated_results(session)
        for analysis_id, reason, by in outdated:
            with self._database.begin() as session:
                results.retract(session, analysis_id, RetractionCode.QUALITY, reason, requested_by=by)
        with self._database.read() as session:
            waiting = result_failures.waiting_failures(session)
            due = [
                *((entry.analysis_id, Purpose(entry.purpose)) for entry in result_failures.due_failures(session)),
                *((analysis_id, Purpose.REPORT) for analysis_id in results.unreported_analyses(session)),
                *((analysis_id, Purpose.VERIFIED) for analysis_id in results.unreported_verdicts(session)),
                *((analysis_id, Purpose.RETRACTION) for analysis_id in results.unreported_retractions(session)),
            ]
            due = [entry for entry in due if entry not in waiting]
        for analysis_id, purpose in dict.fromkeys(due):
            try:
                self._make_for(analysis_id, purpose)
            except ResultsError:
                _log.error("results:failed", extra={"analysis_id": analysis_id})

    def _make_for(self, analysis_id: str, purpose: Purpose) -> None:
        """Make the objects of an analysis for one purpose; ignore failures of obsolete ones."""
        make = {
            Purpose.REPORT: self.make,
            Purpose.VERIFIED: self.make_verified,
            Purpose.RETRACTION: self.make_rejection_note,
        }[purpose]
        if not make(analysis_id):
            with self._database.begin() as session:
                result_failures.clear_failure(session, analysis_id, purpose)

    def _make(
        self, analysis: AnalysisRecord, records: Sequence[FindingRecord], **purpose: Any
    ) -> tuple[DeliveryRecord, ...]:
        records = self._with_masks(analysis.id, records, purpose.get("purpose", Purpose.REPORT))
        with self._database.read() as session:
            instances = analyses.analysis_instances(session, analysis.id)
            reader_names = display_names(session, _readers(records, purpose.get("retraction")))
        paths = self._files.fetch([instance.path for instance in instances])
        job = ReportJob(
            analysis=analysis,
            findings=tuple(records),
            sources=tuple(
                SourceInstance(instance.sop_instance_uid, instance.sop_class_uid, path)
                for instance, path in zip(instances, paths, strict=True)
            ),
            folder=self._files.root,
            station=self._settings.station,
            software_version=self._settings.software_version,
            algorithm_parameters=self._parameters(analysis),
            organization=self._settings.organization,
            kinds=self._settings.kinds,
            reader_names=reader_names,
            **purpose,
        )
        self._fetch_intact(job)
        failure = None
        try:
            objects = make_in_child(job, memory_mb=self._settings.memory_mb, timeout_s=self._settings.timeout_s)
        except ResultsError as error:
            objects, failure = error.objects, error
        self._files.persist([result.path for result in objects], once=True)
        requested = self._request(analysis.id, objects)
        with self._database.begin() as session:
            if failure is not None:
                result_failures.record_failure(session, analysis.id, job.purpose, failure.reason)
            else:
                result_failures.clear_failure(session, analysis.id, job.purpose)
        if failure is not None:
            raise failure
        _log.info("results:made", extra={"analysis_id": analysis.id, "object_count": len(objects)})
        return requested

    def _with_masks(
        self, analysis_id: str, records: Sequence[FindingRecord], purpose: Purpose
    ) -> Sequence[FindingRecord]:
        """Return findings with their masks; where one is damaged, that is put on record, and nothing is made."""
        try:
            with self._database.read() as session:
                return with_masks(session, records)
        except DamagedRecordError as error:
            reason = str(error)
        with self._database.begin() as session:
            result_failures.record_failure(session, analysis_id, purpose, reason)
        raise ResultsError(reason)

    def _fetch_intact(self, job: ReportJob) -> None:
        """Bring what was made before, perhaps elsewhere, here, as those bytes count; delete what is damaged of it."""
        with self._database.read() as session:
            earlier = _stored(session, job.analysis.id)
        objects = [*expected_objects(job), *(result for result in earlier if _purpose_of(result) is job.purpose)]
        paths = dict.fromkeys(result.path for result in objects)
        self._files.fetch(paths)
        for path in self._integrity.damaged(list(paths)):
            self._files.remove(path)

    def _parameters(self, analysis: AnalysisRecord) -> dict[str, str]:
        stated = analysis.measures.get(PARAMETERS)
        parameters = {str(name): str(value) for name, value in stated.items()} if isinstance(stated, dict) else {}
        return dict(self._settings.parameters) | parameters

    def _request(self, analysis_id: str, objects: Sequence[ResultObject]) -> tuple[DeliveryRecord, ...]:
        destinations = [name for name in self._settings.destinations if name != self._settings.station]
        paths = self._files.fetch([result.path for result in objects])
        created = [replace(result, sha256=file_sha256(path)) for result, path in zip(objects, paths, strict=True)]
        with self._database.begin() as session:
            results.record_results(session, analysis_id, created)
            for result in created:
                faults.mend(session, faults.DAMAGED_FILE, result.path)
            return tuple(
                deliveries.request_delivery(
                    session,
                    analysis_id=analysis_id,
                    sop_instance_uid=result.sop_instance_uid,
                    sop_class_uid=result.sop_class_uid,
                    kind=result.kind,
                    destination=destination,
                    path=result.path,
                )
                for destination in destinations
                for result in objects
            )


def _is_verified(record: FindingRecord) -> bool:
    return record.assessment is not None or record.origin is FindingOrigin.READER


def _purpose_of(result: ResultObject) -> Purpose:
    return {results.VERIFIED: Purpose.VERIFIED, results.RETRACTION: Purpose.RETRACTION}.get(result.kind, Purpose.REPORT)


def _stored(session: Session, analysis_id: str) -> list[ResultObject]:
    return [record.object for record in results.results_of_analysis(session, analysis_id)]


def make_in_child(job: ReportJob, *, memory_mb: int = 6144, timeout_s: float = 300.0) -> list[ResultObject]:
    """Make missing objects of a job in a limited child process without access to secrets.

    Raises
    ------
    ResultsError
        The process failed, hung or ran out of memory.
    """
    command = [sys.executable, "-P", "-m", "dicom_node.results.child", str(memory_mb), str(int(2 * timeout_s) + 1)]
    try:
        completed = subprocess.run(  # noqa: S603 - our own interpreter and module
            command,
            input=_JOBS.dump_json(job),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResultsError("it takes longer than is allowed") from None
    if completed.returncode != 0:
        raise ResultsError("the process that makes them failed")
    try:
        result = _RESULTS.validate_json(completed.stdout)
    except ValidationError:
        raise ResultsError("the process that makes them gave no answer") from None
    if result.failures:
        failed = ", ".join(f"{KINDS[kind].name} ({cause})" for kind, cause in result.failures.items())
        raise ResultsError(failed, result.objects)
    return result.objects


def _readers(records: Sequence[FindingRecord], retraction: RetractionRecord | None) -> Iterator[str]:
    """Yield all users whom an object may name."""
    for record in records:
        yield record.created_by
        if record.assessment is not None:
            yield record.assessment.reader
    if retraction is not None:
        yield retraction.requested_by
