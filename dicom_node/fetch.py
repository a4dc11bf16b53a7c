"""Fetching CT from a PACS, series by series: what is asked for, and whether all of it came.

Used by ``lungnode retrieve`` and for earlier studies. A series is whole when at least as many of its instances are
here as the PACS says that it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from db.engine import Database
from db.studies import series_record
from dicom_node.gate import GateThresholds
from dicom_node.query_scp import STUDY_ROOT_FIND
from dicom_node.query_scu import FoundSeries, MoveAnswer, QueryConnection, QueryError
from dicom_node.retrieve_scp import STUDY_ROOT_MOVE
from dicom_node.scu import ScuTimeouts
from dicom_node.transfer import STORAGE_CLASSES

SINGLE_FRAME_CT = "1.2.840.10008.5.1.4.1.1.2"
TIMEOUTS = ScuTimeouts(connect_s=15.0, association_s=30.0, response_s=1800.0)
"""A PACS may fetch a study from tape before it says anything."""
SETTLE_S = 10.0
"""A PACS may answer before it has sent everything; as long as something came within this time, more is waited for."""
COMPLETE, HERE, INCOMPLETE, LEFT_OUT = "complete", "here already", "incomplete", "left out"
"""What becomes of a series."""
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
    """What became of one series. ``reason`` says in words why not all is here, or why it was left where it is."""

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    series_description: str
    expected: int
    received: int
    outcome: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which series of a study are fetched: all, or those that may be analysed; also those that are here already."""

    with_everything: bool = False
    again: bool = False


WHAT_IS_MISSING = Scope()


class SeriesFetcher:
    """Fetches series over one association.

    Parameters
    ----------
    station
        Our own AE title, where the PACS is to send to.
    settle_s
        See ``SETTLE_S``.
    progress
        Told how many instances of a series the PACS has sent so far, of how many.

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
        self, study_instance_uid: str, series: Sequence[FoundSeries], scope: Scope = WHAT_IS_MISSING
    ) -> Iterator[FetchedSeries]:
        """Fetch series of a study; tells of each as it is done.

        Raises
        ------
        QueryError
            The PACS refused or broke off.
        """
        for one in series:
            expected = self._expected(study_instance_uid, one)
            reason = self._why_not(study_instance_uid, one, expected, scope)
            if reason:
                yield _told(study_instance_uid, one, (expected, 0), LEFT_OUT, reason)
            elif not scope.again and (here := self._received(one)) >= expected > 0:
                yield _told(study_instance_uid, one, (expected, here), HERE)
            else:
                yield self._fetch(study_instance_uid, one, expected)

    def _expected(self, study_instance_uid: str, series: FoundSeries) -> int:
        """How many instances the PACS has, counted one by one where it does not tell."""
        if series.instance_count is not None:
            return series.instance_count
        return len(self._connection.find_instances(study_instance_uid, series.series_instance_uid))

    def _why_not(self, study_instance_uid: str, series: FoundSeries, expected: int, scope: Scope) -> str:
        """Why a series would not be stored or analysed, as far as a PACS tells; in doubt it is fetched."""
        is_ct = series.modality == "CT"
        if not is_ct and not scope.with_everything:
            return NOT_CT
        is_small = 0 < expected < GateThresholds().min_slices
        if is_ct and not (is_small and not scope.with_everything):
            return ""
        found = self._connection.find_instances(study_instance_uid, series.series_instance_uid).values()
        classes = set(found)
        if not classes or "" in classes:
            return ""
        if is_ct:
            return SCOUT if classes == {SINGLE_FRAME_CT} else ""
        return "" if classes & STORAGE_CLASSES.keys() else NOT_STORED

    def _fetch(self, study_instance_uid: str, series: FoundSeries, expected: int) -> FetchedSeries:
        answer = self._connection.move_series(
            study_instance_uid,
            series.series_instance_uid,
            self._station,
            lambda so_far: self._progress(so_far.completed, expected),
        )
        received = self._settled(series, expected) if answer.is_complete else self._received(series)
        if received >= expected > 0 and answer.is_complete:
            return _told(study_instance_uid, series, (expected, received), COMPLETE)
        reason = f"{received} of {expected} instances arrived{_because(answer, self._station)}"
        return _told(study_instance_uid, series, (expected, received), INCOMPLETE, reason)

    def _settled(self, series: FoundSeries, expected: int) -> int:
        """Count what is here, waiting while more comes."""
        return _wait_for(lambda: self._received(series), expected, self._settle_s)

    def _received(self, series: FoundSeries) -> int:
        with self._database.read() as session:
            record = series_record(session, series_instance_uid=series.series_instance_uid)
        return record.instance_count if record else 0


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


def _told(
    study_instance_uid: str, series: FoundSeries, counts: tuple[int, int], outcome: str, reason: str = ""
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
