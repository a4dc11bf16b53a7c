"""Retrieval of CT from a PACS, series by series, with a check of completeness.

Used by ``lungnode retrieve`` and for earlier studies. A series is whole when at least as many of its instances are
here as the PACS says that it has. What arrives is compared with what was asked for: study, patient, accession number.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydicom.uid import CTImageStorage

from db.database import Database
from db.domain.studies import PatientAttributes
from db.intake.retrievals import count_of_other_studies, database_time, study_identity
from db.studies.instances import series_record
from dicom_node.client.peer import ScuTimeouts
from dicom_node.client.query_client import MoveAnswer, QueryConnection, SeriesMatch
from dicom_node.client.query_keys import QueryError
from dicom_node.encoding.transfer_syntaxes import STORAGE_CLASSES
from dicom_node.query_models import STUDY_ROOT_FIND, STUDY_ROOT_MOVE

_log = logging.getLogger(__name__)

TIMEOUTS = ScuTimeouts(connect_s=15.0, association_s=30.0, response_s=1800.0)
"""A PACS may fetch a study from tape before it says anything."""
FEW_INSTANCES = 12
"""A CT series of fewer instances may hold scout views alone; its SOP classes are queried."""
SETTLE_S = 10.0
"""A PACS may answer before it has sent everything; as long as something came within this time, more is waited for."""
COMPLETE, HERE, INCOMPLETE, LEFT_OUT = "complete", "here already", "incomplete", "left out"
MISMATCH = "mismatch"
"""Outcomes of a series."""
NOT_CT = "not CT"
NOT_STORED = "no CT images, which is all that this node stores"
SCOUT = "too few slices to be analysed, as scout views have"
_POLL_S = 0.25
_STATUS_WORDS = {
    0xA801: "it does not know {station} as a destination: name this node's AE title, address and port there",
    0xA701: "it is out of resources",
    0xA702: "it could not send, or nothing answered at the address that it has for {station}",
    0xA900: "it does not take the identifiers",
    0xFE00: "it cancelled",
}


@dataclass(frozen=True, slots=True)
class FetchedSeries:
    """Outcome of one series; ``reason`` is a sentence where it is incomplete or was not retrieved.

    ``unrequested`` counts instances of other studies that the PACS sent in the meantime.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    series_description: str
    expected: int
    received: int
    outcome: str
    reason: str = ""
    unrequested: int = 0


@dataclass(frozen=True, slots=True)
class ExpectedStudy:
    """A requested study and the patient it should belong to; empty values are not compared."""

    study_instance_uid: str
    accession_number: str = ""
    patient: PatientAttributes = field(default_factory=lambda: PatientAttributes(""))

    def mismatch_with(self, patient: PatientAttributes, accession_number: str) -> str:
        """Describe what the received images contradict; empty where they contradict nothing."""
        if _differ(self.patient.patient_id, patient.patient_id) or _differ(self.patient.issuer, patient.issuer):
            return "the images bear another Patient ID than the study that was asked for"
        if _differ(self.patient.birth_date, patient.birth_date):
            return "the images bear another birth date than the study that was asked for"
        if _differ(self.accession_number, accession_number):
            return "the images bear another accession number than was asked for"
        return ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Series of a study to retrieve: all or CT only, and whether complete ones again."""

    all_modalities: bool = False
    force: bool = False


MISSING_ONLY = Scope()


class SeriesFetcher:
    """Retrieves series over one association.

    Parameters
    ----------
    station
        Our own AE title, where the PACS is to send to.
    settle_s
        See ``SETTLE_S``.
    progress
        Called with the number of instances of a series that the PACS has sent so far, and with their total.

    Raises
    ------
    QueryError
        The PACS does not offer what is needed.
    """

    def __init__(
        self,
        connection: QueryConnection,
        database: Database,
        station: str,
        *,
        settle_s: float = SETTLE_S,
        progress: Callable[[int, int], object] = lambda _sent, _expected: None,
    ) -> None:
        if not (connection.accepts(STUDY_ROOT_FIND) and connection.accepts(STUDY_ROOT_MOVE)):
            raise QueryError("it does not offer Study Root Query/Retrieve to this node")
        self._connection = connection
        self._database = database
        self._station = station
        self._settle_s = settle_s
        self._progress = progress

    def fetch_study(
        self, study: ExpectedStudy, series: Sequence[SeriesMatch], scope: Scope = MISSING_ONLY
    ) -> Iterator[FetchedSeries]:
        """Retrieve series of a study, yielding each as it ends.

        Raises
        ------
        QueryError
            The PACS refused or broke off.
        """
        uid = study.study_instance_uid
        for match in series:
            expected = self._expected(uid, match)
            reason = self._why_not(uid, match, expected, scope)
            if reason:
                yield _fetched(uid, match, (expected, 0), LEFT_OUT, reason)
            elif not scope.force and (count := self._received(uid, match)) >= expected > 0:
                yield self._checked(study, _fetched(uid, match, (expected, count), HERE))
            else:
                yield self._fetch(study, match, expected)

    def _expected(self, study_instance_uid: str, series: SeriesMatch) -> int:
        """Return the number of instances at the PACS, listed one by one where it does not return a count."""
        if series.instance_count is not None:
            return series.instance_count
        return len(self._connection.find_instances(study_instance_uid, series.series_instance_uid))

    def _why_not(self, study_instance_uid: str, series: SeriesMatch, expected: int, scope: Scope) -> str:
        """Return why a series would not be stored or analysed, as far as the PACS states; retrieve in doubt."""
        is_ct = series.modality == "CT"
        if not is_ct and not scope.all_modalities:
            return NOT_CT
        is_small = 0 < expected < FEW_INSTANCES
        if is_ct and not (is_small and not scope.all_modalities):
            return ""
        sop_class_uids = self._connection.find_instances(study_instance_uid, series.series_instance_uid).values()
        classes = set(sop_class_uids)
        if not classes or "" in classes:
            return ""
        if is_ct:
            return SCOUT if classes == {CTImageStorage} else ""
        return "" if classes & STORAGE_CLASSES.keys() else NOT_STORED

    def _fetch(self, study: ExpectedStudy, series: SeriesMatch, expected: int) -> FetchedSeries:
        uid = study.study_instance_uid
        with self._database.read() as session:
            begun_at = database_time(session)
        answer = self._connection.move_series(
            uid,
            series.series_instance_uid,
            self._station,
            lambda sub_operations: self._progress(sub_operations.completed, expected),
        )
        received = self._settled(uid, series, expected) if answer.is_complete else self._received(uid, series)
        if received >= expected > 0 and answer.is_complete:
            outcome, reason = COMPLETE, ""
        else:
            outcome = INCOMPLETE
            reason = f"{received} of {expected} instances arrived{_because(answer, self._station)}"
        fetched = self._checked(study, _fetched(uid, series, (expected, received), outcome, reason))
        return replace(fetched, unrequested=self._unrequested(uid, begun_at))

    def _checked(self, study: ExpectedStudy, fetched: FetchedSeries) -> FetchedSeries:
        """Compare what was received with what was requested."""
        with self._database.read() as session:
            series = series_record(session, series_instance_uid=fetched.series_instance_uid)
            identity = study_identity(session, study.study_instance_uid)
        if series is not None and series.study_instance_uid != study.study_instance_uid:
            mismatch = "its images arrived under another study"
        else:
            mismatch = study.mismatch_with(*identity) if identity else ""
        if not mismatch:
            return fetched
        _log.warning("retrieval:mismatch", extra={"series_id": series.id if series else ""})
        return replace(fetched, outcome=MISMATCH, reason=mismatch)

    def _unrequested(self, study_instance_uid: str, since: datetime) -> int:
        node = self._connection.node
        titles = {node.ae_title, node.sends_as or node.ae_title}
        with self._database.read() as session:
            count = count_of_other_studies(session, study_instance_uid, titles, since)
        if count:
            _log.warning("retrieval:unrequested", extra={"ae_title": node.ae_title, "count": count})
        return count

    def _settled(self, study_instance_uid: str, series: SeriesMatch, expected: int) -> int:
        """Count the received instances, waiting while more arrive."""
        return _wait_for(lambda: self._received(study_instance_uid, series), expected, self._settle_s)

    def _received(self, study_instance_uid: str, series: SeriesMatch) -> int:
        with self._database.read() as session:
            record = series_record(session, series_instance_uid=series.series_instance_uid)
        return record.instance_count if record and record.study_instance_uid == study_instance_uid else 0


def _differ(expected: str, arrived: str) -> bool:
    """Return True if two values contradict each other; an absent one contradicts nothing."""
    return bool(expected.strip() and arrived.strip()) and expected.strip() != arrived.strip()


def _wait_for(count: Callable[[], int], expected: int, settle_s: float) -> int:
    latest, last_growth_s = count(), time.monotonic()
    while latest < expected and time.monotonic() - last_growth_s < settle_s:
        time.sleep(_POLL_S)
        if (now := count()) > latest:
            latest, last_growth_s = now, time.monotonic()
    return latest


def _because(answer: MoveAnswer, station: str) -> str:
    if answer.status in _STATUS_WORDS:
        return f": {_STATUS_WORDS[answer.status].format(station=station)} (0x{answer.status:04X})"
    if answer.status not in (0, 0xB000):
        return f": it failed with status 0x{answer.status:04X}; is {station} known there, with this node's address?"
    return f": it could not send {answer.failed}" if answer.failed else ""


def _fetched(
    study_instance_uid: str, series: SeriesMatch, counts: tuple[int, int], outcome: str, reason: str = ""
) -> FetchedSeries:
    return FetchedSeries(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        modality=series.modality,
        series_description=series.series_description,
        expected=counts[0],
        received=counts[1],
        outcome=outcome,
        reason=reason,
    )
