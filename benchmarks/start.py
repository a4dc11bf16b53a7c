"""Time, CPU and memory until ``lungnode serve`` is ready, beside loading the same networks in torch alone.

``python -m benchmarks.start [--repeat 3] [--idle 5]``. The first row starts in an empty home, the second in the same
home again; the third loads the bundles in a bare Python process with torch and no engine. Memory is the proportional
set size (PSS) of all processes, so that what they share counts once. The first answer is that of ``POST /predict`` to
one picture, which has the web load its models.
"""

from __future__ import annotations

import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measure import descendants, parser, report, usage
from benchmarks.serving import Service, running_service

TORCH = "from inference.loading import load_models; load_models(None, 'cpu', 'torch-bfloat16')"


def pss_mib(pid: int) -> float:
    """Sum the proportional set sizes of a process and its descendants."""
    total_kib = 0
    for member in (pid, *descendants(pid)):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kib += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total_kib / 1024


def picture() -> bytes:
    """Encode a grey gradient as PNG; whether it is answered or refused does not matter here."""
    file = io.BytesIO()
    Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).save(file, "PNG")
    return file.getvalue()


def first_answer_s(service: Service) -> float:
    """Time the first upload."""
    boundary = "lungnode"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.web_port}/predict",
        data=head + picture() + f"\r\n--{boundary}--\r\n".encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    started = time.monotonic()
    status, _, body = service.send(request)
    assert status in {200, 422}, body
    return time.monotonic() - started


def start_service(folder: Path, idle_s: float) -> dict[str, float]:
    """Start the service in a folder, and read what that took."""
    started = time.monotonic()
    with running_service(folder, {"LUNGNODE_MODEL__CACHE": str(folder / "networks")}) as service:
        ready_s, cpu_s = time.monotonic() - started, usage(service.pid).cpu_s
        time.sleep(idle_s)
        idle_mib = pss_mib(service.pid)
        answer_s = first_answer_s(service)
    return {"ready_s": ready_s, "cpu_s": cpu_s, "idle_mib": idle_mib, "first_answer_s": ready_s + answer_s}


def load_in_torch(_folder: Path, _idle_s: float) -> dict[str, float]:
    """Load the same bundles in a process of their own."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", TORCH], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"ready_s": time.monotonic() - started, "cpu_s": cpu_s}


def main() -> None:
    """Measure in turns and report medians."""
    options = parser(__doc__ or "")
    options.add_argument("--idle", type=float, default=5.0, help="seconds from ready until memory is read")
    given = options.parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(given.repeat):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ways: dict[str, Callable[[Path, float], dict[str, float]]] = {
                "serve, empty home": start_service,
                "serve, again": start_service,
                "networks in torch": load_in_torch,
            }
            for way, start in ways.items():
                runs.setdefault(way, []).append(start(folder, given.idle))
    names = ("ready_s", "cpu_s", "idle_mib", "first_answer_s")
    rows: list[dict[str, object]] = [
        {"started": way, **{name: _median(samples, name) for name in names}} for way, samples in runs.items()
    ]
    report("start", rows)


def _median(samples: list[dict[str, float]], name: str) -> float | None:
    values = [run[name] for run in samples if name in run]
    return round(statistics.median(values), 2) if values else None


if __name__ == "__main__":
    main()
