"""Several processes at one port: balanced load and shares, also after one has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dicom_node.port.shared_socket import ACCEPT_DELAY_S, Port


@pytest.fixture
def ports() -> Iterator[list[Port]]:
    """Three processes at one port, all of them there."""
    first = Port.shared("127.0.0.1", 0, 3)
    ports = [first.of(number) for number in range(3)]
    for port in ports:
        port.publish_load(pending=0, associations=0)
    yield ports
    first.listening.close()


def test_shares_add_up_to_the_limit(ports: list[Port]) -> None:
    assert [port.share(32) for port in ports] == [11, 11, 10]
    assert [port.share(1) for port in ports] == [1, 1, 1], "every process has at least one"


def test_one_alone_takes_all_there_is() -> None:
    only_port = Port.shared("127.0.0.1", 0)
    only_port.publish_load(pending=200, associations=30)
    assert (only_port.share(32), only_port.may_accept(64)) == (32, 64)
    only_port.listening.close()


def test_who_has_fewest_accepts_as_many_as_it_has_fewer(ports: list[Port]) -> None:
    ports[0].publish_load(pending=1, associations=4)
    ports[1].publish_load(pending=3)
    assert ports[2].may_accept(64) == 4
    assert ports[2].may_accept(2) == 2


def test_who_has_more_leaves_it_to_the_others_but_not_for_long(ports: list[Port]) -> None:
    ports[0].publish_load(associations=5)
    began = time.monotonic()
    assert ports[0].may_accept(64) == 1
    assert time.monotonic() - began >= ACCEPT_DELAY_S


def test_no_process_waits_for_one_that_is_gone(ports: list[Port]) -> None:
    ports[0].publish_load(associations=5)
    ports[1].leave()
    ports[2].publish_load(associations=9)
    assert ports[0].may_accept(64) == 5
    ports[2].leave()
    assert ports[0].may_accept(64) == 64
