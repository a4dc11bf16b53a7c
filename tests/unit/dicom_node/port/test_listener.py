from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filebase import DicomBytesIO
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.encoding.status import Status
from dicom_node.intake.counters import Counters
from dicom_node.intake.instance_intake import Sender
from dicom_node.port.access import AccessRules, PeerRule, Rejection, plain_address
from dicom_node.port.association_slots import UNUSED_GRACE_S, USED_GRACE_S, AssociationSlots
from dicom_node.port.command_sets import CommandSetError, StoreRequest, read_elements, store_request, store_response
from dicom_node.port.message_receiver import MessageError, MessageReceiver

CT = "1.2.840.10008.5.1.4.1.1.2"


def command_set(field_value: int = 1, *, dataset: bool = True, message_id: int = 7, uid: bytes = b"1.2.3.4") -> bytes:
    elements = [
        (0x0002, CT.encode() + b"\0"),
        (0x0100, struct.pack("<H", field_value)),
        (0x0110, struct.pack("<H", message_id)),
        (0x0700, struct.pack("<H", 0)),
        (0x0800, struct.pack("<H", 0 if dataset else 0x0101)),
        (0x1000, uid + b"\0" * (len(uid) % 2)),
    ]
    body = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def pdv(control: int, value: bytes, context_id: int = 1) -> bytes:
    return struct.pack(">LBB", len(value) + 2, context_id, control) + value


@dataclass
class Sink:
    written: bytearray = field(default_factory=bytearray)
    finished: bool = False
    abandoned: bool = False

    def write(self, fragment: memoryview) -> None:
        self.written += fragment

    def finish(self) -> None:
        self.finished = True

    def abandon(self) -> None:
        self.abandoned = True


class Recorder:
    """A receiver with what came out of it."""

    def __init__(self) -> None:
        self.requests: list[StoreRequest] = []
        self.sinks: list[Sink] = []
        self.passed_on: list[tuple[int, bytes]] = []
        self.receiver = MessageReceiver(self._open, lambda *pdv: self.passed_on.append(pdv), {1, 3}.__contains__)

    def _open(self, request: StoreRequest) -> Sink:
        self.requests.append(request)
        self.sinks.append(Sink())
        return self.sinks[-1]

    def feed(self, *pdvs: bytes) -> None:
        self.receiver.feed(memoryview(b"".join(pdvs)))


def test_a_response_is_what_pynetdicom_reads() -> None:
    request = StoreRequest(5, 513, CT, "1.2.3.45", has_dataset=True)

    content = store_response(request, Status.CANNOT_UNDERSTAND, "PatientID is longer than 256 characters")

    pdu = P_DATA_TF()
    pdu.decode(content)
    ((context_id, value),) = pdu.to_primitive().presentation_data_value_list
    assert (context_id, value[0]) == (5, 3)
    command = decode(DicomBytesIO(value[1:]), True, True)
    assert command.Status == 0xC000
    assert command.MessageIDBeingRespondedTo == 513
    assert command.CommandField == 0x8001
    assert command.CommandDataSetType == 0x0101
    assert command.ErrorComment == "PatientID is longer than 256 characters"
    assert (command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == (CT, "1.2.3.45")
    assert command.CommandGroupLength == len(value) - 1 - 12


@given(st.text(max_size=100), st.text(max_size=100), st.integers(0, 65535))
def test_whatever_was_asked_the_response_is_well_formed(comment: str, uid: str, message_id: int) -> None:
    content = store_response(StoreRequest(1, message_id, CT, uid, has_dataset=True), Status.SUCCESS, comment)

    assert struct.unpack_from(">L", content, 2)[0] == len(content) - 6
    elements = read_elements(content[12:])
    assert all(len(value) % 2 == 0 for value in elements.values())


def test_a_request_written_by_pynetdicom_is_read() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = 9, CT, "1.2.3"
    from pynetdicom.dimse_messages import C_STORE_RQ

    message = C_STORE_RQ()
    primitive.DataSet = io.BytesIO(b"ab")
    primitive.Priority = 2
    message.primitive_to_message(primitive)
    value = b"".join(
        part[1][1:]
        for pdata in message.encode_msg(1, 16384)
        for part in pdata.presentation_data_value_list
        if part[1][0] & 1
    )

    assert store_request(1, read_elements(value)) == StoreRequest(1, 9, CT, "1.2.3", has_dataset=True)


@given(st.binary(max_size=200))
def test_random_command_sets_raise_one_error_only(content: bytes) -> None:
    try:
        store_request(1, read_elements(content))
    except CommandSetError:
        return


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 5))
def test_however_a_message_is_cut_its_dataset_arrives_whole(sizes: list[int], per_pdu: int) -> None:
    recorder = Recorder()
    command, dataset = command_set(), bytes(range(256))
    pieces: list[bytes] = []
    for content, is_command in ((command, 1), (dataset, 0)):
        offset = 0
        for size in [*sizes, len(content)]:
            piece = content[offset : offset + size]
            offset += size
            if piece or offset < len(content):
                pieces.append(pdv(is_command | (2 if offset >= len(content) else 0), piece))
            if offset >= len(content):
                break
    for start in range(0, len(pieces), per_pdu):
        recorder.feed(*pieces[start : start + per_pdu])

    assert recorder.requests == [StoreRequest(1, 7, CT, "1.2.3.4", has_dataset=True)]
    assert bytes(recorder.sinks[0].written) == dataset
    assert recorder.sinks[0].finished
    assert not recorder.receiver.is_amid_message


def test_other_messages_are_handed_on_unchanged_and_in_order() -> None:
    recorder = Recorder()
    echo, find = command_set(0x30, dataset=False), command_set(0x20)
    recorder.feed(pdv(1, echo[:20]), pdv(3, echo[20:]), pdv(3, find, 3), pdv(0, b"query", 3), pdv(2, b"end", 3))
    recorder.feed(pdv(3, command_set()), pdv(2, b"dataset"))

    assert recorder.passed_on == [(1, b"\3" + echo), (3, b"\3" + find), (3, b"\0query"), (3, b"\2end")]
    assert bytes(recorder.sinks[0].written) == b"dataset"


def test_a_store_without_a_dataset_is_answered_at_once() -> None:
    recorder = Recorder()
    recorder.feed(pdv(3, command_set(dataset=False)))

    assert recorder.sinks[0].finished


@pytest.mark.parametrize(
    ("what", "pdvs"),
    [
        ("a dataset first", [pdv(0, b"x")]),
        ("a command in a dataset", [pdv(3, command_set()), pdv(0, b"x"), pdv(3, command_set())]),
        ("another context within", [pdv(3, command_set()), pdv(0, b"x", 3)]),
        ("an unknown context", [pdv(3, command_set(), 5)]),
        ("an endless command", [pdv(1, bytes(16000)), pdv(1, bytes(16000))]),
        ("no command set", [pdv(3, b"GET / HTTP/1.1")]),
        ("an unknown command", [pdv(3, command_set(0x7777))]),
        ("a length beyond the PDU", [struct.pack(">LBB", 5000, 1, 3) + b"x"]),
        ("a length of nothing", [struct.pack(">LBB", 1, 1, 3)]),
        ("a cut off value", [b"\0\0\0"]),
        ("an endless query", [pdv(3, command_set(0x20)), *[pdv(0, bytes(128 << 10))] * 4]),
    ],
)
def test_what_breaks_the_rules_ends_the_association(what: str, pdvs: list[bytes]) -> None:
    recorder = Recorder()

    for value in pdvs[:-1]:
        recorder.feed(value)
    with pytest.raises(MessageError):
        recorder.feed(pdvs[-1])

    recorder.receiver.abandon()
    assert all(sink.abandoned and not sink.finished for sink in recorder.sinks)


@given(st.binary(max_size=400))
def test_random_p_data_raises_one_error_only(content: bytes) -> None:
    try:
        Recorder().feed(content)
    except MessageError:
        return


PEERS = (
    PeerRule("PACS", "127.0.0.1"),
    PeerRule("VIEWER", "127.0.0.1", may_store=False, may_query=True),
    PeerRule("PACS2", "127.0.0.9"),
)


@pytest.mark.parametrize(
    ("called", "calling", "address", "answer"),
    [
        ("LUNGNODE", "PACS", "127.0.0.1", Sender("PACS", "127.0.0.1", may_query=False)),
        ("LUNGNODE        ", " PACS ", "127.0.0.1", Sender("PACS", "127.0.0.1", may_query=False)),
        ("LUNGNODE", "VIEWER", "127.0.0.1", Sender("VIEWER", "127.0.0.1", may_store=False)),
        ("lungnode", "PACS", "127.0.0.1", Rejection.CALLED_AE_TITLE),
        ("", "PACS", "127.0.0.1", Rejection.CALLED_AE_TITLE),
        ("LUNGNODE", "pacs", "127.0.0.1", Rejection.CALLING_AE_TITLE),
        ("LUNGNODE", "OTHER", "127.0.0.1", Rejection.CALLING_AE_TITLE),
        ("LUNGNODE", "", "127.0.0.1", Rejection.CALLING_AE_TITLE),
        ("LUNGNODE", "PA\0CS", "127.0.0.1", Rejection.CALLING_AE_TITLE),
        ("LUNGNODE", "PACS", "127.0.0.2", Rejection.ADDRESS),
        ("LUNGNODE", "PACS2", "127.0.0.1", Rejection.ADDRESS),
        ("LUNGNODE", "LUNGNODE", "127.0.0.1", Sender("LUNGNODE", "127.0.0.1", may_store=False, may_query=False)),
        ("LUNGNODE", "LUNGNODE", "192.0.2.7", Rejection.CALLING_AE_TITLE),
    ],
)
def test_who_may_associate(called: str, calling: str, address: str, answer: Sender | Rejection) -> None:
    assert AccessRules("LUNGNODE", PEERS).check(called, calling, address) == answer


def test_without_peers_anyone_may_but_has_to_call_us() -> None:
    rules = AccessRules("LUNGNODE")

    assert rules.check("LUNGNODE", "ANY", "127.0.0.1") == Sender("ANY", "127.0.0.1")
    assert rules.check("OTHER", "ANY", "127.0.0.1") is Rejection.CALLED_AE_TITLE
    assert rules.check("LUNGNODE", "M\u00dcLL", "127.0.0.1") is Rejection.CALLING_AE_TITLE


def test_a_peer_with_an_unresolvable_name_admits_no_host() -> None:
    rules = AccessRules("LUNGNODE", [PeerRule("PACS", "no-such-host.invalid")])

    assert rules.check("LUNGNODE", "PACS", "127.0.0.1") is Rejection.CALLING_AE_TITLE


def test_rejections_are_pdus_of_the_standard() -> None:
    from pynetdicom.pdu import A_ASSOCIATE_RJ

    for rejection in Rejection:
        pdu = A_ASSOCIATE_RJ()
        pdu.decode(rejection.pdu)
        assert pdu.reason_str


@pytest.mark.parametrize(
    ("address", "plain"),
    [("::ffff:127.0.0.1", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("pacs", "pacs")],
)
def test_addresses_have_one_spelling(address: str, plain: str) -> None:
    assert plain_address(address) == plain


@dataclass(eq=False)
class Holder:
    idle_s: float
    was_used: bool = False
    address: str = "127.0.0.1"
    gone: bool = False

    def evict(self) -> None:
        self.gone = True


def test_when_all_slots_are_taken_the_idlest_unused_holder_is_evicted() -> None:
    slots = AssociationSlots(3)
    pending = [Holder(UNUSED_GRACE_S), Holder(UNUSED_GRACE_S * 2), Holder(USED_GRACE_S * 9, was_used=True)]
    for holder in pending:
        assert slots.try_reserve()
        slots.assign(holder)

    assert slots.try_reserve()
    assert [holder.gone for holder in pending] == [False, True, False]
    assert len(slots.holders()) == 2


def test_a_busy_or_briefly_idle_holder_keeps_its_slot() -> None:
    slots = AssociationSlots(2)
    for holder in (Holder(0.0), Holder(USED_GRACE_S - 0.1, was_used=True)):
        slots.assign(holder)

    assert not slots.try_reserve()


def test_one_that_stalls_in_a_message_gives_way_at_last() -> None:
    slots = AssociationSlots(2)
    stalled = Holder(USED_GRACE_S, was_used=True)
    for holder in (Holder(0.1, was_used=True), stalled):
        slots.assign(holder)

    assert slots.try_reserve()
    assert stalled.gone


def test_the_address_with_most_places_gives_way_first() -> None:
    slots = AssociationSlots(3)
    lone = Holder(100.0, address="127.0.0.2")
    crowd = [Holder(1.0), Holder(2.0)]
    for holder in (lone, *crowd):
        slots.assign(holder)

    assert slots.try_reserve()
    assert [lone.gone, crowd[0].gone, crowd[1].gone] == [False, False, True]


def test_leaving_twice_is_harmless() -> None:
    slots = AssociationSlots(1)
    holder = Holder(0.0)
    slots.assign(holder)
    slots.release(holder)
    slots.release(holder)

    assert slots.try_reserve()


def test_counts_have_names_and_labels() -> None:
    counters = Counters()
    counters.add("refusals", "truncated")
    counters.add("refusals", "truncated", 2)
    counters.set("associations_open", 5)

    assert counters.snapshot() == {("refusals", "truncated"): 3, ("associations_open", ""): 5}
