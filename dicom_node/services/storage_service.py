"""Storage service: offered presentation contexts, and responses to C-STORE (PS3.4 B)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.sop_class import Verification

from dicom_node.client.peer import silence_library
from dicom_node.encoding.commitment_messages import COMMITMENT_CLASS
from dicom_node.encoding.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.encoding.status import Status
from dicom_node.encoding.transfer_syntaxes import (
    RESULT_CLASSES,
    STORAGE_CLASSES,
    TRANSFER_SYNTAXES,
)
from dicom_node.intake.instance_intake import Announced, Intake, IntakeVerdict, Reception
from dicom_node.port.association import PortAssociation
from dicom_node.port.command_sets import StoreRequest, store_response
from dicom_node.port.listener import Listener, ListenerSettings
from dicom_node.port.shared_socket import Port
from dicom_node.query_models import STUDY_ROOT_FIND, STUDY_ROOT_GET, STUDY_ROOT_MOVE
from dicom_node.services.commitment_service import CommitmentService
from dicom_node.services.query_service import QueryService
from dicom_node.services.retrieve_service import RetrieveService

_log = logging.getLogger(__name__)

_HIGH = 1
"""Value of Priority (PS3.7 9.3.1.1)."""
PLAIN_SYNTAXES = [*TRANSFER_SYNTAXES][:3]


@dataclass(frozen=True, slots=True)
class PortServices:
    """Services of the port besides C-ECHO and C-STORE.

    Attributes
    ----------
    reports
        Takes N-EVENT-REPORTs of nodes that we asked to commit (``commitment.report_handler``).
    """

    query: QueryService
    retrieve: RetrieveService
    commitment: CommitmentService
    reports: Callable[[Any], tuple[int, None]] | None = None


def start_listener(
    settings: ListenerSettings, intake: Intake, services: PortServices | None = None, shared: Port | None = None
) -> Listener:
    """Start a listener that stores what peers send and provides the given services.

    Parameters
    ----------
    shared
        The port, where other processes listen at it too.

    Returns
    -------
    Listener
        Already listening on ``.port``; ``.stop()`` ends it.

    Raises
    ------
    OSError
        The address cannot be listened on.
    """
    silence_library()
    ae = ApplicationEntity(settings.ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = settings.max_pdu_bytes
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = settings.timeout_s
    ae.maximum_associations = 1 << 20  # slots are given by the listener, before pynetdicom counts
    ae.add_supported_context(Verification, PLAIN_SYNTAXES)
    roles = {"scu_role": True, "scp_role": True} if services else {}  # C-GET: the peer may take the provider's part
    for sop_class_uid in STORAGE_CLASSES:
        ae.add_supported_context(sop_class_uid, [*TRANSFER_SYNTAXES], **roles)
    for sop_class_uid in RESULT_CLASSES:
        ae.add_supported_context(sop_class_uid, PLAIN_SYNTAXES, **roles)
    handler = StorageHandler(intake)
    handlers: list[Any] = [(evt.EVT_C_STORE, handler.on_c_store)]
    if services is None:
        return Listener(settings, ae, handler, intake, handlers, shared=shared)
    for sop_class_uid in (STUDY_ROOT_FIND, STUDY_ROOT_MOVE, STUDY_ROOT_GET):
        ae.add_supported_context(sop_class_uid, PLAIN_SYNTAXES)
    ae.add_supported_context(COMMITMENT_CLASS, PLAIN_SYNTAXES, scu_role=True, scp_role=True)
    handlers += [(evt.EVT_C_FIND, services.query.on_find), (evt.EVT_N_ACTION, services.commitment.on_action)]
    if services.reports is not None:
        handlers.append((evt.EVT_N_EVENT_REPORT, services.reports))
    retrieve = dict.fromkeys((C_MOVE, C_GET), services.retrieve.serve)
    return Listener(settings, ae, handler, intake, handlers, retrieve, shared)


class StorageHandler:
    """Answers C-STORE requests from encoded bytes; no dataset is decoded here."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def open(
        self, request: StoreRequest, abstract_syntax: str, transfer_syntax: str, association: PortAssociation
    ) -> _Sink:
        """Begin a request of the fast path."""
        announced = _announced(request.sop_class_uid, abstract_syntax, request.sop_instance_uid, transfer_syntax)
        announced = replace(announced, is_stat=True) if request.has_high_priority else announced
        return _Sink(self, self._intake.begin(announced, association.sender), request, association)

    def finish(self, reception: Reception, association: PortAssociation) -> IntakeVerdict:
        """Store and return a verdict in any case: the sender must always get a response."""
        try:
            verdict = reception.finish()
        except Exception as error:  # noqa: BLE001 (one of the three places: the C-STORE handler)
            reference = secrets.token_hex(6)
            extra = {"reference": reference, "error_type": type(error).__name__}
            _log.error("instance:failed", extra=extra, exc_info=error)
            self._intake.counters.add("refusals", "internal")
            return IntakeVerdict(Status.INTERNAL_ERROR, "internal", f"internal error {reference}")
        return verdict

    def on_c_store(self, event: Any) -> Dataset:
        """Answer a request of the pynetdicom path (``EVT_C_STORE``)."""
        request, context, association = event.request, event.context, event.assoc
        announced = _announced(
            str(request.AffectedSOPClassUID),
            str(context.abstract_syntax),
            str(request.AffectedSOPInstanceUID),
            str(context.transfer_syntax),
        )
        announced = replace(announced, is_stat=True) if request.Priority == _HIGH else announced
        reception = self._intake.begin(announced, association.sender)
        reception.write(request.DataSet.getbuffer())
        verdict = self.finish(reception, association)
        response = Dataset()
        response.Status = int(verdict.status)
        if verdict.text:
            response.ErrorComment = verdict.text[:64]
        return response


def _announced(sop_class_uid: str, abstract_syntax: str, sop_instance_uid: str, transfer_syntax: str) -> Announced:
    """Combine the command with the negotiated context; a different class than the context's is refused."""
    return Announced(sop_class_uid if sop_class_uid == abstract_syntax else "", sop_instance_uid, transfer_syntax)


class _Sink:
    """Dataset of one request of the fast path, up to its response."""

    def __init__(
        self, handler: StorageHandler, reception: Reception, request: StoreRequest, association: PortAssociation
    ) -> None:
        self._handler, self._reception, self._request = handler, reception, request
        self._association = association

    def write(self, fragment: memoryview) -> None:
        """See StoreSink."""
        self._reception.write(fragment)

    def finish(self) -> None:
        """See StoreSink."""
        verdict = self._handler.finish(self._reception, self._association)
        self._association.dul.respond(store_response(self._request, verdict.status, verdict.text))

    def abandon(self) -> None:
        """See StoreSink."""
        self._reception.abandon()
