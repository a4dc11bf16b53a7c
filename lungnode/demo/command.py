"""``lungnode demo``: sends a study from a demo PACS through the service and prints the results."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_node.client.peer import NodeUnreachableError
from dicom_node.phantom.generate import make_phantom
from dicom_node.phantom.series import write_series
from dicom_node.phantom.spec import PhantomSpec
from dicom_node.phantom.writer import SeriesIdentity
from lungnode.demo.pacs import RehearsalPacs, Returned, StudyFile, push, study_files
from lungnode.demo.service import DemoService
from lungnode.errors import CommandError
from lungnode.processes.stop_request import is_stop_requested
from lungnode.settings.service import Settings

FINAL = frozenset({"analysed", "not_analysed", "failed"})
ANSWER_S = 900.0
RETURN_S = 180.0
POLL_S = 0.3
PHANTOM_NOTE = (
    "The study is a generated phantom, not a patient: it shows that the flow works. No accuracy is claimed on it."
)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """Parameters of a demo run."""

    phantom: PhantomSpec = field(default_factory=PhantomSpec)
    answer_s: float = ANSWER_S
    say: Callable[[str], None] = print


def run_demo(
    settings: Settings, study: Path | None = None, exit_after: bool = False, rehearsal: Rehearsal | None = None
) -> int:
    """Run the demo; return 0 only if a result came back.

    Parameters
    ----------
    settings
        Settings of the service; without HOME, a temporary folder is used and removed at the end.
    study
        Folder of DICOM files to send instead of the generated phantom.
    exit_after
        End after the result instead of at Ctrl-C.

    Raises
    ------
    CommandError
        No result came back.
    """
    plan = rehearsal or Rehearsal()
    with _home(settings) as home, RehearsalPacs() as pacs, DemoService(settings, home, pacs.port) as service:
        plan.say(
            f"Starting the service: pages {service.url}, DICOM {service.node.ae_title}@127.0.0.1:{service.node.port}"
        )
        files = _files(plan, study, home)
        service.wait_until_ready()
        answer = _rehearse(plan, service, pacs, files)
        for line in report(answer, pacs.returned(files[0].study_instance_uid)):
            plan.say(line)
        if study is None:
            plan.say(PHANTOM_NOTE)
        _print_pages(plan, service, files[0].study_instance_uid)
        if not exit_after:
            _stay_open(plan, service)
    return 0


@contextmanager
def _home(settings: Settings) -> Iterator[Path]:
    """Yield HOME if set, else a temporary folder that is removed unless the demo fails."""
    if "home" in settings.model_fields_set:
        yield settings.home
        return
    home = Path(tempfile.mkdtemp(prefix="lungnode-demo-"))
    try:
        yield home
    except CommandError as error:
        raise CommandError(f"{error} (files left in {home})") from None
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    shutil.rmtree(home, ignore_errors=True)


def _files(plan: Rehearsal, study: Path | None, home: Path) -> list[StudyFile]:
    """Return the files to send; the phantom is generated while the service starts."""
    if study is not None:
        return study_files(study)
    started = time.monotonic()
    now = datetime.now().astimezone()
    identity = SeriesIdentity(
        accession_number=f"DEMO{now:%H%M%S}",
        study_date=f"{now:%Y%m%d}",
        study_time=f"{now:%H%M%S}",
        study_description="CHEST CT (GENERATED PHANTOM)",
        uid_seed=now.isoformat(),
    )
    folder = home / "phantom" / f"{now:%Y%m%d%H%M%S%f}"
    write_series(make_phantom(plan.phantom), folder, identity)
    plan.say(f"Generated a chest CT of {plan.phantom.slices} slices in {time.monotonic() - started:.1f} s")
    return study_files(folder)


class _States:
    """Polls the state of a study in a thread; times count from the first C-STORE."""

    def __init__(self, service: DemoService, study_instance_uid: str) -> None:
        self._service = service
        self._path = f"/api/v1/studies/{study_instance_uid}"
        self._started = time.monotonic()
        self._stop = threading.Event()
        self.history: list[tuple[float, str]] = []
        self.answer: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._watch, name="demo-states", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(POLL_S):
            answer = self._service.get(self._path)
            if answer is None:
                continue
            state = str(answer.get("state"))
            if not self.history or self.history[-1][1] != state:
                self.history.append((time.monotonic() - self._started, state))
            self.answer = answer

    def wait(self, is_enough: Callable[[dict[str, Any]], bool], timeout_s: float) -> bool:
        """Wait for a condition on the study; return False on timeout."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.answer is not None and is_enough(self.answer):
                return True
            self._service.check_alive()
            time.sleep(POLL_S)
        return False

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _rehearse(plan: Rehearsal, service: DemoService, pacs: RehearsalPacs, files: list[StudyFile]) -> dict[str, Any]:
    """Send the study, wait for its results, and return the study's JSON from the API."""
    uid = files[0].study_instance_uid
    states = _States(service, uid)
    try:
        started = time.monotonic()
        push(service.node, files, _progress(len(files)))
        elapsed_s = time.monotonic() - started
        plan.say(f"Pushed {len(files)} images by C-STORE in {elapsed_s:.1f} s ({len(files) / elapsed_s:.0f} images/s)")
        if not states.wait(lambda answer: answer["state"] in FINAL, plan.answer_s):
            raise CommandError(f"no answer within {plan.answer_s:.0f} s; the service's log is {service.log_path}")
        _raise_unless_analysed(states.answer or {})
        has_returned = states.wait(lambda answer: _is_delivered(answer) and bool(pacs.returned(uid)), RETURN_S)
    except NodeUnreachableError as error:
        raise CommandError(f"the study could not be pushed: {error.reason}") from None
    finally:
        states.stop()
    plan.say("States: " + ", ".join(f"{state} at {at_s:.1f} s" for at_s, state in states.history))
    if not has_returned:
        raise CommandError("the study was analysed, but no result object came back to the PACS")
    return states.answer or {}


def _raise_unless_analysed(answer: dict[str, Any]) -> None:
    if answer.get("state") == "analysed":
        return
    reasons = "; ".join(reason["text"] for reason in answer.get("reasons", [])) or "no reason was given"
    raise CommandError(f"no result: the study is {str(answer.get('state')).replace('_', ' ')}: {reasons}")


def _is_delivered(answer: dict[str, Any]) -> bool:
    deliveries = answer.get("deliveries", [])
    return bool(deliveries) and all(delivery["status"] != "pending" for delivery in deliveries)


def _progress(total: int) -> Callable[[int], None]:
    """Return a progress callback that prints on terminals only."""
    if not sys.stdout.isatty():
        return lambda _number: None

    def show(number: int) -> None:
        end = "\n" if number == total else ""
        print(f"\r  C-STORE {number}/{total}", end=end, flush=True)

    return show


def report(answer: dict[str, Any], returned: list[Returned]) -> list[str]:
    """Format findings and returned objects as lines."""
    findings = answer.get("findings", [])
    lines = [f"Findings: {len(findings)}"]
    if findings:
        lines.append("   #  rated malignant                diameter      row   column     z [mm]")
    lines += [_finding_line(number, finding) for number, finding in enumerate(findings, start=1)]
    lines.append(f"Objects returned to the PACS: {len(returned)}")
    lines += [f"      {item.name} ({item.size_bytes / 1024:.0f} KiB)" for item in returned]
    lines += [
        f"      not delivered: {delivery['kind']} to {delivery['destination']}: {delivery['reason']}"
        for delivery in answer.get("deliveries", [])
        if delivery["status"] == "failed"
    ]
    return lines


def _finding_line(number: int, finding: dict[str, Any]) -> str:
    displayed, diameter = finding["displayed"] or "not given", finding["diameter_mm"]
    size = f"{diameter:.1f} mm" if diameter is not None else "-"
    position = f"{finding['row']:9.1f}{finding['column']:9.1f}{finding['position_mm'][2]:11.1f}"
    return f"  {number:2d}  {displayed:29s}  {size:>8s}{position}"


def _print_pages(plan: Rehearsal, service: DemoService, study_instance_uid: str) -> None:
    plan.say("Pages:")
    for path in ("/worklist", f"/studies/{study_instance_uid}", "/detector", "/model_status"):
        plan.say(f"      {service.url}{path}")


def _stay_open(plan: Rehearsal, service: DemoService) -> None:
    plan.say("Open until Ctrl-C.")
    try:
        while not is_stop_requested():
            service.check_alive()
            time.sleep(1)
    except KeyboardInterrupt:
        plan.say("Ending.")
