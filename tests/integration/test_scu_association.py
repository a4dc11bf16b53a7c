"""Our associations with others hold beside other work."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket

from dicom_node.client.scu_association import RequestingEntity
from tests.support.service import until

ECHOES = 10
GET_MESSAGE = DIMSEServiceProvider.get_msg
SET_SOCKET = Association.set_socket


@contextmanager
def answering_node(*callers: str) -> Iterator[int]:
    """A node that answers C-ECHO of these callers, or of all."""
    ae = AE("NODE")
    ae.require_calling_aet = list(callers)
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
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
