"""Messages of the Storage Commitment Push Model (PS3.4 J): requests and reports."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from db.database import Database
from db.domain.deliveries import DeliveryStatus
from db.domain.errors import DbError
from db.results import deliveries

_log = logging.getLogger(__name__)

COMMITMENT_CLASS = StorageCommitmentPushModel
COMMITMENT_INSTANCE = StorageCommitmentPushModelInstance
ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event types of N-EVENT-REPORT (PS3.4 J.3.3.1.1)."""
MAX_REFERENCES = 10_000

FAILURE_REASONS = {
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0213: "resource limitation",
    0x0122: "SOP class not supported",
    0x0119: "class-instance conflict",
    0x0131: "duplicate transaction UID",
}
"""Failure Reason (0008,1197), PS3.3 C.14.1.1."""


@dataclass(frozen=True, slots=True)
class CommitmentReport:
    """A commitment report: the committed SOP Instance UIDs, and why the others were not."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: dict[str, str]


def commitment_request(references: Sequence[tuple[str, str]], transaction_uid: str) -> Dataset:
    """Return the action information of a request (PS3.4 table J.3-1)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [_reference(*reference) for reference in references]
    return ds


def _reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    return ds


def parse_report(event: Any) -> CommitmentReport | None:
    """Parse an N-EVENT-REPORT event of pynetdicom; None where it is malformed."""
    try:
        if event.event_type not in (ALL_COMMITTED, FAILURES_EXIST):
            return None
        information = event.event_information
        committed = [str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or []]
        failed = {
            str(item.ReferencedSOPInstanceUID): FAILURE_REASONS.get(
                int(item.get("FailureReason") or 0), "no reason given"
            )
            for item in information.get("FailedSOPSequence") or []
        }
        report = CommitmentReport(str(information.TransactionUID), tuple(committed), failed)
    except (AttributeError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return report if len(committed) + len(failed) <= MAX_REFERENCES else None


def record_report(database: Database, ae_title: str, report: CommitmentReport) -> int:
    """Record a node's report on deliveries to it, and return how many it concerned.

    What it lost is sent again at once; what it does not commit for another reason stays sent, with the reason.
    """
    count = 0
    with database.begin() as session:
        for sop_instance_uid in report.committed:
            if (delivery := deliveries.sent_delivery(session, sop_instance_uid, ae_title)) is not None:
                deliveries.record_delivery(session, delivery.id, DeliveryStatus.COMMITTED)
                count += 1
        for sop_instance_uid, reason in report.failed.items():
            if (delivery := deliveries.sent_delivery(session, sop_instance_uid, ae_title)) is not None:
                is_lost = reason == FAILURE_REASONS[0x0112]
                status = DeliveryStatus.PENDING if is_lost else DeliveryStatus.SENT
                deliveries.record_delivery(session, delivery.id, status, f"not committed: {reason}")
                count += 1
    return count


def report_handler(database: Database, ae_titles: Iterable[str]) -> Callable[[Any], tuple[int, None]]:
    """Return a handler for N-EVENT-REPORTs on an association that the node opened (``EVT_N_EVENT_REPORT``).

    Parameters
    ----------
    ae_titles
        Destinations that commitment is requested from; reports from other nodes are refused.
    """
    requested_titles = frozenset(ae_titles)

    def handle(event: Any) -> tuple[int, None]:
        ae_title = str(event.assoc.requestor.ae_title).strip()
        if ae_title not in requested_titles:
            return 0x0124, None
        report = parse_report(event)
        if report is None:
            return 0x0110, None
        try:
            count = record_report(database, ae_title, report)
        except DbError:
            return 0x0110, None
        _log.info("delivery:commitment_reported", extra={"object_count": count})
        return 0x0000, None

    return handle
