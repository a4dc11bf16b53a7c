"""Delivery of due result objects, over one association for each destination, with retries."""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydicom import dcmread
from pydicom.dataset import Dataset

from db.database import Database
from db.domain.deliveries import DeliveryRecord, DeliveryStatus
from db.results import deliveries
from dicom_node.client.peer import (
    UNCOMPRESSED,
    NodeConnection,
    NodeUnreachableError,
    RemoteNode,
    ScuTimeouts,
    StoreAnswer,
    StoreOutcome,
    store_contexts,
)
from dicom_node.client.query_client import QueryConnection
from dicom_node.client.query_keys import QueryError
from dicom_node.client.stow import WebNode
from dicom_node.encoding.commitment_messages import COMMITMENT_CLASS, CommitmentReport, record_report
from dicom_node.encoding.transfer_syntaxes import RESULT_CLASSES
from dicom_node.encoding.uids import derived_uid
from dicom_node.query_models import STUDY_ROOT_FIND
from dicom_node.storage.files import Files
from dicom_node.storage.integrity import Integrity

_log = logging.getLogger(__name__)

CONFIRM_S = (60.0, 300.0, 1800.0, 7200.0, 21600.0)
"""So long after it was sent, an object that no commitment report came for is looked for at the node."""
DAMAGED = "the stored object is damaged; it is created again"
PARALLEL = 8
"""Destinations served at once: one that hangs holds up no other."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retries of a failed delivery: pauses double from ``first_s`` to ``longest_s``, ``max_attempts`` in all.

    The defaults end after about a day.
    """

    first_s: float = 15.0
    longest_s: float = 3600.0
    max_attempts: int = 30

    def pause_s(self, attempts: int) -> float:
        """Return the pause after this many failed attempts (1 or more), seconds."""
        return float(min(self.first_s * 2.0 ** min(attempts - 1, 30), self.longest_s))


@dataclass(frozen=True, slots=True)
class DeliveryConfig:
    """Destinations, our AE title, and the retry policy.

    Attributes
    ----------
    station
        Our own AE title; nothing is ever sent to it.
    own_address
        Host and port of our own listener; nothing is ever sent there either.
    commitment_wait_s
        How long an association stays open for the node's commitment report. It may also come later, to our listener.
    """

    station: str
    destinations: tuple[RemoteNode, ...] = ()
    own_address: tuple[str, int] | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: ScuTimeouts = field(default_factory=ScuTimeouts)
    commitment_wait_s: float = 10.0

    def is_ourselves(self, node: RemoteNode) -> bool:
        """Return True if a node is this node itself."""
        if node.url:
            return False
        if node.ae_title == self.station:
            return True
        if self.own_address is None or node.port != self.own_address[1]:
            return False
        same = {self.own_address[0], "localhost", "127.0.0.1", "::1"}
        return node.host in same


@dataclass(slots=True)
class DeliveryRound:
    """Counts of deliveries of a round by outcome."""

    sent: int = 0
    committed: int = 0
    retried: int = 0
    failed: int = 0
    declined: int = 0

    def __add__(self, other: DeliveryRound) -> DeliveryRound:
        """Add the counts of another part of the round."""
        return DeliveryRound(
            self.sent + other.sent,
            self.committed + other.committed,
            self.retried + other.retried,
            self.failed + other.failed,
            self.declined + other.declined,
        )


def deliver_due(
    database: Database,
    files: Files,
    config: DeliveryConfig,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> DeliveryRound:
    """Send everything that is due; may be killed at any point, as repeated sending is idempotent.

    Parameters
    ----------
    files
        Store of the result files.
    """
    now = clock()
    with database.read() as session:
        due = deliveries.pending_deliveries(session, now=now)
        unconfirmed = deliveries.unconfirmed_deliveries(session, now=now)
    work: dict[str, tuple[list[DeliveryRecord], list[DeliveryRecord]]] = defaultdict(lambda: ([], []))
    for delivery in due:
        work[delivery.destination][0].append(delivery)
    for delivery in unconfirmed:
        work[delivery.destination][1].append(delivery)
    if not work:
        return DeliveryRound()
    with ThreadPoolExecutor(min(PARALLEL, len(work)), thread_name_prefix="deliver") as pool:
        rounds = pool.map(
            lambda name: _Courier(database, files, config, clock).deliver(name, *work[name]),
            work,
        )
        return sum(rounds, DeliveryRound())


class _Courier:
    """Deliveries to one destination."""

    def __init__(self, database: Database, files: Files, config: DeliveryConfig, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._files = files
        self._integrity = Integrity(database, files)
        self._config = config
        self._clock = clock
        self._round = DeliveryRound()

    def deliver(self, name: str, due: Sequence[DeliveryRecord], unconfirmed: Sequence[DeliveryRecord]) -> DeliveryRound:
        node = next((node for node in self._config.destinations if node.ae_title == name), None)
        if node is None:
            self._fail(due, "this destination is no longer configured")
            self._confirmed(unconfirmed, {}, "this destination is no longer configured")
            return self._round
        if self._config.is_ourselves(node):
            self._fail(due, "this destination is this node itself")
            return self._round
        if due:
            (self._post if node.url else self._send)(node, due)
        if unconfirmed:
            self._confirm(node, unconfirmed)
        return self._round

    def _send(self, node: RemoteNode, due: Sequence[DeliveryRecord]) -> None:
        """Send in the contexts that the node accepts, of all formats of our results."""
        contexts = store_contexts([*RESULT_CLASSES, *(delivery.sop_class_uid for delivery in due)])
        if node.storage_commitment:
            contexts.append((COMMITMENT_CLASS, UNCOMPRESSED))
        try:
            with NodeConnection(node, self._config.station, contexts, self._config.timeouts) as connection:
                takes_some = any(connection.accepts(uid) for uid in RESULT_CLASSES)
                sent = []
                for delivery in self._intact(due):
                    answer = connection.store(self._files.fetch([delivery.path])[0])
                    self._record(node, delivery, answer, takes_some=takes_some)
                    if answer.outcome is StoreOutcome.STORED:
                        sent.append(delivery)
                if node.storage_commitment and sent:
                    self._commit(connection, node, sent)
        except NodeUnreachableError as error:
            for delivery in due:
                self._retry(delivery, error.reason)

    def _intact(self, due: Sequence[DeliveryRecord]) -> Iterator[DeliveryRecord]:
        """Yield deliveries whose file is intact; others are tried again once it was made again."""
        for delivery in due:
            if self._integrity.damaged([delivery.path]):
                self._retry(delivery, DAMAGED)
            else:
                yield delivery

    def _post(self, node: RemoteNode, due: Sequence[DeliveryRecord]) -> None:
        """Send by STOW-RS, and verify by QIDO-RS at once."""
        web = WebNode(node, self._config.timeouts)
        sent = []
        for delivery in self._intact(due):
            try:
                answer = web.store(self._files.fetch([delivery.path])[0])
            except NodeUnreachableError as error:
                answer = StoreAnswer(StoreOutcome.TRY_LATER, error.reason)
            self._record(node, delivery, answer, takes_some=True)
            if answer.outcome is StoreOutcome.STORED:
                sent.append(delivery)
        if node.storage_commitment and sent:
            self._confirm(node, sent)

    def _record(self, node: RemoteNode, delivery: DeliveryRecord, answer: StoreAnswer, *, takes_some: bool) -> None:
        if answer.outcome is StoreOutcome.TRY_LATER:
            self._retry(delivery, answer.reason)
        elif answer.outcome is StoreOutcome.NOT_TAKEN and takes_some:
            with self._database.begin() as session:
                deliveries.record_delivery(session, delivery.id, DeliveryStatus.DECLINED, answer.reason)
            self._round.declined += 1
            _log.info("delivery:declined", extra={"delivery_id": delivery.id, "kind": delivery.kind})
        elif answer.outcome is not StoreOutcome.STORED:
            self._fail([delivery], answer.reason)
        else:
            check_at = self._clock() + timedelta(seconds=CONFIRM_S[0]) if node.storage_commitment else None
            with self._database.begin() as session:
                deliveries.record_delivery(session, delivery.id, DeliveryStatus.SENT, answer.reason, check_at)
            self._round.sent += 1
            _log.info("delivery:sent", extra={"delivery_id": delivery.id, "kind": delivery.kind})

    def _confirm(self, node: RemoteNode, unconfirmed: Sequence[DeliveryRecord]) -> None:
        """Verify by query that a node lists what it was sent, where no commitment report came."""
        is_listed: dict[str, bool] = {}
        reason = f"{deliveries.UNCOMMITTED}, and the node does not list it"
        try:
            if node.url:
                web = WebNode(node, self._config.timeouts)
                is_listed = {delivery.id: self._is_listed_on(web, delivery) for delivery in unconfirmed}
            else:
                contexts = [(STUDY_ROOT_FIND, UNCOMPRESSED)]
                with QueryConnection(node, self._config.station, contexts, self._config.timeouts) as connection:
                    if connection.accepts(STUDY_ROOT_FIND):
                        is_listed = {delivery.id: self._is_listed_by(connection, delivery) for delivery in unconfirmed}
                    else:
                        reason = f"{deliveries.UNCOMMITTED}, and the node answers no queries"
        except (NodeUnreachableError, QueryError):
            reason = f"{deliveries.UNCOMMITTED}, and the node could not be asked"
        self._confirmed(unconfirmed, is_listed, reason)

    def _is_listed_by(self, connection: QueryConnection, delivery: DeliveryRecord) -> bool:
        ds = self._identity(delivery)
        return ds is not None and connection.has_instance(
            str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), delivery.sop_instance_uid
        )

    def _is_listed_on(self, web: WebNode, delivery: DeliveryRecord) -> bool:
        ds = self._identity(delivery)
        return ds is not None and web.has_instance(str(ds.StudyInstanceUID), delivery.sop_instance_uid)

    def _identity(self, delivery: DeliveryRecord) -> Dataset | None:
        """Return study and series of a result object; None where its file no longer exists."""
        tags = ["StudyInstanceUID", "SeriesInstanceUID"]
        try:
            return dcmread(self._files.fetch([delivery.path])[0], stop_before_pixels=True, specific_tags=tags)
        except OSError:
            return None

    def _confirmed(self, unconfirmed: Sequence[DeliveryRecord], is_listed: Mapping[str, bool], reason: str) -> None:
        now = self._clock()
        with self._database.begin() as session:
            for delivery in unconfirmed:
                if is_listed.get(delivery.id):
                    deliveries.record_delivery(session, delivery.id, DeliveryStatus.COMMITTED, "the node lists it")
                    self._round.committed += 1
                else:
                    age_s = (now - delivery.updated_at).total_seconds()
                    pause_s = next((pause_s for pause_s in CONFIRM_S if pause_s > age_s), None)
                    at = delivery.updated_at + timedelta(seconds=pause_s) if pause_s is not None else None
                    if age_s < 0:  # sent while the clock ran ahead
                        at = now + timedelta(seconds=CONFIRM_S[-1])
                    deliveries.schedule_check(session, delivery.id, at, reason)

    def _retry(self, delivery: DeliveryRecord, reason: str) -> None:
        """Schedule the next attempt, or mark the delivery as failed after the last one."""
        policy = self._config.retry
        if delivery.attempts + 1 >= policy.max_attempts:
            self._fail([delivery], f"failed after {delivery.attempts + 1} attempts: {reason}")
            return
        retry_at = self._clock() + timedelta(seconds=policy.pause_s(delivery.attempts + 1))
        with self._database.begin() as session:
            deliveries.record_delivery(session, delivery.id, DeliveryStatus.PENDING, reason, retry_at)
        self._round.retried += 1
        _log.warning("delivery:retry", extra={"delivery_id": delivery.id, "attempts": delivery.attempts + 1})

    def _fail(self, due: Sequence[DeliveryRecord], reason: str) -> None:
        with self._database.begin() as session:
            for delivery in due:
                deliveries.record_delivery(session, delivery.id, DeliveryStatus.FAILED, reason)
        for delivery in due:
            self._round.failed += 1
            _log.error("delivery:failed", extra={"delivery_id": delivery.id})

    def _commit(self, connection: NodeConnection, node: RemoteNode, sent: Sequence[DeliveryRecord]) -> None:
        """Request commitment and wait for a short time; the report may also come to our listener, later."""
        transaction_uid = derived_uid("commitment", secrets.token_hex(16))
        references = [(delivery.sop_class_uid, delivery.sop_instance_uid) for delivery in sent]
        refusal = connection.request_commitment(references, transaction_uid)
        if refusal:
            _log.warning("delivery:commitment_refused", extra={"object_count": len(sent)})
            return
        report = connection.wait_for_report(transaction_uid, self._config.commitment_wait_s)
        if report is not None:
            self._round.committed += _committed_of(report, sent)
            record_report(self._database, node.ae_title, report)


def _committed_of(report: CommitmentReport, sent: Sequence[DeliveryRecord]) -> int:
    return len({delivery.sop_instance_uid for delivery in sent} & set(report.committed))
