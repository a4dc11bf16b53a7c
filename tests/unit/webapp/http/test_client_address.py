"""The client's address is what the nearest trusted proxy says, and nothing that a client wrote itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from webapp.http.client_address import ClientAddressMiddleware, Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TRUSTED = tuple(map(ip_network, ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")))


def start_response(*_: object) -> Callable[[bytes], object]:
    """Refuse to answer: what is tested is the environment."""
    raise AssertionError


def client_of(
    peer: str, header: str = "x-forwarded-for", trusted: tuple[Network, ...] = TRUSTED, **fields: str
) -> tuple[str, list[str]]:
    """Address that the application gets, and the forwarding headers that it still sees."""
    got: dict[str, object] = {}

    def app(environ: WSGIEnvironment, _start_response: StartResponse) -> Iterable[bytes]:
        got.update(environ)
        return []

    environ: WSGIEnvironment = {"REMOTE_ADDR": peer, "HTTP_HOST": "a", **fields}
    ClientAddressMiddleware(app, trusted, header)(environ, start_response)
    return str(got["REMOTE_ADDR"]), [name for name in got if "FORWARDED" in name]


@pytest.mark.parametrize(
    ("peer", "value", "expected"),
    [
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("127.0.0.1", "6.6.6.6, 192.0.2.1,10.1.2.3 , 10.9.9.9", "192.0.2.1"),
        ("10.1.1.1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:127.0.0.1", "192.0.2.1:80", "192.0.2.1"),
        ("127.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1, nonsense", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1, nonsense, 10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "192.0.2.1,", "127.0.0.1"),
        ("127.0.0.1", "999.1.1.1", "127.0.0.1"),
        ("127.0.0.1", "192.0.2.1\r\nX: y", "127.0.0.1"),
        ("127.0.0.1", "x" * 100_000, "127.0.0.1"),
        ("127.0.0.1", ",".join(["10.0.0.1"] * 5000 + ["192.0.2.1"]), "192.0.2.1"),
        ("127.0.0.1", ",".join(["6.6.6.6"] + ["10.0.0.1"] * 5000), "10.0.0.1"),
        ("192.0.2.9", "192.0.2.1", "192.0.2.9"),
        ("fe80::1%eth0", "192.0.2.1", "fe80::1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_the_address_is_the_nearest_that_is_no_trusted_proxy(peer: str, value: str, expected: str) -> None:
    assert client_of(peer, HTTP_X_FORWARDED_FOR=value) == (expected, [])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ('For="[2001:db8::1]:4711";proto=https', "2001:db8::1"),
        ("for=6.6.6.6, for=192.0.2.1;by=10.0.0.1, for=10.0.0.2", "192.0.2.1"),
        ("for=192.0.2.1, for=unknown", "127.0.0.1"),
        ("for=192.0.2.1, for=_hidden", "127.0.0.1"),
        ("for=192.0.2.1, proto=https", "127.0.0.1"),
        ("", "127.0.0.1"),
        (";;;,,,===", "127.0.0.1"),
    ],
)
def test_forwarded_is_read_where_it_is_set(value: str, expected: str) -> None:
    assert client_of("127.0.0.1", "forwarded", HTTP_FORWARDED=value, HTTP_X_FORWARDED_FOR="6.6.6.6") == (expected, [])


def test_the_header_that_is_not_set_is_never_read() -> None:
    assert client_of("127.0.0.1", HTTP_FORWARDED="for=192.0.2.1", HTTP_X_FORWARDED_PROTO="https") == ("127.0.0.1", [])


def test_without_trusted_proxies_every_header_is_ignored() -> None:
    assert client_of("127.0.0.1", trusted=(), HTTP_X_FORWARDED_FOR="192.0.2.1") == ("127.0.0.1", [])
