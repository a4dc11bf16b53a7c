"""``python -m lungnode.commands.healthcheck [PART...]``: health check of containers, by exit status.

A part is up when it has announced itself and its supervisor lives; the listener when it answers a C-ECHO that calls
itself by its own AE title (by TLS: when it answers a handshake), pages when ``/livez`` answers. Needs no sign-in.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

TIMEOUT_S = 4.0
REACHED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, never bound


def is_up(run_folder: Path, part: str) -> bool:
    """Whether this part has announced itself, and is still there and answers."""
    try:
        told = json.loads((run_folder / f"{part}.json").read_text(encoding="utf-8"))
        os.kill(int(told["supervisor_pid"]), 0)
        return "problem" not in told and (ANSWERS[part](told) if part in ANSWERS else True)
    except (OSError, ValueError, KeyError, URLError):
        return False


def _echoes(told: Mapping[str, Any]) -> bool:
    """Whether the listener answers a C-ECHO; a stuck process would still have its connections accepted."""
    from dicom_node.client.peer import RemoteNode, ScuTimeouts, echo

    host = _host(told)
    if told.get("tls"):
        return _shakes_hands(host, told["port"])
    node = RemoteNode(told["ae_title"], host, told["port"])
    return not echo(node, told["ae_title"], ScuTimeouts(TIMEOUT_S, TIMEOUT_S, TIMEOUT_S))


def _shakes_hands(host: str, port: int) -> bool:
    """Whether somebody answers a handshake, if only to refuse who shows no certificate; a port alone proves nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # who it is does not matter here
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
        try:
            context.wrap_socket(connection).close()
        except ssl.SSLEOFError:
            return False
        except ssl.SSLError:
            return True
    return True


def _shows_pages(told: Mapping[str, Any]) -> bool:
    host = _host(told)
    address = f"http://{f'[{host}]' if ':' in host else host}:{told['port']}/livez"
    with build_opener(ProxyHandler({})).open(address, timeout=TIMEOUT_S) as answer:
        return bool(answer.status == 200)


def _host(told: Mapping[str, Any]) -> str:
    return REACHED.get(told["host"], told["host"])


ANSWERS: dict[str, Callable[[Mapping[str, Any]], bool]] = {"dicom": _echoes, "web": _shows_pages}


def main(parts: Sequence[str]) -> int:
    """Check the parts named, or all three; says which are not up."""
    home = Path(os.environ.get("LUNGNODE_HOME", "var/lungnode")).expanduser()
    down = [part for part in parts or ("dicom", "worker", "web") if not is_up(home / "run", part)]
    for part in down:
        print(f"lungnode: {part} is not up", file=sys.stderr)
    return 1 if down else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
