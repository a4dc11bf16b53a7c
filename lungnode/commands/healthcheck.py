"""``python -m lungnode.commands.healthcheck [PART...]``: container health check, reported by exit status.

A part is up when its status file exists and its supervisor runs; the listener must also answer a C-ECHO under its own
AE title (with TLS: a handshake), the web server ``/livez``. Needs no sign-in.
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
    """Return whether this part has started, still runs and answers."""
    try:
        status = json.loads((run_folder / f"{part}.json").read_text(encoding="utf-8"))
        os.kill(int(status["supervisor_pid"]), 0)
        return "problem" not in status and (PROBES[part](status) if part in PROBES else True)
    except (OSError, ValueError, KeyError, URLError):
        return False


def _answers_echo(status: Mapping[str, Any]) -> bool:
    """Return whether the listener answers a C-ECHO; an open port alone proves nothing."""
    from dicom_node.client.peer import RemoteNode, ScuTimeouts, echo

    host = _host(status)
    if status.get("tls"):
        return _answers_handshake(host, status["port"])
    node = RemoteNode(status["ae_title"], host, status["port"])
    return not echo(node, status["ae_title"], ScuTimeouts(TIMEOUT_S, TIMEOUT_S, TIMEOUT_S))


def _answers_handshake(host: str, port: int) -> bool:
    """Return whether a TLS handshake is answered, be it with a refusal for the missing client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the identity does not matter here
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
        try:
            context.wrap_socket(connection).close()
        except ssl.SSLEOFError:
            return False
        except ssl.SSLError:
            return True
    return True


def _answers_livez(status: Mapping[str, Any]) -> bool:
    host = _host(status)
    address = f"http://{f'[{host}]' if ':' in host else host}:{status['port']}/livez"
    with build_opener(ProxyHandler({})).open(address, timeout=TIMEOUT_S) as response:
        return bool(response.status == 200)


def _host(status: Mapping[str, Any]) -> str:
    return REACHED.get(status["host"], status["host"])


PROBES: dict[str, Callable[[Mapping[str, Any]], bool]] = {"dicom": _answers_echo, "web": _answers_livez}


def main(parts: Sequence[str]) -> int:
    """Check the given parts, or all three, and print those that are down."""
    home = Path(os.environ.get("LUNGNODE_HOME", "var/lungnode")).expanduser()
    down = [part for part in parts or ("dicom", "worker", "web") if not is_up(home / "run", part)]
    for part in down:
        print(f"lungnode: {part} is not up", file=sys.stderr)
    return 1 if down else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
