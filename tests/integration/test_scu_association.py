"""Our associations with others hold beside other work."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket

from dicom_node.client.scu_association import RequestingEntity
from tests.support.service import until

ECHOES = 10
GET_MESSAGE = DIMSEServiceProvider.get_msg
SET_SOCKET = Association.set_socket


@contextmanager
def answering_node(*callers: str, handlers: Sequence[EventHandlerType] = ()) -> Iterator[int]:
    """A node that answers C-ECHO of these callers, or of all."""
    ae = AE("NODE")
    ae.require_calling_aet = list(callers)
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def linger(association: Association, name: str, value: object) -> None:
    """Set an attribute; where the reactor says that it goes on, it is held up until a response has come."""
    if name == "_is_paused" and value is False and sys._getframe(1).f_code.co_name == "_run_reactor":
        until = time.monotonic() + 0.2
        while association.dimse.msg_queue.empty() and time.monotonic() < until:
            time.sleep(0.001)
    object.__setattr__(association, name, value)


def dawdle(dimse: DIMSEServiceProvider, block: bool = False) -> object:
    """Ask for a message; who waits for a response comes late."""
    if block:
        time.sleep(0.1)
    return GET_MESSAGE(dimse, block)


@pytest.mark.parametrize("entity", [RequestingEntity, pytest.param(AE, marks=pytest.mark.xfail(strict=True))])
def test_a_reactor_that_is_held_up_takes_no_response(entity: type[AE], monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own entity shows that the test would see it."""
    with answering_node() as port:
        monkeypatch.setattr(Association, "__setattr__", linger)
        monkeypatch.setattr(DIMSEServiceProvider, "get_msg", dawdle)
        ae = entity("STATION")
        ae.dimse_timeout = 2
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", port)
        assert association.is_established
        try:
            for _ in range(ECHOES):
                time.sleep(0.005)
                assert association.send_c_echo().get("Status") == 0x0000
        finally:
            association.abort()


def end_connection(event: Event) -> int:
    """Answer nothing: end the connection, as the death of a peer does."""
    event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    return 0x0000


def test_no_request_waits_for_a_response_once_the_connection_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reactor, which would say that there is no association, is held up until the test is over."""
    with answering_node(handlers=[(evt.EVT_C_ECHO, end_connection)]) as port:
        ae = RequestingEntity("STATION")
        ae.dimse_timeout = ae.network_timeout = 120
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", port)
        assert association.is_established
        with monkeypatch.context() as patch:
            patch.setattr(association._reactor_checkpoint, "set", lambda: None)
            began_s = time.monotonic()
            for _ in range(3):
                assert association.send_c_echo() == Dataset()
            assert time.monotonic() - began_s < 100
        association._reactor_checkpoint.set()
        association.join()
        assert not association.is_established


class Late(threading.Event):
    """Notified of a connection only after its end."""

    def __init__(self, connection: AssociationSocket) -> None:
        super().__init__()
        self._connection = connection

    def wait(self, timeout: float | None = None) -> bool:
        super().wait(timeout)
        return until(lambda: self._connection.socket is None, bool)


def wake_late(association: Association, connection: AssociationSocket) -> None:
    """Take a socket; who waits for its connection is woken late."""
    connection._ready = Late(connection)
    SET_SOCKET(association, connection)


@pytest.mark.parametrize("entity", [RequestingEntity, pytest.param(AE, marks=pytest.mark.xfail(strict=True))])
def test_a_rejection_that_comes_at_once_is_one(entity: type[AE], monkeypatch: pytest.MonkeyPatch) -> None:
    with answering_node("SOMEBODY") as port:
        monkeypatch.setattr(Association, "set_socket", wake_late)
        ae = entity("STATION")
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", port)
    assert association.is_rejected
    assert association.acceptor.primitive.diagnostic == 3  # PS3.8 table 9-21: calling AE title not recognised
