"""Retrieval of a patient's earlier chest CT from a PACS before a study is read, where configured.

What a PACS says it has is compared with what arrived; a difference is retried, then reported. Earlier studies are
stored and shown, and analysed only when someone asks.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from db.database import Database
from db.domain.exchange import PriorSearch, PriorStatus, PriorStudy
from db.domain.uids import is_uid
from db.intake import priors
from dicom_node.client.peer import NodeUnreachableError, RemoteNode, ScuTimeouts
from dicom_node.client.query_client import QUERY_CONTEXTS, QueryConnection, SeriesMatch, StudyMatch
from dicom_node.client.query_keys import InexactKeyError, QueryError, plain_date
from dicom_node.client.retrieve_client import (
    INCOMPLETE,
    LEFT_OUT,
    MISMATCH,
    SETTLE_S,
    TIMEOUTS,
    ExpectedStudy,
    FetchedSeries,
    SeriesFetcher,
)

_log = logging.getLogger(__name__)

CHEST = re.compile(r"chest|thora|torax|lung|pulm|poumon|brust", re.IGNORECASE)
MAX_ATTEMPTS = 4
PAUSES_S = (60.0, 600.0, 3600.0)


@dataclass(frozen=True, slots=True)
class PriorSource:
    """A PACS that earlier studies are retrieved from.

    Attributes
    ----------
    count
        How many of the latest are fetched for each study.
    hours
        First and last hour of the day (local time, the last not included) in which this is done; None: at any time.
    """

    node: RemoteNode
    count: int
    hours: tuple[int, int] | None = None

    def is_open(self, moment: datetime) -> bool:
        """Return True if the PACS may be queried at this time of day."""
        if self.hours is None:
            return True
        first, last = self.hours
        hour = moment.astimezone().hour
        return first <= hour < last if first < last else hour >= first or hour < last


class PriorFetcher:
    """Finds and retrieves earlier studies that are due.

    Parameters
    ----------
    station
        Our own AE title, where a PACS is to send to.
    """

    def __init__(
        self,
        database: Database,
        station: str,
        sources: Sequence[PriorSource],
        *,
        timeouts: ScuTimeouts = TIMEOUTS,
        settle_s: float = SETTLE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._station = station
        self._sources = tuple(sources)
        self._timeouts = timeouts
        self._settle_s = settle_s
        self._clock = clock

    def run_due(self) -> None:
        """Run all due searches and retrievals of every PACS that may be queried now."""
        for source in self._sources:
            if source.is_open(self._clock()):
                self._ask(source)

    def _ask(self, source: PriorSource) -> None:
        pacs = source.node.ae_title
        with self._database.read() as session:
            is_new = priors.needs_searches(session, pacs)
        if is_new:
            with self._database.begin() as session:
                priors.begin_searches(session, pacs)
        with self._database.read() as session:
            searches = priors.due_searches(session, pacs, now=self._clock())
            due_studies = priors.due_priors(session, pacs, now=self._clock())
        if not searches and not due_studies:
            return
        try:
            with QueryConnection(source.node, self._station, QUERY_CONTEXTS, self._timeouts) as connection:
                fetcher = SeriesFetcher(connection, self._database, self._station, settle_s=self._settle_s)
                self._run_queue(connection, fetcher, source, searches)
        except (NodeUnreachableError, QueryError) as error:
            self._postpone(searches, due_studies, str(error))

    def _run_queue(
        self,
        connection: QueryConnection,
        fetcher: SeriesFetcher,
        source: PriorSource,
        searches: Sequence[PriorSearch],
    ) -> None:
        """Run searches and retrievals one by one until the PACS closes for the day or breaks off.

        That one is put off, and what is behind it is due at once: a study that a PACS cannot answer for holds up none.
        """
        for search in searches:
            try:
                self._search(connection, source, search)
            except QueryError as error:
                self._postpone([search], [], str(error))
                return
        with self._database.read() as session:
            due_studies = priors.due_priors(session, source.node.ae_title, now=self._clock())
        for prior in due_studies:
            if not source.is_open(self._clock()):
                return
            try:
                self._fetch(fetcher, connection, prior)
            except QueryError as error:
                self._postpone([], [prior], str(error))
                return

    def _search(self, connection: QueryConnection, source: PriorSource, search: PriorSearch) -> None:
        chosen: list[tuple[str, int]] = []
        if search.patient_id and search.study_date:
            try:
                studies = connection.find_studies_of(search.patient_id, search.study_date)
            except InexactKeyError as error:  # asking again would not help
                with self._database.begin() as session:
                    priors.record_search(session, search.study_id, search.pacs, PriorStatus.FAILED, str(error))
                return
            for study in earlier_studies(search, studies):
                series = chest_series(study, connection.find_series(study.study_instance_uid))
                if series:
                    chosen.append((study.study_instance_uid, sum(match.instance_count or 0 for match in series)))
                if len(chosen) == source.count:
                    break
        with self._database.begin() as session:
            for uid, count in chosen:
                priors.request_prior(session, search.study_id, search.pacs, uid, count)
            priors.record_search(session, search.study_id, search.pacs, PriorStatus.DONE)
        _log.info("priors:searched", extra={"study_id": search.study_id, "count": len(chosen)})

    def _fetch(self, fetcher: SeriesFetcher, connection: QueryConnection, prior: PriorStudy) -> None:
        """Retrieve every CT series of a study, and compare what arrived with what the PACS lists."""
        uid = prior.study_instance_uid
        with self._database.read() as session:
            expected = ExpectedStudy(uid, patient=priors.patient_of(session, prior.study_id))
        fetched = fetcher.fetch_study(expected, connection.find_series(uid))
        requested = [series for series in fetched if series.outcome != LEFT_OUT]
        mismatches = [series for series in requested if series.outcome == MISMATCH]
        missing = [series for series in requested if series.outcome == INCOMPLETE]
        counts = (
            sum(series.expected for series in requested),
            sum(series.received for series in requested),
        )
        unrequested = sum(series.unrequested for series in requested)
        note = f"the PACS sent {unrequested} instances of other studies in the meantime" if unrequested else ""
        with self._database.begin() as session:
            if mismatches:  # and asking again would not help
                reason = _joined(mismatches[0].reason, note)
                priors.record_prior(session, prior.id, PriorStatus.FAILED, counts=counts, reason=reason)
            elif requested and not missing:
                priors.record_prior(session, prior.id, PriorStatus.DONE, counts=counts, reason=note)
            else:
                self._record_shortfall(session, prior, counts, _joined(_missing_text(missing), note))
        _log.info("prior:received", extra={"study_id": prior.study_id, "instance_count": counts[1], "count": counts[0]})

    def _record_shortfall(self, session: Session, prior: PriorStudy, counts: tuple[int, int], reason: str) -> None:
        retry_at = self._retry_at(prior.attempts)
        final_status = PriorStatus.INCOMPLETE if counts[1] else PriorStatus.FAILED
        status = PriorStatus.PENDING if retry_at else final_status
        priors.record_prior(session, prior.id, status, counts=counts, reason=reason, retry_at=retry_at)

    def _postpone(self, searches: Sequence[PriorSearch], due_studies: Sequence[PriorStudy], reason: str) -> None:
        with self._database.begin() as session:
            for search in searches:
                retry_at = self._retry_at(search.attempts)
                status = PriorStatus.PENDING if retry_at else PriorStatus.FAILED
                priors.record_search(session, search.study_id, search.pacs, status, reason, retry_at)
            for prior in due_studies:
                counts = (prior.expected_count, prior.received_count)
                self._record_shortfall(session, prior, counts, reason)
        _log.warning("priors:postponed", extra={"count": len(searches) + len(due_studies)})

    def _retry_at(self, attempts: int) -> datetime | None:
        if attempts + 1 >= MAX_ATTEMPTS:
            return None
        return self._clock() + timedelta(seconds=PAUSES_S[min(attempts, len(PAUSES_S) - 1)])


def _missing_text(missing: Sequence[FetchedSeries]) -> str:
    """Describe in words what is missing of a study."""
    if not missing:
        return "it has no CT series that may be analysed"
    remainder = f"; {len(missing) - 1} more series incomplete" if len(missing) > 1 else ""
    return missing[0].reason + remainder


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def earlier_studies(search: PriorSearch, studies: Sequence[StudyMatch]) -> list[StudyMatch]:
    """Return a patient's earlier CT studies, latest first.

    Another issuer or birth date under the same Patient ID is another patient, and never fetched. What either side
    does not give contradicts nothing.
    """
    fitting = [
        study
        for study in studies
        if study.patient_id == search.patient_id
        and not (search.issuer and study.issuer_of_patient_id and study.issuer_of_patient_id != search.issuer)
        and not (search.birth_date and study.birth_date and plain_date(study.birth_date) != search.birth_date)
        and "" < plain_date(study.study_date) < search.study_date
        and study.study_instance_uid != search.study_instance_uid
        and is_uid(study.study_instance_uid)
        and ("CT" in study.modalities or study.modalities == ("",))
    ]
    return sorted(fitting, key=lambda study: plain_date(study.study_date), reverse=True)


def chest_series(study: StudyMatch, series: Sequence[SeriesMatch]) -> list[SeriesMatch]:
    """Return the CT series of a chest study; none where descriptions name another body part."""
    ct = [match for match in series if match.modality == "CT" and is_uid(match.series_instance_uid)]
    words = [
        study.study_description,
        *(text for match in ct for text in (match.series_description, match.body_part)),
    ]
    descriptions = " ".join(word for word in words if word).strip()
    return ct if not descriptions or CHEST.search(descriptions) else []
