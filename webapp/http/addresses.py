"""Addresses that come with requests: parsed without ever failing."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

NOWHERE = SplitResult("invalid", "invalid.", "", "", "")


def split(address: str) -> SplitResult:
    """Split an address; one that cannot be split leads nowhere that is ours."""
    try:
        parts = urlsplit(address)
        _ = (parts.hostname, parts.port)  # these raise only when they are asked
    except ValueError:
        return NOWHERE
    return parts


def host_of(header: str) -> str:
    """Give the name in a Host header, lower case, without its port."""
    return (split(f"//{header}").hostname or "").lower()


def is_loopback_name(host: str) -> bool:
    """Whether a name can only mean this machine; other names may be made to point here."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_path(target: str) -> bool:
    """Whether an address is a path of this site and nothing else."""
    parts = split(target)
    leads_elsewhere = parts.scheme or parts.netloc or target.startswith(("//", "/\\")) or "\\" in target
    return target.startswith("/") and target.isprintable() and not leads_elsewhere
