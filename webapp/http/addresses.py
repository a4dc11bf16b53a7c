"""Parsing of untrusted URLs and host names."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

NOWHERE = SplitResult("invalid", "invalid.", "", "", "")


def split(address: str) -> SplitResult:
    """Split a URL; an invalid one is replaced by ``NOWHERE``."""
    try:
        parts = urlsplit(address)
        _ = (parts.hostname, parts.port)  # these raise only on access
    except ValueError:
        return NOWHERE
    return parts


def host_of(header: str) -> str:
    """Return the lower-case host name of a Host header, without port."""
    return (split(f"//{header}").hostname or "").lower()


def is_loopback_name(host: str) -> bool:
    """Return whether a name is ``localhost`` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_path(target: str) -> bool:
    """Return whether a URL is a path of this site."""
    parts = split(target)
    leads_elsewhere = parts.scheme or parts.netloc or target.startswith(("//", "/\\")) or "\\" in target
    return target.startswith("/") and target.isprintable() and not leads_elsewhere
