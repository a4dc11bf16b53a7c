"""Effect of hostile peers on the DICOM port during stores: the table of probes, and the certificates that TLS accepts.

Usage: ``python -m benchmarks.hostile_peers [--counts 1,50,200] [--stores 5] [--timeout 8] [--watch 30]``. The port is
the service's own (``lungnode serve --only dicom``), once plain and once by TLS with mutual authentication, a revocation
list, and AE titles that are bound to their certificate. Each probe holds so many connections open while slices are
stored, each on an association of its own: how many were, the slowest of them, how much more memory the service had at
once, and, with the last of the counts, after how long it had closed all connections of the probe (empty: not within
``--watch`` seconds). Then every certificate is tried with every protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.authority import CLIENTS, write_certificates
from benchmarks.measure import end_process, forget_peak, parser, report, table, usage
from benchmarks.receive import encoded_slice
from benchmarks.receivers import AE_TITLE, free_port, wait_until_it_listens
from benchmarks.sender import BrokenOffError, associate_rq, connect, send

TITLE = AE_TITLE
REQUEST = associate_rq(TITLE, "HOSTILE")
HUGE = struct.pack(">BBL", 4, 0, 0xFFFFFFFF)
HUGE_SENT_MIB = 64
PATIENCE_S = 20.0
"""Longer than anyone who stores a slice waits."""

TLS_FILES = {
    "CERTIFICATE": "node.crt",
    "KEY": "node.key",
    "AUTHORITY": "authority.crt",
    "REVOCATIONS": "revoked.pem",
}

Talk = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Port:
    """The port under test; ``good`` is the context of who may get in, None without TLS."""

    number: int
    process_id: int
    good: ssl.SSLContext | None


def _nothing(_: socket.socket) -> None:
    pass


def _saying(words: bytes) -> Talk:
    return lambda connection: connection.sendall(words)


def _associated(then: bytes = b"") -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(REQUEST)
        connection.recv(4096)
        connection.sendall(then)

    return talk


def _dripping(connection: socket.socket) -> None:
    """Say the request a byte a second, from a thread that ends with the connection."""

    def drip() -> None:
        with contextlib.suppress(OSError, ValueError):
            for byte in REQUEST:
                connection.send(bytes([byte]))
                time.sleep(1)

    threading.Thread(target=drip, daemon=True).start()


def _flooding(connection: socket.socket) -> None:
    connection.sendall(HUGE)
    with contextlib.suppress(OSError):
        for _ in range(HUGE_SENT_MIB):
            connection.sendall(bytes(1 << 20))


PROBES: dict[str, Talk] = {
    "silence": _nothing,
    "3 bytes of a PDU": _saying(REQUEST[:3]),
    "a request without its last byte": _saying(REQUEST[:-1]),
    "a byte a second": _dripping,
    "idle association": _associated(),
    "half a PDU in an association": _associated(b"\4\0\0\0"),
    "a PDU of 4 GiB": _flooding,
    "garbage": lambda connection: connection.sendall(secrets.token_bytes(300)),
    "HTTP": _saying(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
}


@contextlib.contextmanager
def running(folder: Path, certificates: Path | None, timeout_s: float) -> Iterator[Port]:
    """Run the service's listener alone."""
    home, number = folder / ("tls" if certificates else "plain"), free_port()
    settings = {
        "HOME": str(home),
        "DICOM__AE_TITLE": TITLE,
        "DICOM__PORT": str(number),
        "DICOM__TIMEOUT_S": str(timeout_s),
    }
    good = None
    if certificates is not None:
        settings |= {f"DICOM__TLS__{name}": str(certificates / file) for name, file in TLS_FILES.items()}
        good = context_of(certificates, "good")
        settings["DICOM__PEERS"] = json.dumps(
            [{"ae_title": title, "certificate_names": ["CN:good"]} for title in ("HOSTILE", "BENCHSCU")]
        )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUNGNODE_")}
    environment |= {f"LUNGNODE_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "lungnode", "serve", "--only", "dicom"]
    with (folder / f"{home.name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_until_it_listens(process, number)
            yield Port(number, process.pid, good)
        finally:
            end_process(process, 15)


def context_of(certificates: Path, client: str) -> ssl.SSLContext:
    """A client's side, as weak as OpenSSL lets it be, so that it is the port that refuses."""
    context = ssl.create_default_context(cafile=str(certificates / "authority.crt"))
    if client != "none":
        context.load_cert_chain(certificates / f"{client}.crt", certificates / f"{client}.key")
    return context


def probe(port: Port, name: str, count: int, stores: int, watch_s: float) -> dict[str, object]:
    """Hold connections of a probe while slices are stored."""
    forget_peak(port.process_id)
    before = usage(port.process_id).peak_mib
    held = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            connection = connect(port.number, PATIENCE_S, None if name == "silence" else port.good)
            held.append(connection)
            PROBES[name](connection)
    began = time.monotonic()
    times = [seconds for _ in range(stores) if (seconds := store_s(port)) is not None]
    freed_s = closed_after(held, began, watch_s) if watch_s else None
    for connection in held:
        connection.close()
    return {
        "probe": name,
        "tls": "yes" if port.good else "no",
        "connections": count,
        "stored": f"{len(times)}/{stores}",
        "slowest_s": round(max(times, default=float("nan")), 3),
        "more_mib": round(usage(port.process_id).peak_mib - before, 1),
        "freed_s": freed_s,
    }


def store_s(port: Port) -> float | None:
    """Store one slice on an association of its own; seconds, or None where that failed."""
    uid = f"2.25.{secrets.randbits(96)}"
    content = encoded_slice(f"{uid}.1", f"{uid}.2", uid, 1)
    began = time.monotonic()
    try:
        answers = list(send(port.number, TITLE, [(uid, content)], timeout_s=PATIENCE_S, tls=port.good))
    except BrokenOffError:
        return None
    return time.monotonic() - began if answers == [(uid, 0)] else None


def closed_after(held: list[socket.socket], began: float, within_s: float) -> float | None:
    """Seconds until the port had closed every connection; None where it did not in time."""
    left = list(held)
    while left:
        left = [connection for connection in left if not _is_closed(connection)]
        if time.monotonic() - began > within_s:
            return None
        time.sleep(0.05)
    return round(time.monotonic() - began, 1)


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    except (OSError, ValueError):
        return True
    return True


PROTOCOLS: dict[str, tuple[ssl.TLSVersion, str]] = {
    "TLS 1.0": (ssl.TLSVersion.TLSv1, "ALL"),
    "TLS 1.1": (ssl.TLSVersion.TLSv1_1, "ALL"),
    "TLS 1.2": (ssl.TLSVersion.TLSv1_2, "DEFAULT"),
    "TLS 1.3": (ssl.TLSVersion.TLSv1_3, "DEFAULT"),
    "NULL": (ssl.TLSVersion.TLSv1_2, "eNULL"),
    "CBC-SHA": (ssl.TLSVersion.TLSv1_2, "AES128-SHA:ECDHE-ECDSA-AES128-SHA"),
    "3DES": (ssl.TLSVersion.TLSv1_2, "3DES"),
}
"""Name: newest version that the client offers, and its ciphers."""


def admitted(port: Port, certificates: Path, client: str, protocol: str) -> str:
    """Return "in" if an association request is answered, else "out"; "-" if this OpenSSL lacks the protocol."""
    version, ciphers = PROTOCOLS[protocol]
    context = context_of(certificates, client)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.maximum_version = version
        context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    except ssl.SSLError:
        return "-"
    try:
        with connect(port.number, PATIENCE_S, context) as connection:
            connection.sendall(REQUEST)
            return "in" if connection.recv(10)[:1] == b"\2" else "out"
    except OSError:
        return "out"


def plainly(port: Port) -> str:
    """Return "in" if a request without TLS is answered as an association request, else "out"."""
    try:
        with connect(port.number, PATIENCE_S) as connection:
            connection.sendall(REQUEST)
            return "in" if connection.recv(10)[:1] == b"\2" else "out"
    except OSError:
        return "out"


def main() -> None:
    """Try everything and print both tables."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--counts", default="1,50,200", help="connections at once, comma-separated")
    arguments.add_argument("--stores", type=int, default=5, help="slices stored during each probe")
    arguments.add_argument("--timeout", type=float, default=8.0, help="LUNGNODE_DICOM__TIMEOUT_S of the port")
    arguments.add_argument("--watch", type=float, default=30.0, help="seconds to wait until all connections are closed")
    given = arguments.parse_args()
    counts = [int(text) for text in given.counts.split(",")]
    rows: list[dict[str, object]] = []
    matrix: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificates = folder / "certificates"
        certificates.mkdir()
        write_certificates(certificates)
        for files in (None, certificates):
            with running(folder, files, given.timeout) as port:
                store_s(port)  # the first one pays for what is loaded late
                for probing in PROBES:
                    for count in counts:
                        watch_s = given.watch if count == counts[-1] else 0.0
                        rows.append(probe(port, probing, count, given.stores, watch_s))
                        print(table([rows[-1]]).splitlines()[1], file=sys.stderr, flush=True)
                if files is not None:
                    for client in CLIENTS:
                        outcomes = {protocol: admitted(port, files, client, protocol) for protocol in PROTOCOLS}
                        matrix.append({"certificate": client, **outcomes, "plain": plainly(port)})
    print(table(matrix), file=sys.stderr)
    report("hostile_peers", rows, certificates=matrix)


if __name__ == "__main__":
    main()
