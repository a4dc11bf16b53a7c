"""C-MOVE and C-GET on our own store, results included (PS3.4 C.4.2, C.4.3).

Files go out as they are stored wherever the receiver takes their transfer syntax: nothing is decoded then. Only an
uncompressed one is rewritten, for a receiver that takes another uncompressed syntax.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import decode, encode

from db.archive import index as archive
from db.archive.index import ArchivedInstance
from db.archive.search import OneOf
from db.audit import trail as audit
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.errors import DbError
from dicom_node.client.peer import (
    UNCOMPRESSED,
    NodeConnection,
    NodeUnreachableError,
    RemoteNode,
    ScuTimeouts,
    StoreAnswer,
    StoreOutcome,
    forward,
)
from dicom_node.services.identifiers import IMAGE, SERIES, STUDY, Identifier, IdentifierError, read_identifier
from dicom_node.services.query_service import (
    CANCELLED,
    COUNTS,
    DOES_NOT_MATCH,
    NOT_AUTHORIZED,
    OUT_OF_RESOURCES,
    PENDING,
    TooManyMatchesError,
    find_matches,
)
from dicom_node.storage.files import StoreUnreachableError, below
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.integrity import REASON, Integrity

_log = logging.getLogger(__name__)

SUCCESS, WARNING, DESTINATION_UNKNOWN, ALL_FAILED = 0x0000, 0xB000, 0xA801, 0xA702
_UNIQUE = {
    STUDY: ("StudyInstanceUID",),
    SERIES: ("StudyInstanceUID", "SeriesInstanceUID"),
    IMAGE: ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}
"""Unique keys that name what is retrieved at each level (PS3.4 C.6.2.1)."""
MAX_OBJECTS = 65535
"""Counts of sub-operations are 16 bits wide (PS3.7 C.4)."""

DAMAGED = StoreAnswer(StoreOutcome.REFUSED, REASON.text)
Send = Callable[[ArchivedInstance], StoreAnswer]


@dataclass(slots=True)
class _Tally:
    """Counts of sub-operations."""

    remaining: int
    completed: int = 0
    failed: list[str] = field(default_factory=list)

    def count(self, instance: ArchivedInstance, answer: StoreAnswer) -> None:
        self.remaining -= 1
        if answer.outcome is StoreOutcome.STORED:
            self.completed += 1
        else:
            self.failed.append(instance.sop_instance_uid)

    @property
    def status(self) -> int:
        if not self.failed:
            return SUCCESS
        return WARNING if self.completed else ALL_FAILED


class RetrieveService:
    """Answers C-MOVE and C-GET requests of peers that may query.

    Parameters
    ----------
    nodes
        C-MOVE destinations by AE title; others are refused.
    """

    def __init__(
        self,
        database: Database,
        store: InstanceStore,
        station: str,
        nodes: Mapping[str, RemoteNode],
        timeouts: ScuTimeouts | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._station = station
        self._nodes = dict(nodes)
        self._timeouts = timeouts or ScuTimeouts()
        self._integrity = Integrity(database, store.files)

    def serve(self, assoc: Any, request: Any, context: Any) -> None:
        """Serve one request on the association that it came by."""
        _Retrieval(self, assoc, request, context).run()

    def find(self, identifier: Identifier) -> tuple[ArchivedInstance, ...]:
        """Return what an identifier names; the unique keys of its level and those above are required.

        An identifier holds the unique keys alone (PS3.4 C.4.2.1.4, C.4.3.1.3). Peers also send Patient ID, or
        all that a C-FIND answered: an object is sent only where it matches the values of these keys too.

        Raises
        ------
        IdentifierError
            A unique key is missing, or a key with a value is not matched at this level.
        DbError
        """
        uids = {keyword: identifier.values(keyword) for keyword in _UNIQUE[identifier.level]}
        if not all(uids.values()):
            raise IdentifierError("lacks a unique key of its level")
        others = tuple(key for key in identifier.keys if key.values and key.keyword not in {*uids, *COUNTS})
        with self._database.read() as session:
            if others:
                unique = {keyword: OneOf(values) for keyword, values in uids.items()}
                lowest = _UNIQUE[identifier.level][-1]
                matches = find_matches(session, Identifier(identifier.level, others), unique)
                uids[lowest] = tuple(dict.fromkeys(values[lowest][0] for values in matches))
                if not matches:
                    return ()
            return archive.instances(
                session,
                uids["StudyInstanceUID"],
                series_instance_uids=uids.get("SeriesInstanceUID", ()),
                sop_instance_uids=uids.get("SOPInstanceUID", ()),
            )

    def note(self, actor: str, destination: str, count: int) -> None:
        """Audit what is sent to whom and by whose request, before it is sent."""
        details: dict[str, object] = {"destination": destination, "objects": count}
        with self._database.begin() as session:
            audit.append(session, AuditEvent("instances:retrieved", actor, details=details))

    def node(self, ae_title: str) -> RemoteNode | None:
        """Return the C-MOVE destination of an AE title."""
        return self._nodes.get(ae_title)

    def connect(self, node: RemoteNode, instances: Sequence[ArchivedInstance]) -> NodeConnection:
        """Open an association for sending objects as stored."""
        stored = dict.fromkeys((instance.sop_class_uid, (instance.transfer_syntax_uid,)) for instance in instances)
        plain = dict.fromkeys((instance.sop_class_uid, UNCOMPRESSED) for instance in instances)
        return NodeConnection(node, self._station, [*stored, *plain], self._timeouts)

    def is_damaged(self, instance: ArchivedInstance) -> bool:
        """Return whether an object's file is damaged, which is reported; False where it cannot be fetched now."""
        try:
            return bool(self._integrity.damaged([instance.path]))
        except StoreUnreachableError:
            return False
        except DbError:
            return True  # the digests of results cannot be read

    def path(self, instance: ArchivedInstance) -> Any:
        """Return the path of an object; opening one that cannot be fetched fails."""
        try:
            return self._store.absolute(instance.path)
        except StoreUnreachableError:
            return below(self._store.root, instance.path)


class _Retrieval:
    """One C-MOVE or C-GET."""

    def __init__(self, service: RetrieveService, assoc: Any, request: Any, context: Any) -> None:
        self._service, self._assoc, self._request, self._context = service, assoc, request, context
        self._is_move = isinstance(request, C_MOVE)

    def run(self) -> None:
        sender = self._assoc.sender
        if not sender.may_query:
            self._answer(NOT_AUTHORIZED, comment="this peer may not retrieve")
            return
        target = str(self._request.MoveDestination).strip() if self._is_move else sender.calling_ae_title
        node = self._service.node(target)
        if self._is_move and node is None:
            self._answer(DESTINATION_UNKNOWN, comment="the move destination is not configured")
            return
        try:
            instances = self._service.find(read_identifier(self._identifier))
            self._service.note(sender.actor, target, len(instances))
        except IdentifierError as error:
            self._answer(DOES_NOT_MATCH, comment=str(error))
        except TooManyMatchesError as error:
            self._answer(OUT_OF_RESOURCES, comment=str(error))
        except DbError:
            self._answer(OUT_OF_RESOURCES, comment="the index is unavailable")
        else:
            self._send(instances[:MAX_OBJECTS], node)

    def _identifier(self) -> Dataset:
        syntax = self._context.transfer_syntax[0]
        return decode(self._request.Identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)

    def _send(self, instances: Sequence[ArchivedInstance], node: RemoteNode | None) -> None:
        if not instances:
            self._answer(SUCCESS, _Tally(0))
        elif node is None or not self._is_move:
            self._send_all(instances, self._send_back)
        else:
            try:
                with self._service.connect(node, instances) as connection:
                    self._send_all(instances, lambda instance: self._send_on(connection, instance))
            except NodeUnreachableError:
                tally = _Tally(0, failed=[instance.sop_instance_uid for instance in instances])
                self._answer(DESTINATION_UNKNOWN, tally, comment="the move destination does not answer")

    def _send_on(self, connection: NodeConnection, instance: ArchivedInstance) -> StoreAnswer:
        originator = (self._assoc.sender.calling_ae_title, int(self._request.MessageID))
        return connection.forward(self._service.path(instance), instance.sop_class_uid, originator)

    def _send_back(self, instance: ArchivedInstance) -> StoreAnswer:
        self._assoc.awaits_peer_since = time.monotonic()
        try:
            return forward(self._assoc, self._service.path(instance), instance.sop_class_uid)
        finally:
            self._assoc.awaits_peer_since = None

    def _send_all(self, instances: Sequence[ArchivedInstance], send: Send) -> None:
        tally = _Tally(len(instances))
        for instance in instances:
            if not self._assoc.is_established:
                return
            if self._is_cancelled:
                self._answer(CANCELLED, tally)
                return
            tally.count(instance, DAMAGED if self._service.is_damaged(instance) else send(instance))
            if tally.remaining:
                self._answer(PENDING, tally)
        extra = {"object_count": tally.completed, "count": len(tally.failed)}
        _log.info("retrieve:done", extra=extra)
        self._answer(tally.status, tally)

    @property
    def _is_cancelled(self) -> bool:
        return int(self._request.MessageID) in self._assoc.dimse.cancel_req

    def _answer(self, status: int, tally: _Tally | None = None, comment: str = "") -> None:
        """Send a response (PS3.7 9.1.3.1, 9.1.4.1): counts, and what failed in the last one."""
        answer = C_MOVE() if self._is_move else C_GET()
        answer.MessageIDBeingRespondedTo = self._request.MessageID
        answer.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        answer.Status = status
        if comment:
            answer.ErrorComment = comment[:64]
        if tally is not None:
            if status in (PENDING, CANCELLED):
                answer.NumberOfRemainingSuboperations = tally.remaining
            answer.NumberOfCompletedSuboperations = tally.completed
            answer.NumberOfFailedSuboperations = len(tally.failed)
            answer.NumberOfWarningSuboperations = 0
            if status != PENDING and tally.failed:
                answer.Identifier = self._encoded(tally.failed)
        self._assoc.dimse.send_msg(answer, self._context.context_id)

    def _encoded(self, failed: Sequence[str]) -> BytesIO:
        ds = Dataset()
        ds.FailedSOPInstanceUIDList = list(failed)
        syntax = self._context.transfer_syntax[0]
        encoded = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        return BytesIO(encoded or b"")
