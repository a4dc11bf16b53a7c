"""``POST /predict`` under load: requests each second, how long they take, and what each costs.

Usage: ``python -m benchmarks.predict [--requests 60] [--concurrency 1,4,16] [--upload dicom|png]``. The whole service
runs as for ``benchmarks.service``; clients keep one connection each and send the same slice of a generated chest CT,
as a DICOM instance with its nodule pointed at or as a PNG in the lung window. ``classified`` counts the answers with a
class; the others are recorded abstentions, whose cost need not be that of an answer. The service takes 600 uploads a
minute from an address and has no setting for it, so more requests than that in all are not sent.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measure import parser, report, usage
from benchmarks.service import settings
from benchmarks.serving import Service, running_service
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import PhantomSpec

MAX_REQUESTS = 600
_LIMIT_S = 45.0
"""For each concurrency."""


def png_of(slice_hu: NDArray[np.int16]) -> bytes:
    """Draw a slice in the lung window (-600, 1500)."""
    grey = np.clip((slice_hu.astype(np.float32) + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def form_of(content: bytes, fields: dict[str, int]) -> requests.PreparedRequest:
    """Encode the upload once, so that its clients' own work costs little; the address is each service's."""
    asked = requests.Request(
        "POST",
        "http://127.0.0.1",
        data=fields,
        files={"image": ("slice", content)},
        headers={"Accept": "application/json"},
    )
    return asked.prepare()


def run(service: Service, form: requests.PreparedRequest, count: int, concurrency: int) -> dict[str, object]:
    """Send so many requests by so many clients at once; gives one row."""
    form.url = f"http://127.0.0.1:{service.web_port}/predict"
    took_ms: list[float] = []
    classes: list[str | None] = []
    left, lock, end = iter(range(count)), threading.Lock(), time.monotonic() + _LIMIT_S

    def client() -> None:
        with requests.Session() as session:
            while time.monotonic() < end:
                with lock:
                    if next(left, None) is None:
                        return
                began = time.perf_counter()
                answer = session.send(form, timeout=60)
                took = 1000 * (time.perf_counter() - began)
                if answer.status_code != 200:
                    raise SystemExit(f"/predict answered {answer.status_code}: {answer.text[:300]!r}")
                with lock:
                    took_ms.append(took)
                    classes.append(answer.json()["class"])

    cpu_s, began_s = usage(service.pid).cpu_s, time.perf_counter()
    with ThreadPoolExecutor(concurrency) as clients:
        for done in [clients.submit(client) for _ in range(concurrency)]:
            done.result()
    elapsed_s = time.perf_counter() - began_s
    after = usage(service.pid)
    return {
        "concurrency": concurrency,
        "requests": len(took_ms),
        "classified": sum(one is not None for one in classes),
        "requests_per_s": len(took_ms) / elapsed_s,
        "p50_ms": float(np.percentile(took_ms, 50)),
        "p95_ms": float(np.percentile(took_ms, 95)),
        "cpu_ms": 1000 * (after.cpu_s - cpu_s) / len(took_ms),
        "peak_mib": after.peak_mib,
    }


def main() -> None:
    """Measure each concurrency in turn, after requests that are not counted, and report."""
    options = parser(__doc__ or "")
    options.set_defaults(repeat=1)
    options.add_argument("--requests", type=int, default=60, help="in each run")
    options.add_argument("--concurrency", default="1,4,16", help="numbers of clients at once")
    options.add_argument("--upload", choices=("dicom", "png"), default="dicom")
    given = options.parse_args()
    levels = [int(level) for level in given.concurrency.split(",")] * given.repeat
    if len(levels) * given.requests + 2 > MAX_REQUESTS:
        raise SystemExit(f"the service takes {MAX_REQUESTS} uploads a minute from an address: ask for fewer requests")
    phantom = make_phantom(PhantomSpec(slices=40, slice_spacing_mm=7.5))
    with tempfile.TemporaryDirectory() as name, running_service(Path(name), settings()) as service:
        files = write_series(phantom, Path(name) / "series")
        at, row, column = (round(coordinate) for coordinate in phantom.nodules[0].index)
        if given.upload == "png":
            form = form_of(png_of(phantom.volume_hu[at]), {})
        else:
            form = form_of(files[at].read_bytes(), {"row": row, "column": column})
        run(service, form, 2, 1)
        rows = [run(service, form, given.requests, level) for level in levels]
    report("predict", rows, upload=given.upload, upload_bytes=len(form.body or b""), load=os.getloadavg())


if __name__ == "__main__":
    main()
