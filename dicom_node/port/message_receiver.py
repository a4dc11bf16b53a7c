"""Fast path for C-STORE: fragments go from the socket's buffer straight to the store, without PDU objects.

P-DATA of an established association comes here. A C-STORE request is taken by this module from its command set to its
response; every other message is handed, whole and unchanged, to the library. Fragments that break the rules of PS3.8
9.3.5.1 and PS3.7 6.3.1 (another message, or another context, in the midst of one) end the association.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from dicom_node.port.command_sets import (
    C_STORE_RQ,
    QUERY_REQUESTS,
    CommandSetError,
    StoreRequest,
    command_field,
    has_dataset,
    read_elements,
    store_request,
)

_COMMAND_BYTES = 16384
_IDENTIFIER_BYTES = 512 << 10
"""Of a query or retrieval: 5000 UIDs have under 330 KiB."""
_OTHER_DATASET_BYTES = 4 << 20
"""Of any other message that is not a C-STORE: 10,000 references of a commitment request have under 2 MiB."""


class MessageError(ValueError):
    """P-DATA that breaks the protocol; the association is aborted."""


class StoreSink(Protocol):
    """Receives the dataset of one C-STORE request."""

    def write(self, fragment: memoryview) -> None:
        """Append a fragment."""
        ...

    def finish(self) -> None:
        """Store and respond."""
        ...

    def abandon(self) -> None:
        """Discard the received data: the association ended within it."""
        ...


class MessageReceiver:
    """Assembles the messages of one association.

    Parameters
    ----------
    open_store
        Called with a C-STORE request, returns the sink of its dataset. None passes C-STORE to the library too (the
        pynetdicom path): then complete datasets are held in memory.
    pass_on
        Called with context id and a PDV's value (message control header and fragment) of any other message.
    is_accepted
        Returns whether a presentation context was accepted.
    stock_bytes
        Largest dataset of a C-STORE on the pynetdicom path.
    """

    def __init__(
        self,
        open_store: Callable[[StoreRequest], StoreSink] | None,
        pass_on: Callable[[int, bytes], None],
        is_accepted: Callable[[int], bool],
        stock_bytes: int = 0,
    ) -> None:
        self._stock_bytes = stock_bytes
        self._open_store, self._pass_on, self._is_accepted = open_store, pass_on, is_accepted
        self._command = bytearray()
        self._context_id = 0
        self._sink: StoreSink | None = None
        self._awaits_dataset = False
        self._other_bytes, self._other_limit = 0, _OTHER_DATASET_BYTES

    @property
    def is_amid_message(self) -> bool:
        """Return True if a message has begun and not ended."""
        return bool(self._command) or self._awaits_dataset

    def feed(self, payload: memoryview) -> None:
        """Process the value of one P-DATA-TF PDU: one or more presentation data values.

        Raises
        ------
        MessageError
        """
        offset, end = 0, len(payload)
        while offset < end:
            if end - offset < 6:
                raise MessageError("a cut off presentation data value")
            length, context_id, control = struct.unpack_from(">LBB", payload, offset)
            stop = offset + 4 + length
            if length < 2 or stop > end:
                raise MessageError("a presentation data value of impossible length")
            self._fragment(context_id, control, payload[offset + 5 : stop])
            offset = stop

    def abandon(self) -> None:
        """Discard an incomplete message."""
        if self._sink is not None:
            self._sink.abandon()
        self._sink, self._awaits_dataset = None, False
        self._command.clear()

    def _fragment(self, context_id: int, control: int, value: memoryview) -> None:
        """Process one fragment; ``value`` begins with the message control header (PS3.8 E.2)."""
        if not self._is_accepted(context_id):
            raise MessageError("a presentation context that was not accepted")
        if self.is_amid_message and context_id != self._context_id:
            raise MessageError("another context in the midst of a message")
        self._context_id = context_id
        is_last = bool(control & 2)
        if control & 1:
            self._take_command(value[1:], is_last=is_last)
        elif not self._awaits_dataset:
            raise MessageError("a dataset without a command")
        else:
            self._take_dataset(value, is_last=is_last)

    def _take_command(self, fragment: memoryview, *, is_last: bool) -> None:
        if self._awaits_dataset or len(self._command) + len(fragment) > _COMMAND_BYTES:
            raise MessageError("a command out of place, or too long")
        self._command += fragment
        if not is_last:
            return
        command = bytes(self._command)
        self._command.clear()
        try:
            elements = read_elements(command)
            field = command_field(elements)
            is_store = field == C_STORE_RQ
            self._awaits_dataset = has_dataset(elements)
            request = store_request(self._context_id, elements) if is_store else None
        except CommandSetError as error:
            raise MessageError(str(error)) from None
        if request is None or self._open_store is None:
            self._other_bytes = 0
            others = _IDENTIFIER_BYTES if field in QUERY_REQUESTS else _OTHER_DATASET_BYTES
            self._other_limit = self._stock_bytes if request else others
            self._pass_on(self._context_id, b"\3" + command)
            return
        self._sink = self._open_store(request)
        if not self._awaits_dataset:
            self._finish_store()

    def _take_dataset(self, value: memoryview, *, is_last: bool) -> None:
        if self._sink is not None:
            self._sink.write(value[1:])
        else:
            self._other_bytes += len(value)
            if self._other_bytes > self._other_limit:
                raise MessageError("a dataset too long for its message")
            self._pass_on(self._context_id, bytes(value))
        if is_last:
            self._awaits_dataset = False
            if self._sink is not None:
                self._finish_store()

    def _finish_store(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.finish()
