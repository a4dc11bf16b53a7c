"""A-ASSOCIATE-RQ as nodes send it: what the standard allows is read, and one bad proposal costs itself alone."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from dicom_node.intake.instance_intake import Sender
from dicom_node.port.access import AccessRules, Rejection
from dicom_node.port.associate_request import RequestError, add_results, read_request
from tests.support.intake import CT


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


CONTEXT = item(0x20, b"\1\0\0\0" + item(0x30, CT.encode()) + item(0x40, b"1.2.840.10008.1.2\0"))
APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
USER = item(0x50, item(0x51, bytes(4)) + item(0x52, b"1.2.3") + item(0x99, b"?"))


def request_pdu(*items: bytes, version: int = 1) -> bytes:
    value = struct.pack(">HH", version, 0) + b"LUNGNODE".ljust(16) + b"PACS".ljust(16) + bytes(32) + b"".join(items)
    return struct.pack(">BBL", 1, 0, len(value)) + value


def test_a_request_has_calling_and_called_ae_title() -> None:
    request = read_request(request_pdu(APPLICATION, CONTEXT, USER))

    assert request.called_ae_title.strip() == "LUNGNODE"
    assert AccessRules("LUNGNODE").check_request(request, "127.0.0.1") == Sender("PACS", "127.0.0.1")


def test_a_request_of_another_protocol_is_rejected() -> None:
    rules = AccessRules("LUNGNODE")
    other = item(0x10, b"1.2.840.10008.3.1.1.9")

    assert (
        rules.check_request(read_request(request_pdu(APPLICATION, CONTEXT, version=2)), "")
        is Rejection.PROTOCOL_VERSION
    )
    assert rules.check_request(read_request(request_pdu(other, CONTEXT)), "") is Rejection.APPLICATION_CONTEXT


@pytest.mark.parametrize(
    ("what", "items"),
    [
        ("nothing", [APPLICATION]),
        ("a context without a number", [APPLICATION, item(0x20, b"\1\0")]),
        ("a cut off item", [APPLICATION, CONTEXT[:-1]]),
        ("too many items", [APPLICATION, CONTEXT, *[item(0x50, item(0x59, b"") * 16000)] * 2]),
        ("a short maximum", [APPLICATION, CONTEXT, item(0x50, item(0x51, b"\0\0"))]),
    ],
)
def test_requests_that_nothing_can_come_of(what: str, items: list[bytes]) -> None:
    with pytest.raises(RequestError):
        read_request(request_pdu(*items))


@given(data=st.data())
def test_damaged_requests_raise_one_error_only(data: st.DataObject) -> None:
    content = bytearray(request_pdu(APPLICATION, CONTEXT, USER))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_request(bytes(content[: data.draw(st.integers(74, len(content)))]))
    except RequestError:
        return


VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, UNKNOWN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.201"


def context(number: int, abstract: str, *syntaxes: str) -> bytes:
    items = item(0x30, abstract.encode()) + b"".join(item(0x40, uid.encode()) for uid in syntaxes)
    return item(0x20, bytes([number, 0, 0, 0]) + items)


def proposals(*items: bytes) -> dict[int, tuple[str, list[str]]]:
    """Return the request as the library reads it after it is encoded again."""
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(read_request(request_pdu(*items)).pdu)
    return {
        one.context_id: (str(one.abstract_syntax), [str(uid) for uid in one.transfer_syntax])
        for one in pdu.to_primitive().presentation_context_definition_list
    }


FINE = {1: (CT, [IMPLICIT])}
REJECTED = ("2.25.0", ["2.25.0"])


@pytest.mark.parametrize(
    ("bad", "answered"),
    [
        pytest.param(item(0x20, b"\3\xff\xff\xff" + item(0x30, b"1.2\0") + item(0x40, b"1.2.840.10008.1.2 ")),
                     ("1.2", [IMPLICIT]), id="padded and reserved bytes"),
        pytest.param(context(3, "1.2.PRIVATE.3", IMPLICIT), ("2.25.0", [IMPLICIT]), id="no UID"),
        pytest.param(context(3, "", IMPLICIT), ("2.25.0", [IMPLICIT]), id="empty UID"),
        pytest.param(context(3, "1." + "2" * 90, IMPLICIT), ("2.25.0", [IMPLICIT]), id="long UID"),
        pytest.param(context(3, CT), (CT, ["2.25.0"]), id="no transfer syntax"),
        pytest.param(context(3, CT, "", "abc"), (CT, ["2.25.0"]), id="no valid transfer syntax"),
        pytest.param(context(3, CT, "", IMPLICIT), (CT, [IMPLICIT]), id="an empty transfer syntax"),
        pytest.param(context(3, CT, UNKNOWN, IMPLICIT, IMPLICIT), (CT, [IMPLICIT]), id="an unknown transfer syntax"),
        pytest.param(context(3, CT, UNKNOWN), (CT, [UNKNOWN]), id="only unknown transfer syntaxes"),
        pytest.param(item(0x20, b"\3\0\0\0" + item(0x30, b"1") + item(0x30, b"2") + item(0x40, IMPLICIT.encode())),
                     ("2.25.0", [IMPLICIT]), id="two abstract syntaxes"),
        pytest.param(item(0x20, b"\3\0\0\0" + item(0x77, b"?") + item(0x30, b"1.2") + item(0x40, b"1.2.840.10008.1.2")),
                     ("1.2", [IMPLICIT]), id="an unrecognized item"),
        pytest.param(item(0x20, b"\3\0\0\0\x30\0\0\xff"), REJECTED, id="an item longer than the context"),
        pytest.param(context(3, CT, IMPLICIT) + context(3, CT, IMPLICIT), (CT, [IMPLICIT]), id="the same twice"),
        pytest.param(context(3, CT, IMPLICIT) + context(3, VERIFICATION, IMPLICIT), REJECTED, id="two of one number"),
    ],
)  # fmt: skip
def test_a_bad_context_is_answered_by_itself(bad: bytes, answered: tuple[str, list[str]]) -> None:
    assert proposals(APPLICATION, bad, CONTEXT, USER) == {**FINE, 3: answered}


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([USER, CONTEXT, APPLICATION], id="in another order"),
        pytest.param([item(0x77, b"x"), APPLICATION, item(0xFF, b""), CONTEXT, USER], id="unrecognized items"),
        pytest.param([APPLICATION, CONTEXT], id="no user information"),
        pytest.param([APPLICATION, CONTEXT, USER, item(0x50, item(0x55, b"VENDOR PACS IMPLEMENTATION 12.3"))],
                     id="a long implementation name"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x55, b"A\xff\n"))], id="a strange implementation name"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x52, b"no uid"))], id="a strange implementation class"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x53, b"\0\0\0\0"))], id="asynchronous operations"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x53, b"\0"))], id="half an operations window"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x54, b"\0\3") + item(0x54, b"\0\3abc\5\5"))],
                     id="bad roles"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x58, b"\2\1\0\3joe\0\2pw"))], id="credentials"),
        pytest.param([APPLICATION, CONTEXT, item(0x50, item(0x56, b"\0\0") + item(0x57, b"?"))], id="extended"),
    ],
)  # fmt: skip
def test_what_is_not_recognized_is_skipped(items: list[bytes]) -> None:
    assert proposals(*items) == FINE
    assert b"joe" not in read_request(request_pdu(*items)).pdu


@pytest.mark.parametrize(("raw", "name"), [(b"PACS\0", "PACS"), (b"V" * 40, "V" * 16), (b"\xff", ""), (b"\n", "")])
def test_implementation_names_are_cut(raw: bytes, name: str) -> None:
    pdu = read_request(request_pdu(APPLICATION, CONTEXT, item(0x50, item(0x55, raw)))).pdu
    assert (item(0x55, name.encode()) in pdu) == bool(name)
    assert (b"\x55\0" in pdu) == bool(name)


@pytest.mark.parametrize(
    "raw", [b"PACS".ljust(16), b"PACS".ljust(16, b"\0"), b"  PACS  \0\0\0\0\0\0\0\0", b"PACS\0 \0 \0".ljust(16)]
)
def test_padding_of_ae_titles_is_trimmed(raw: bytes) -> None:
    content = bytearray(request_pdu(APPLICATION, CONTEXT, USER))
    content[26:42] = raw
    request = read_request(bytes(content))
    assert request.calling_ae_title == "PACS"
    assert AccessRules("LUNGNODE").check_request(request, "::1") == Sender("PACS", "::1")


@pytest.mark.parametrize(
    "raw", [b"PACS\n", b"PACS\t", b"\tPACS", b"\rPACS", b"PA\0CS", b"PA\x1bCS", b"P\\CS", b"P\xc4CS", b"", b"\0\0"]
)
def test_a_title_with_other_characters_is_not_the_plain_one(raw: bytes) -> None:
    content = bytearray(request_pdu(APPLICATION, CONTEXT, USER))
    content[26:42] = raw.ljust(16)
    request = read_request(bytes(content))
    assert AccessRules("LUNGNODE").check_request(request, "::1") is Rejection.CALLING_AE_TITLE
    content[10:26], content[26:42] = b"LUNGNODE\n".ljust(16), b"PACS".ljust(16)
    assert AccessRules("LUNGNODE").check_request(read_request(bytes(content)), "::1") is Rejection.CALLED_AE_TITLE


def test_contexts_of_even_numbers_are_answered_as_rejected() -> None:
    request = read_request(request_pdu(APPLICATION, context(2, CT, IMPLICIT), CONTEXT, context(4, CT, IMPLICIT), USER))
    plain = A_ASSOCIATE_RQ()
    plain.decode(request.pdu)
    primitive = plain.to_primitive()
    primitive.presentation_context_definition_results_list = primitive.presentation_context_definition_list
    for one in primitive.presentation_context_definition_results_list:
        one.result, one.transfer_syntax = 0, [IMPLICIT]
    answer = add_results(A_ASSOCIATE_AC(primitive).encode(), request.more_results)
    assert struct.unpack_from(">L", answer, 2)[0] == len(answer) - 6
    results, offset = [], 74
    while offset < len(answer):
        kind, length = struct.unpack_from(">BxH", answer, offset)
        if kind == 0x21:
            results.append((answer[offset + 4], answer[offset + 6]))
        offset += 4 + length
    assert results == [(1, 0), (2, 2), (4, 2)]
    assert kind == 0x50


@given(st.lists(st.tuples(st.sampled_from([0x10, 0x20, 0x30, 0x40, 0x50, 0x77]), st.binary(max_size=60)), max_size=8))
def test_any_items_give_a_request_that_the_library_reads(items: list[tuple[int, bytes]]) -> None:
    try:
        request = read_request(request_pdu(APPLICATION, CONTEXT, *(item(kind, value) for kind, value in items)))
    except RequestError:
        return
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(request.pdu)
    assert pdu.encode() == request.pdu
