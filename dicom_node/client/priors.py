"""Retrieval of a patient's earlier chest CT from a PACS before a study is read, where configured.

What a PACS says it has is compared with what arrived; a difference is tried again, then told. Earlier studies are
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
from dicom_node.encoding.header import is_uid

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
        """Whether the PACS may be queried at this time of day."""
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
            wanted = priors.due_priors(session, pacs, now=self._clock())
        if not searches and not wanted:
            return
        try:
            with QueryConnection(source.node, self._station, QUERY_CONTEXTS, self._timeouts) as connection:
                fetcher = SeriesFetcher(connection, self._database, self._station, settle_s=self._settle_s)
                self._work_through(connection, fetcher, source, searches)
        except (NodeUnreachableError, QueryError) as error:
            self._postpone(searches, wanted, str(error))

    def _work_through(
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
            wanted = priors.due_priors(session, source.node.ae_title, now=self._clock())
        for prior in wanted:
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
                found = connection.find_studies_of(search.patient_id, search.study_date)
            except InexactKeyError as error:  # asking again would not help
                with self._database.begin() as session:
                    priors.record_search(session, search.study_id, search.pacs, PriorStatus.FAILED, str(error))
                return
            for study in earlier_studies(search, found):
                series = chest_series(study, connection.find_series(study.study_instance_uid))
                if series:
                    chosen.append((study.study_instance_uid, sum(one.instance_count or 0 for one in series)))
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
        asked = [one for one in fetched if one.outcome != LEFT_OUT]
        mismatches = [one for one in asked if one.outcome == MISMATCH]
        missing = [one for one in asked if one.outcome == INCOMPLETE]
        counts = sum(one.expected for one in asked), sum(one.received for one in asked)
        unrequested = sum(one.unrequested for one in asked)
        note = f"the PACS sent {unrequested} instances of other studies in the meantime" if unrequested else ""
        with self._database.begin() as session:
            if mismatches:  # and asking again would not help
                reason = _joined(mismatches[0].reason, note)
                priors.record_prior(session, prior.id, PriorStatus.FAILED, counts=counts, reason=reason)
            elif asked and not missing:
                priors.record_prior(session, prior.id, PriorStatus.DONE, counts=counts, reason=note)
            else:
                self._record_shortfall(session, prior, counts, _joined(_why(missing), note))
        _log.info("prior:received", extra={"study_id": prior.study_id, "instance_count": counts[1], "count": counts[0]})

    def _record_shortfall(self, session: Session, prior: PriorStudy, counts: tuple[int, int], reason: str) -> None:
        retry_at = self._retry_at(prior.attempts)
        given_up = PriorStatus.INCOMPLETE if counts[1] else PriorStatus.FAILED
        status = PriorStatus.PENDING if retry_at else given_up
        priors.record_prior(session, prior.id, status, counts=counts, reason=reason, retry_at=retry_at)

    def _postpone(self, searches: Sequence[PriorSearch], wanted: Sequence[PriorStudy], reason: str) -> None:
        with self._database.begin() as session:
            for search in searches:
                retry_at = self._retry_at(search.attempts)
                status = PriorStatus.PENDING if retry_at else PriorStatus.FAILED
                priors.record_search(session, search.study_id, search.pacs, status, reason, retry_at)
            for prior in wanted:
                counts = (prior.expected_count, prior.received_count)
                self._record_shortfall(session, prior, counts, reason)
        _log.warning("priors:postponed", extra={"count": len(searches) + len(wanted)})

    def _retry_at(self, attempts: int) -> datetime | None:
        if attempts + 1 >= MAX_ATTEMPTS:
            return None
        return self._clock() + timedelta(seconds=PAUSES_S[min(attempts, len(PAUSES_S) - 1)])


def _why(missing: Sequence[FetchedSeries]) -> str:
    """Describe in words what is missing of a study."""
    if not missing:
        return "it has no CT series that may be analysed"
    more = f"; {len(missing) - 1} more series incomplete" if len(missing) > 1 else ""
    return missing[0].reason + more


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def earlier_studies(search: PriorSearch, found: Sequence[StudyMatch]) -> list[StudyMatch]:
    """Return a patient's earlier CT studies, latest first.

    Another issuer or birth date under the same Patient ID is another patient, and never fetched. What either side
    does not give contradicts nothing.
    """
    fitting = [
        study
        for study in found
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
    ct = [one for one in series if one.modality == "CT" and is_uid(one.series_instance_uid)]
    words = [study.study_description, *(text for one in ct for text in (one.series_description, one.body_part))]
    said = " ".join(word for word in words if word).strip()
    return ct if not said or CHEST.search(said) else []
