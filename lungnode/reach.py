"""Whether something listens at an address; asked first, because pynetdicom leaves a failed connection's socket open."""

from __future__ import annotations

import socket


def listens(host: str, port: int, timeout_s: float) -> bool:
    """Tell whether a TCP connection can be opened."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True
