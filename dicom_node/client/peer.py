"""C-ECHO, C-STORE and storage commitment as a service class user."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from dicom_node.client.scu_association import RequestingEntity
from dicom_node.encoding.commitment_messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    CommitmentReport,
    commitment_request,
    parse_report,
)
from dicom_node.encoding.errors import UNREADABLE, DicomNodeError
from dicom_node.port.tls import TlsFiles, client_context

UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MAX_CONTEXTS = 128


@dataclass(frozen=True, slots=True)
class RemoteNode:
    """A remote node: AE title, address, and whether storage commitment is requested from it.

    Attributes
    ----------
    url
        Base URL of its DICOMweb service; where it is given, results go there and not to host and port.
    authorization
        Sent as that header of HTTP.
    ca_file
        Certificates that its TLS certificate is checked against; the system's by default.
    """

    ae_title: str
    host: str
    port: int
    storage_commitment: bool = False
    tls: TlsFiles | None = None
    """Given, it is called by TLS; read anew for each association, so that renewed certificates need no restart."""
    tls_name: str = ""
    """Name that its certificate must bear; its address where this is empty."""
    url: str = ""
    authorization: str = field(default="", repr=False)
    ca_file: Path | None = None
    sends_as: str = ""
    """AE title that it calls us with, where that is another than the one that it is asked by."""


@dataclass(frozen=True, slots=True)
class ScuTimeouts:
    """Timeouts of an association with a remote node, in seconds."""

    connect_s: float = 10.0
    association_s: float = 30.0
    response_s: float = 120.0


class NodeUnreachableError(DicomNodeError):
    """No association with a node can be established; ``reason`` is a sentence."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no association: {reason}")
        self.reason = reason


class StoreOutcome(StrEnum):
    """Outcome of a C-STORE, as far as it decides what to do next."""

    STORED = "stored"
    REFUSED = "refused"
    """The node does not want this object; sending it again would not help."""
    NOT_TAKEN = "not taken"
    """The node did not negotiate this class, or no encoding of it."""
    TRY_LATER = "try later"


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """Outcome of a C-STORE with its reason in words, which hold no value of a dataset."""

    outcome: StoreOutcome
    reason: str = ""


class NodeConnection:
    """An association with a remote node, used as a context manager.

    Parameters
    ----------
    station
        Our own AE title.
    contexts
        SOP classes to propose, each with its transfer syntaxes.

    Raises
    ------
    NodeUnreachableError
        On entering, when there is no association.
    """

    def __init__(
        self,
        node: RemoteNode,
        station: str,
        contexts: Iterable[tuple[str, Sequence[str]]],
        timeouts: ScuTimeouts | None = None,
        *,
        roles: Sequence[Any] = (),
    ) -> None:
        self._node = node
        self._roles = list(roles)
        self._association: Association | None = None
        self._was_connected = False
        self._reports: dict[str, CommitmentReport] = {}
        self._news = threading.Condition()
        silence_library()
        self._ae = RequestingEntity(station)
        limits = timeouts or ScuTimeouts()
        self._ae.connection_timeout = limits.connect_s
        self._ae.acse_timeout = limits.association_s
        self._ae.dimse_timeout = self._ae.network_timeout = limits.response_s
        for sop_class_uid, syntaxes in list(contexts)[:MAX_CONTEXTS]:
            self._ae.add_requested_context(sop_class_uid, list(syntaxes))

    def __enter__(self) -> NodeConnection:
        node = self._node
        tls = _tls_arguments(node)
        try:
            association = self._ae.associate(
                node.host,
                node.port,
                ae_title=node.ae_title,
                tls_args=tls,
                ext_neg=list(self._roles),
                evt_handlers=[(evt.EVT_CONN_OPEN, self._on_connected), (evt.EVT_N_EVENT_REPORT, self._on_report)],
            )
        except (OSError, ValueError, RuntimeError):
            raise NodeUnreachableError("its address cannot be used") from None
        if not association.is_established and not _accepts_nothing(association):
            if tls and not self._was_connected:
                raise NodeUnreachableError("no TLS connection: no response there, or one side refuses the other's")
            raise NodeUnreachableError(_why_not(association, was_connected=self._was_connected))
        self._association = association
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._association is not None and self._association.is_established:
            self._association.release()
        elif self._association is not None and self._association.is_alive():
            self._association.abort()

    @property
    def node(self) -> RemoteNode:
        """The remote node."""
        return self._node

    @property
    def is_open(self) -> bool:
        """Return True if the association is still established."""
        return self._association is not None and bool(self._association.is_established)

    def accepts(self, sop_class_uid: str) -> bool:
        """Return True if the node accepted a SOP class in at least one of the transfer syntaxes."""
        return any(context.abstract_syntax == sop_class_uid for context in self._open().accepted_contexts)

    def echo(self) -> bool:
        """Send a C-ECHO and return whether it was answered with success."""
        status = self._open().send_c_echo()
        return bool(status) and status.Status == 0x0000

    def store(self, instance: Path | Dataset) -> StoreAnswer:
        """Send one instance."""
        try:
            ds = dcmread(instance) if isinstance(instance, Path) else instance
        except (OSError, InvalidDicomError):
            return StoreAnswer(StoreOutcome.REFUSED, "the object's file is gone or damaged on our side")
        return _send(self._open(), ds, str(ds.SOPClassUID))

    def forward(self, path: Path, sop_class_uid: str, originator: tuple[str, int]) -> StoreAnswer:
        """Send a stored file for a peer's C-MOVE request; see the function ``forward``."""
        return forward(self._open(), path, sop_class_uid, originator)

    def request_commitment(self, references: Sequence[tuple[str, str]], transaction_uid: str) -> str:
        """Request commitment of instances (N-ACTION, PS3.4 J.3.2); return why it was refused, or None.

        Parameters
        ----------
        references
            ``(SOP Class UID, SOP Instance UID)`` of each.
        """
        if not self.is_open or not self.accepts(COMMITMENT_CLASS):
            return "the node does not offer storage commitment"
        try:
            status, _ = self._open().send_n_action(
                commitment_request(references, transaction_uid), 1, COMMITMENT_CLASS, COMMITMENT_INSTANCE
            )
        except (ValueError, RuntimeError, OSError):
            return "the request for storage commitment could not be sent"
        if not status or status.Status != 0x0000:
            return f"the node refused the request for storage commitment ({_code(status)})"
        return ""

    def report_commitment(self, report: Dataset, event_type: int) -> str:
        """Report what was committed (N-EVENT-REPORT, PS3.4 J.3.3); return why that failed, or None."""
        if not self.is_open or not self.accepts(COMMITMENT_CLASS):
            return "the node does not take storage commitment reports"
        try:
            status, _ = self._open().send_n_event_report(report, event_type, COMMITMENT_CLASS, COMMITMENT_INSTANCE)
        except (ValueError, RuntimeError, OSError):
            return "the storage commitment report could not be sent"
        if not status or status.Status != 0x0000:
            return f"the node refused the storage commitment report ({_code(status)})"
        return ""

    def wait_for_report(self, transaction_uid: str, wait_s: float) -> CommitmentReport | None:
        """Wait for the node's N-EVENT-REPORT on this association; None on timeout."""
        with self._news:
            self._news.wait_for(lambda: transaction_uid in self._reports or not self.is_open, timeout=wait_s)
            return self._reports.get(transaction_uid)

    def _on_connected(self, _event: Any) -> None:
        self._was_connected = True

    def _on_report(self, event: Any) -> tuple[int, None]:
        report = parse_report(event)
        if report is None:
            return 0x0110, None
        with self._news:
            self._reports[report.transaction_uid] = report
            self._news.notify_all()
        return 0x0000, None

    def _open(self) -> Association:
        if self._association is None:
            raise NodeUnreachableError("the association was not opened")
        return self._association


def _tls_arguments(node: RemoteNode) -> tuple[ssl.SSLContext, str] | None:
    if node.tls is None:
        return None
    try:
        return client_context(node.tls), node.tls_name or node.host
    except OSError:
        raise NodeUnreachableError("our own TLS files cannot be read") from None


def forward(
    association: Association, path: Path, sop_class_uid: str, originator: tuple[str, int] | None = None
) -> StoreAnswer:
    """Send a stored file unchanged, or re-encoded where its uncompressed transfer syntax was not accepted."""
    arguments = {"originator_aet": originator[0], "originator_id": originator[1]} if originator else {}
    try:
        return _sent(association, path, **arguments)
    except (ValueError, AttributeError):
        pass  # no context for its very transfer syntax
    try:
        ds = dcmread(path)
    except (*UNREADABLE, InvalidDicomError):
        return StoreAnswer(StoreOutcome.REFUSED, "the object's file is gone or damaged on our side")
    return _send(association, ds, sop_class_uid, **arguments)


def _send(association: Association, ds: Dataset, sop_class_uid: str, **arguments: Any) -> StoreAnswer:
    if not any(context.abstract_syntax == sop_class_uid for context in association.accepted_contexts):
        return StoreAnswer(StoreOutcome.NOT_TAKEN, f"the node does not accept {class_name(sop_class_uid)}")
    try:
        return _sent(association, ds, **arguments)
    except UNREADABLE:
        return StoreAnswer(StoreOutcome.NOT_TAKEN, "the node accepts no transfer syntax of this object")


def _sent(association: Association, instance: Path | Dataset, **arguments: Any) -> StoreAnswer:
    if not association.is_established:
        return StoreAnswer(StoreOutcome.TRY_LATER, "the association ended")
    try:
        return _answer(association.send_c_store(instance, **arguments))
    except (RuntimeError, OSError):
        return StoreAnswer(StoreOutcome.TRY_LATER, "the association ended")


def store_contexts(sop_class_uids: Iterable[str]) -> list[tuple[str, Sequence[str]]]:
    """Return presentation contexts for sending uncompressed instances of SOP classes."""
    return [(uid, UNCOMPRESSED) for uid in dict.fromkeys(sop_class_uids)]


def echo(node: RemoteNode, station: str, timeouts: ScuTimeouts | None = None) -> str:
    """Send a C-ECHO and return why it failed, or None."""
    try:
        with NodeConnection(node, station, store_contexts([Verification]), timeouts) as connection:
            return "" if connection.echo() else "C-ECHO was not answered with success"
    except NodeUnreachableError as error:
        return error.reason


def class_name(sop_class_uid: str) -> str:
    """Return the name of a SOP class, or its UID where the standard has none."""
    return UID(sop_class_uid).name


def silence_library() -> None:
    """Keep pynetdicom's own logs, which quote datasets and identifiers, from every handler."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True  # a path that is to be sent goes out as it is, piece by piece
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def _accepts_nothing(association: Association) -> bool:
    """Return True if the node accepted the association and no context, on which pynetdicom aborts it."""
    answer = association.acceptor.primitive
    return answer is not None and answer.result == 0 and not association.accepted_contexts


def _why_not(association: Association, *, was_connected: bool) -> str:
    if not was_connected:
        return "no response at its address"
    if association.is_rejected:
        primitive = association.acceptor.primitive
        return f"the node rejected the association ({primitive.reason_str})"
    return "the node does not answer or ended the association"


def _answer(status: Dataset) -> StoreAnswer:
    """Map the status of a C-STORE response to an outcome (PS3.4 table B.2-1, PS3.7 C)."""
    if not status:
        return StoreAnswer(StoreOutcome.TRY_LATER, "the node did not answer, or ended the association")
    code = int(status.Status)
    if code == 0x0000:
        return StoreAnswer(StoreOutcome.STORED)
    if code in (0xB000, 0xB006, 0xB007, 0x0107, 0x0116):
        return StoreAnswer(StoreOutcome.STORED, f"stored with a warning ({_code(status)})")
    if code == 0x0111:
        return StoreAnswer(StoreOutcome.STORED, "the node had it already")
    if 0xA700 <= code <= 0xA7FF or code in (0x0110, 0x0213):
        return StoreAnswer(StoreOutcome.TRY_LATER, f"the node has no room or failed ({_code(status)})")
    return StoreAnswer(StoreOutcome.REFUSED, f"the node refused it ({_code(status)})")


def _code(status: Dataset) -> str:
    return f"0x{int(status.Status):04X}" if status else "no answer"
