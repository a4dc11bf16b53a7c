"""Storage commitment as a provider (PS3.4 J): verifies instances that peers sent, and reports durably.

A request is stored before it is answered with success. The report goes out on the same association where the peer holds
it open, else on one that we open to it; where it cannot be reached it is tried again, over restarts too.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role

from db.archive import index as archive
from db.database import Database
from db.domain.errors import DbError
from db.domain.exchange import CommitmentRecord
from db.domain.studies import InstanceRecord
from db.domain.uids import is_uid
from db.results import commitments
from dicom_node.client.peer import UNCOMPRESSED, NodeConnection, NodeUnreachableError, RemoteNode, ScuTimeouts
from dicom_node.encoding.commitment_messages import (
    ALL_COMMITTED,
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    FAILURES_EXIST,
    MAX_REFERENCES,
    commitment_request,
)
from dicom_node.encoding.errors import UNREADABLE
from dicom_node.storage.files import StoreUnreachableError
from dicom_node.storage.instance_store import InstanceStore

_log = logging.getLogger(__name__)

SUCCESS, PROCESSING_FAILURE, NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0000, 0x0110, 0x0112, 0x0119
NOT_AUTHORIZED, DUPLICATE_TRANSACTION, INVALID_ARGUMENT, NO_SUCH_ACTION = 0x0124, 0x0131, 0x0115, 0x0123

Request = tuple[str, list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class CommitmentPolicy:
    """Retries of commitment reports.

    Attributes
    ----------
    same_association_s
        A peer that is silent on its association for so long after its request gets the report on it; 0: never.
    own_association_s
        After so long it gets the report on an association of ours.
    """

    same_association_s: float = 1.0
    own_association_s: float = 2.0
    first_pause_s: float = 5.0
    longest_pause_s: float = 3600.0
    max_attempts: int = 30

    def pause_s(self, attempts: int) -> float:
        """Return the pause after this many failed attempts (1 or more), seconds."""
        return float(min(self.first_pause_s * 2.0 ** min(attempts - 1, 30), self.longest_pause_s))


class CommitmentService:
    """Accepts commitment requests and sends reports.

    Parameters
    ----------
    nodes
        Where peers are reached, by AE title; one that is not named here gets its report on its own association only.
    """

    def __init__(
        self,
        database: Database,
        store: InstanceStore,
        station: str,
        nodes: Mapping[str, RemoteNode],
        policy: CommitmentPolicy | None = None,
        *,
        timeouts: ScuTimeouts | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._store = store
        self._station = station
        self._nodes = dict(nodes)
        self._policy = policy or CommitmentPolicy()
        self._timeouts = timeouts or ScuTimeouts()
        self._clock = clock
        self._under_way: set[str] = set()

    def on_action(self, event: Any) -> tuple[int, None]:
        """Handle a request (``EVT_N_ACTION``)."""
        sender = event.assoc.sender
        if not (sender.may_store or sender.may_query):
            return NOT_AUTHORIZED, None
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        request = read_request(event)
        if request is None:
            return INVALID_ARGUMENT, None
        transaction_uid, references = request
        due = self._clock() + timedelta(seconds=self._policy.own_association_s)
        request_id = None
        try:
            with self._database.begin() as session:
                request_id = commitments.record_request(
                    session,
                    ae_title=sender.calling_ae_title,
                    peer_address=sender.address,
                    transaction_uid=transaction_uid,
                    references=references,
                    report_at=due,
                )
                if request_id is not None:
                    self._under_way.add(request_id)  # before it becomes visible as due
        except DbError:
            self._under_way.discard(request_id or "")
            return PROCESSING_FAILURE, None
        if request_id is None:
            return DUPLICATE_TRANSACTION, None
        event.assoc.afterwards.append(partial(self._after_response, event.assoc, request_id))
        return SUCCESS, None

    def _after_response(self, assoc: Any, request_id: str) -> None:
        """Report on the same association, in its own thread, unless the peer uses it."""
        try:
            wait_s = self._policy.same_association_s
            if wait_s > 0 and _stays_silent(assoc, wait_s):
                self._report_on(assoc, request_id)
        finally:
            self._under_way.discard(request_id)

    def _report_on(self, assoc: Any, request_id: str) -> None:
        record = self._record(request_id)
        if record is None:
            return
        report, failed = self.verdict(record.references, record.transaction_uid)
        try:
            status, _ = assoc.send_n_event_report(
                report, FAILURES_EXIST if failed else ALL_COMMITTED, COMMITMENT_CLASS, COMMITMENT_INSTANCE
            )
        except (ValueError, RuntimeError, OSError):
            return
        if status and status.Status == SUCCESS:
            self._reported(record, failed)

    def run(self, stop: threading.Event, poll_s: float = 1.0) -> None:
        """Send due reports until ``stop`` is set."""
        while not stop.wait(poll_s):
            try:
                self.report_due()
            except DbError:
                _log.warning("commitment:pending", extra={"code": "database_unavailable"})

    def report_due(self) -> None:
        """Send every due report to its peer, each on an association of our own."""
        # reported on their own association meanwhile, though still due when queried
        reported_elsewhere = set(self._under_way)
        with self._database.read() as session:
            due = commitments.due_requests(session, now=self._clock())
        for record in due:
            if record.id not in reported_elsewhere | self._under_way:
                self._bring(record)

    def _bring(self, record: CommitmentRecord) -> None:
        node = self._nodes.get(record.ae_title)
        if node is None:
            self._failed(record, "its AE title is not configured with an address to report to", is_final=True)
            return
        report, failed = self.verdict(record.references, record.transaction_uid)
        role = build_role(COMMITMENT_CLASS, scp_role=True)
        contexts = [(COMMITMENT_CLASS, UNCOMPRESSED)]
        try:
            with NodeConnection(node, self._station, contexts, self._timeouts, roles=[role]) as connection:
                refusal = connection.report_commitment(report, FAILURES_EXIST if failed else ALL_COMMITTED)
        except NodeUnreachableError as error:
            refusal = error.reason
        if refusal:
            self._failed(record, refusal)
        else:
            self._reported(record, failed)

    def verdict(self, references: Sequence[tuple[str, str]], transaction_uid: str) -> tuple[Dataset, int]:
        """Return for each instance whether it is stored: indexed, of that class, and re-read just now.

        Returns
        -------
        tuple
            Event information (PS3.4 table J.3-2) and how many instances it does not commit.
        """
        uids = [sop_instance_uid for _, sop_instance_uid in references]
        with self._database.read() as session:
            received = commitments.known_instances(session, uids)
            results = archive.known_results(session, uids)
        classes = {uid: instance.sop_class_uid for uid, instance in received.items()}
        classes |= {uid: sop_class_uid for uid, (sop_class_uid, _) in results.items()}
        committed, failed = [], []
        for sop_class_uid, uid in references:
            if uid not in classes:
                failed.append((sop_class_uid, uid, NO_SUCH_OBJECT))
            elif classes[uid] != sop_class_uid:
                failed.append((sop_class_uid, uid, CLASS_CONFLICT))
            elif not (self._is_intact(received[uid]) if uid in received else self._exists(results[uid][1])):
                failed.append((sop_class_uid, uid, PROCESSING_FAILURE))
            else:
                committed.append((sop_class_uid, uid))
        return _event_information(transaction_uid, committed, failed), len(failed)

    def _is_intact(self, instance: InstanceRecord) -> bool:
        is_intact = self._store.matches_digest(instance.path, instance.sha256)
        if not is_intact:
            _log.error("instance:damaged", extra={"size_bytes": instance.size_bytes})
        return is_intact

    def _exists(self, path: str) -> bool:
        try:
            return self._store.files.exists(path)
        except StoreUnreachableError:
            return False

    def _record(self, request_id: str) -> CommitmentRecord | None:
        with self._database.read() as session:
            return commitments.request_record(session, request_id)

    def _reported(self, record: CommitmentRecord, failed: int) -> None:
        with self._database.begin() as session:
            commitments.record_report(session, record.id, committed=len(record.references) - failed, failed=failed)
        _log.info("commitment:reported", extra={"object_count": len(record.references), "count": failed})

    def _failed(self, record: CommitmentRecord, reason: str, *, is_final: bool = False) -> None:
        attempts = record.attempts + 1
        is_final = is_final or attempts >= self._policy.max_attempts
        retry_at = None if is_final else self._clock() + timedelta(seconds=self._policy.pause_s(attempts))
        with self._database.begin() as session:
            commitments.record_failure(session, record.id, reason, retry_at)
        _log.warning(
            "commitment:not_reported", extra={"attempts": attempts, "outcome": "failed" if is_final else "retry"}
        )


def read_request(event: Any) -> Request | None:
    """Read action information (PS3.4 table J.3-1): transaction and references; None where malformed."""
    try:
        information = event.action_information
        transaction_uid = str(information.TransactionUID)
        references = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.ReferencedSOPSequence
        ]
    except UNREADABLE:
        return None
    uids = {transaction_uid, *(uid for pair in references for uid in pair)}
    if not 0 < len(references) <= MAX_REFERENCES or not all(is_uid(uid) for uid in uids):
        return None
    return transaction_uid, list(dict.fromkeys(references))  # an instance that is named again is checked once


def _event_information(
    transaction_uid: str, committed: Sequence[tuple[str, str]], failed: Sequence[tuple[str, str, int]]
) -> Dataset:
    ds = commitment_request(committed, transaction_uid)
    if not committed:
        del ds.ReferencedSOPSequence
    if failed:
        ds.FailedSOPSequence = []
        for sop_class_uid, sop_instance_uid, reason in failed:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
            item.FailureReason = reason
            ds.FailedSOPSequence.append(item)
    return ds


def _stays_silent(assoc: Any, wait_s: float) -> bool:
    """Return True if the peer keeps its association open without a message for a while."""
    end = time.monotonic() + wait_s
    pause = threading.Event()
    while time.monotonic() < end:
        if not assoc.is_established or not assoc.dul.to_user_queue.empty() or not assoc.dimse.msg_queue.empty():
            return False
        pause.wait(0.05)
    return True
