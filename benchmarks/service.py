"""Seconds from a study's first byte to its result: the whole service, a generated chest CT pushed by C-STORE.

Usage: ``python -m benchmarks.service [--repeat N] [--slices 300] [--length 300] [--rows 512] [--pause S] [--shadow
BUNDLE]``. ``lungnode serve`` runs in a home of its own on loopback, without sign-in, with a quiet time of 2 s; each run
pushes a new study on one association as soon as the one before has its result, and so while that one's result objects
are made. ``quiet_s`` lasts from the last acknowledgement to the start of the analysis and ``analysis_s`` to its end, by
the service's own clock; ``whole_s`` ends when the API says ``analysed``, and ``objects_s`` when the last result object
is at the PACS. CPU is that of all processes of the service. Memory is the sum of what each process had at most, so
pages that processes share count in each. With a bundle in shadow (ADR 0021), whose digest is not the live one's, and a
pause of 12 s, its shadow run of one study goes on while the next one comes; ``shadow_runs`` counts those that are done.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom

from benchmarks.chest import add_size, chest_spec
from benchmarks.measure import forget_peak, parser, report, usage
from benchmarks.sender import send
from benchmarks.serving import AE_TITLE, Service, running_service
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import Phantom
from dicom_node.phantom.writer import SeriesIdentity
from lungnode.demo.pacs import AE_TITLE as PACS
from lungnode.demo.pacs import RehearsalPacs

QUIET_S = 2
_RESULT_S, _LIMIT_S, _POLL_S = 120.0, 100.0, 0.1
ENDS = frozenset({"analysed", "not_analysed", "failed"})


def settings(pacs_port: int | None = None, shadow: Path | None = None) -> dict[str, str]:
    """Return how the service is run; without a PACS results are not sent."""
    pacs = [] if pacs_port is None else [{"ae_title": PACS, "host": "127.0.0.1", "port": pacs_port}]
    return {
        "LUNGNODE_DICOM__QUIET_S": str(QUIET_S),
        "LUNGNODE_DICOM__DESTINATIONS": json.dumps(pacs),
        "LUNGNODE_WEB__AUTH": "off",
        "LUNGNODE_LOG__LEVEL": "info",
        **({"LUNGNODE_MODEL__SHADOW_BUNDLE": str(shadow)} if shadow else {}),
    }


def study_of(service: Service, study: str) -> dict[str, Any] | None:
    """Give what the API says of a study; None where it says nothing (yet)."""
    try:
        status, _, text = service.get(f"/api/v1/studies/{study}")
    except OSError:
        return None
    return dict(json.loads(text)) if status == 200 else None


def instances_of(phantom: Phantom, folder: Path, number: int) -> tuple[str, list[tuple[str, bytes]]]:
    """Encode a study of its own; gives its UID, and the UID and the dataset of each instance."""
    study, instances = "", []
    for path in write_series(phantom, folder, SeriesIdentity(uid_seed=f"benchmark {number}")):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        study = str(ds.StudyInstanceUID)
        start = 128 + 4 + 12 + int(ds.file_meta.FileMetaInformationGroupLength)
        instances.append((str(ds.SOPInstanceUID), path.read_bytes()[start:]))
    return study, instances


def run(service: Service, study: str, instances: list[tuple[str, bytes]]) -> tuple[float, dict[str, object]]:
    """Push one study and wait for its result; gives the moment of its first byte, and one row."""
    forget_peak(service.pid)
    cpu_s = usage(service.pid).cpu_s
    began = time.time()
    refused = [status for _, status in send(service.dicom_port, AE_TITLE, instances) if status]
    pushed = time.time()
    if refused:
        raise SystemExit(f"{len(refused)} instances were refused, the first with 0x{refused[0]:04X}")
    answer, peak_mib = _result(service, study)
    ended = time.time()
    analysis = answer["analyses"][0]
    started, finished = (datetime.fromisoformat(analysis[name]).timestamp() for name in ("started_at", "finished_at"))
    return began, {
        "slices": len(instances),
        "push_s": pushed - began,
        "quiet_s": started - pushed,
        "analysis_s": finished - started,
        "whole_s": ended - began,
        "objects_s": None,
        "cpu_s": usage(service.pid).cpu_s - cpu_s,
        "peak_mib": peak_mib,
    }


def _delivered(service: Service, study: str) -> float:
    """Wait until nothing of a study is left to be delivered; gives the moment of the last delivery."""
    end = time.monotonic() + _RESULT_S
    while time.monotonic() < end:
        deliveries = (study_of(service, study) or {}).get("deliveries")
        if deliveries and all(one["status"] == "sent" for one in deliveries):
            return max(datetime.fromisoformat(one["updated_at"]).timestamp() for one in deliveries)
        time.sleep(_POLL_S)
    raise SystemExit(f"not all result objects were delivered: {deliveries}")


def _result(service: Service, study: str) -> tuple[dict[str, Any], float]:
    """Wait until the study is analysed; gives it, and the most memory that was seen meanwhile."""
    end, peak_mib, answer = time.monotonic() + _RESULT_S, 0.0, None
    while time.monotonic() < end:
        answer = study_of(service, study)
        peak_mib = max(peak_mib, usage(service.pid).peak_mib)
        if answer is not None and answer["state"] in ENDS:
            break
        time.sleep(_POLL_S)
    if answer is None or answer["state"] != "analysed":
        raise SystemExit(f"no result: the study is {answer and (answer['state'], answer['reasons'])}")
    return answer, peak_mib


def main() -> None:
    """Push as many studies as asked for, one after the other, while there is time, and report each."""
    options = parser(__doc__ or "")
    add_size(options)
    options.add_argument("--pause", type=float, default=0.0, help="seconds between a result and the next study")
    options.add_argument("--shadow", type=Path, help="bundle that is run in shadow mode")
    given = options.parse_args()
    phantom = make_phantom(chest_spec(given.slices, given.length, given.rows))
    rows: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory() as name,
        RehearsalPacs() as pacs,
        running_service(Path(name), settings(pacs.port, given.shadow)) as service,
    ):
        began, pushed = time.monotonic(), []
        while len(rows) < given.repeat and time.monotonic() - began < _LIMIT_S:
            study, instances = instances_of(phantom, Path(name) / f"study{len(rows)}", len(rows))
            time.sleep(given.pause if rows else 0)
            first_byte, row = run(service, study, instances)
            pushed.append((study, first_byte))
            rows.append({"run": len(rows) + 1, **row, "shadow_runs": service.log.read_text().count("shadow:done")})
        for row, (study, first_byte) in zip(rows, pushed, strict=True):
            row["objects_s"] = _delivered(service, study) - first_byte
    report("service", rows, quiet_s=QUIET_S, load=os.getloadavg())


if __name__ == "__main__":
    main()
