"""Client address behind trusted proxies, for rate limits, sign-in delays and audit events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from werkzeug.http import parse_dict_header

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOPS = 20
"""Most hops that are read, from the nearest."""
X_FORWARDED_FOR, FORWARDED = "x-forwarded-for", "forwarded"
_VARIABLES = {X_FORWARDED_FOR: "HTTP_X_FORWARDED_FOR", FORWARDED: "HTTP_FORWARDED"}
_HOPS: Mapping[str, Callable[[str], Iterable[str]]]


class ClientAddressMiddleware:
    """WSGI middleware that sets ``REMOTE_ADDR`` to the client's address and removes forwarding headers.

    Parameters
    ----------
    app
        The application.
    trusted
        Networks of the proxies; without any the peer is the client.
    header
        The header that they append to, ``x-forwarded-for`` or ``forwarded`` (RFC 7239). The other one is ignored: a
        client could send it through a proxy that does not handle it.
    """

    def __init__(self, app: WSGIApplication, trusted: tuple[Network, ...], header: str = X_FORWARDED_FOR) -> None:
        self._app, self._trusted, self._header = app, trusted, header

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle the request."""
        value = str(environ.get(_VARIABLES[self._header], ""))
        environ["REMOTE_ADDR"] = client_address(
            str(environ.get("REMOTE_ADDR", "")), _HOPS[self._header](value), self._trusted
        )
        for name in [name for name in environ if name.startswith(("HTTP_X_FORWARDED", "HTTP_FORWARDED"))]:
            del environ[name]
        return self._app(environ, start_response)


def client_address(peer: str, hops: Iterable[str], trusted: tuple[Network, ...]) -> str:
    """Return the nearest address that is not a trusted proxy; a malformed hop ends the search before it.

    Parameters
    ----------
    peer
        Address of the other end of the connection.
    hops
        Addresses in the order of the header, the client's first.
    trusted
        Networks of the proxies.
    """
    nearest = parsed_address(peer)
    if nearest is None:
        return peer
    for hop in list(hops)[: -MAX_HOPS - 1 : -1]:
        if not is_trusted(nearest, trusted):
            break
        address = parsed_address(hop)
        if address is None:
            break
        nearest = address
    return str(nearest)


def is_trusted(address: Address, trusted: tuple[Network, ...]) -> bool:
    """Return whether an address is in one of the networks."""
    return any(address.version == network.version and address in network for network in trusted)


def parsed_address(text: str) -> Address | None:
    """Parse an address with optional port or brackets; None for anything else (RFC 7239, 6)."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))  # without a zone
    return address


def _x_forwarded_for(value: str) -> list[str]:
    return value.split(",") if value else []


def _forwarded(value: str) -> list[str]:
    """Return ``for`` of each element, empty if missing."""
    return [str(_pairs(element).get("for") or "") for element in value.split(",")] if value else []


def _pairs(element: str) -> dict[str, Any]:
    return {name.lower(): text for name, text in parse_dict_header(element.replace(";", ",")).items()}


_HOPS = {X_FORWARDED_FOR: _x_forwarded_for, FORWARDED: _forwarded}
