"""Memory of the web process under hostile requests, and how long ``/livez`` takes meanwhile.

Usage: ``python -m benchmarks.hostile_uploads [--clients 4] [--attacks NAME,...]``. ``lungnode serve`` runs in a home
of its own on loopback, without sign-in. Each attack is sent by so many clients at the same time, each once, while
``/livez`` is asked every 50 ms: the statuses, the time until the last answer, the slowest ``/livez``, and the memory of
the web process and its children before and at most (``VmHWM``, which counts pages of mapped files as well).
"""

from __future__ import annotations

import collections
import io
import json
import os
import struct
import tempfile
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.measure import forget_peak, parser, report, usage
from benchmarks.serving import Service, running_service

BOUNDARY = "hostile"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Attack:
    """One request."""

    path: str
    content_type: str = ""
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


def form(content: bytes) -> bytes:
    """Put a file into a form as browsers send it."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def many_entries(count: int = 1_000_000) -> bytes:
    """Make a zip of one member and a directory that names it ``count`` times (47 bytes each)."""
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * count
    start, end = len(local), len(local) + len(directory)
    zip64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(directory), start, 0)
    return local + directory + zip64 + locator + tail


def large_member(size_mb: int = 1000, packed_mb: int = 6) -> bytes:
    """Make a zip of one member that inflates to ``size_mb``, just below the ratio that is refused."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("noise", os.urandom(packed_mb << 20), zipfile.ZIP_STORED)
        info = zipfile.ZipInfo("large.dcm")
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w") as member:
            member.write(_ct_header(size_mb << 20))
            for _ in range(size_mb):
                member.write(bytes(1 << 20))
    return stream.getvalue()


def _ct_header(pixel_bytes: int) -> bytes:
    """Write a CT image up to the values of its pixel data."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "CT"
    ds.PatientName, ds.PatientID = "Hostile", "1"
    stream = io.BytesIO()
    ds.file_meta = meta
    pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, pixel_bytes)


def large_png(side: int = 4096) -> bytes:
    """Make a grey PNG of ``side`` x ``side`` pixels that takes about 65 kB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + bytes([row % 251]) * side for row in range(side))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def _parts(count: int) -> bytes:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'.encode()
    return part * count + f"--{BOUNDARY}--\r\n".encode()


def _stow(count: int) -> bytes:
    part = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\nx\r\n".encode()
    return part * count + f"--{BOUNDARY}--\r\n".encode()


def attacks() -> dict[str, Callable[[], Attack]]:
    """Return every attack by its name; each is made when it is sent."""
    json_type = "application/json"
    uids = ",".join(f"1.2.{n}" for n in range(3000))
    review = "/api/v1/studies/1.2.3/findings"
    return {
        "zip of 1,000,000 entries": lambda: Attack("/predict", FORM, form(many_entries())),
        "zip member of 1000 MB": lambda: Attack("/predict", FORM, form(large_member())),
        "PNG of 4096 x 4096": lambda: Attack("/predict", FORM, form(large_png())),
        "JSON 30,000 deep": lambda: Attack(review, json_type, b"[" * 30_000 + b"]" * 30_000),
        "JSON number of 60,000 digits": lambda: Attack(review, json_type, b'{"row": ' + b"9" * 60_000 + b"}"),
        "form of 1,000,000 fields": lambda: Attack("/predict", FORM, _parts(1_000_000)),
        "STOW of 25,000 parts": lambda: Attack(
            "/dicom-web/studies", f'multipart/related; type="application/dicom"; boundary={BOUNDARY}', _stow(25_000)
        ),
        "QIDO with 3000 values": lambda: Attack(f"/dicom-web/studies?StudyInstanceUID={uids}"),
        "QIDO with 3000 fields": lambda: Attack("/dicom-web/studies?" + "&".join(f"a{n}=b" for n in range(3000))),
        "header of 30 kB": lambda: Attack("/worklist", headers=(("Accept-Language", "a;q=0.1," * 3500),)),
    }


def send(service: Service, attack: Attack) -> int:
    """Send one request; returns its status, 0 where the connection broke."""
    request = urllib.request.Request(f"http://127.0.0.1:{service.web_port}{attack.path}", data=attack.body)
    for name, value in (("Content-Type", attack.content_type), *attack.headers):
        if value:
            request.add_header(name, value)
    try:
        return service.send(request)[0]
    except OSError:
        return 0


def web_process(service: Service) -> int:
    """Return the process id of the web."""
    events = (json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{"))
    return next(int(event["pid"]) for event in events if (event["event"], event.get("kind")) == ("part:ready", "web"))


def run(service: Service, name: str, attack: Attack, clients: int) -> dict[str, object]:
    """Send one attack by so many clients at once; returns one row."""
    pid, has_ended = web_process(service), threading.Event()
    forget_peak(pid)
    before_mib, cpu_s = usage(pid).peak_mib, usage(pid).cpu_s

    def watch() -> float:
        slowest_s = 0.0
        while not has_ended.is_set():
            began = time.monotonic()
            service.get("/livez")
            slowest_s = max(slowest_s, time.monotonic() - began)
            has_ended.wait(_POLL_S)
        return slowest_s

    with ThreadPoolExecutor(clients + 1) as pool:
        watcher = pool.submit(watch)
        began = time.monotonic()
        statuses = collections.Counter(pool.map(lambda _: send(service, attack), range(clients)))
        took_s = time.monotonic() - began
        has_ended.set()
        slowest_s = watcher.result()
    return {
        "attack": name,
        "clients": clients,
        "statuses": " ".join(f"{status} x{count}" for status, count in sorted(statuses.items())),
        "all_s": took_s,
        "livez_s": slowest_s,
        "cpu_s": usage(pid).cpu_s - cpu_s,
        "before_mib": before_mib,
        "peak_mib": usage(pid).peak_mib,
    }


def main() -> None:
    """Send each attack in turn and report."""
    every = attacks()
    options = parser(__doc__ or "")
    options.add_argument("--clients", type=int, default=4)
    options.add_argument("--attacks", default=",".join(name.replace(",", "") for name in every))
    given = options.parse_args()
    chosen_names = given.attacks.split(",")
    chosen = {name: make for name, make in every.items() if name.replace(",", "") in chosen_names}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder), {"LUNGNODE_WEB__AUTH": "off"}) as service,
    ):
        rows = [run(service, name, make(), given.clients) for name, make in chosen.items()]
    report("hostile_uploads", rows, load=os.getloadavg())


if __name__ == "__main__":
    main()
