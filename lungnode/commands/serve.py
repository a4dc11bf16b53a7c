"""``lungnode serve``: prepares HOME and the database, then runs the parts until SIGTERM or SIGINT."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

from lungnode.errors import CommandError
from lungnode.processes.parts import Address, PartName
from lungnode.processes.supervisor import Supervisor
from lungnode.settings.service import Settings

if TYPE_CHECKING:
    from dicom_node.jobs.analysis_process import MakeAnalyzer

_log = logging.getLogger(__name__)


def serve(settings: Settings, only: str | None = None, *, make_analyzer: MakeAnalyzer | None = None) -> int:
    """Run the service, or one part of it, until SIGTERM or SIGINT; prints one line when all parts are ready.

    Parameters
    ----------
    settings
        All settings.
    only
        ``dicom``, ``worker`` or ``web``.
    make_analyzer
        Loads the models; default: those of the settings.

    Raises
    ------
    LungnodeError
        The service cannot start.
    """
    from lungnode.commands.preflight import check_home, check_start
    from lungnode.wiring.models import analyzer_maker

    names = tuple(PartName) if only is None else (PartName(only),)
    check_home(settings)
    _make_folders(settings)
    with _claimed(settings, names):
        check_start(settings, names)
        _prepare(settings, names)
        try:
            Supervisor(
                settings,
                names,
                make_analyzer or analyzer_maker(settings),
                on_ready=lambda addresses: _announce(settings, addresses),
                on_change=lambda addresses: _note(settings, addresses),
            ).run()
        finally:
            _remove_status(settings, names)
            _audit(settings, "service:stopped", names)
    return 0


def run_folder(settings: Settings) -> Path:
    """Return the folder of the status files of a running service."""
    return settings.home / "run"


def _make_folders(settings: Settings) -> None:
    for folder in (run_folder(settings), settings.home / "scratch"):
        folder.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _claimed(settings: Settings, names: Sequence[PartName]) -> Iterator[None]:
    """Hold a lock for each part, so that it runs only once per HOME.

    Raises
    ------
    CommandError
        A part already runs in this HOME.
    """
    descriptors = []
    try:
        for name in names:
            path = run_folder(settings) / f"{name}.lock"
            descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            try:
                fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                text = f"{name} already runs in {settings.home}: stop it, or set LUNGNODE_HOME to another folder"
                raise CommandError(text) from None
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _prepare(settings: Settings, names: Sequence[PartName]) -> None:
    """Migrate the schema, remove leftovers of a killed service, and record the start in the audit log."""
    from db.engine.schema import upgrade

    if len(names) == len(PartName):
        for leftover in (settings.home / "scratch").iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    upgrade(settings.database_url)
    _audit(settings, "service:started", names)


def _audit(settings: Settings, action: str, names: Sequence[PartName]) -> None:
    """Append to the audit log; at the end an unavailable database is only logged."""
    from db.audit.trail import append
    from db.domain.audit import AuditEvent
    from db.domain.errors import DatabaseUnavailableError
    from lungnode.wiring.base import open_database

    details: dict[str, object] = {"version": package_version("lungnode"), "parts": [name.value for name in names]}
    database = open_database(settings)
    try:
        with database.begin() as session:
            append(session, AuditEvent(action, "system", details=details))
    except DatabaseUnavailableError:
        if action == "service:started":
            raise
        _log.warning("audit:unavailable", extra={"action": action})
    finally:
        database.dispose()


def _announce(settings: Settings, addresses: dict[PartName, Address]) -> None:
    """Write the status files and print the addresses as one line."""
    status = _note(settings, addresses)
    print(json.dumps(status) if settings.log.format == "json" else _sentence(addresses), flush=True)


def _note(settings: Settings, addresses: dict[PartName, Address]) -> dict[str, object]:
    """Write the status files to HOME/run, and return the status of the service."""
    web = addresses.get(PartName.WEB)
    if web is not None:
        web["url"] = f"http://{_host_in_url(str(web['host']))}:{web['port']}/"
    status: dict[str, object] = {"event": "ready", "pid": os.getpid()}
    status |= {name.value: address for name, address in addresses.items()}
    for name, address in addresses.items():
        _write_atomically(run_folder(settings) / f"{name}.json", {"supervisor_pid": os.getpid(), **address})
    if len(addresses) == len(PartName):
        _write_atomically(run_folder(settings) / "serve.json", status)
    return status


def _sentence(addresses: dict[PartName, Address]) -> str:
    parts = []
    if dicom := addresses.get(PartName.DICOM):
        parts.append(f"DICOM {dicom['ae_title']} on {dicom['host']}:{dicom['port']}")
    if web := addresses.get(PartName.WEB):
        parts.append(f"pages on {web['url']}")
    if PartName.WORKER in addresses:
        parts.append("worker: ready")
    return f"lungnode is ready (pid {os.getpid()}): " + ", ".join(parts)


def _host_in_url(host: str) -> str:
    """Return the host under which a browser on this machine reaches the server."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, never bound
    return f"[{reached}]" if ":" in reached else reached


def _write_atomically(path: Path, content: dict[str, object]) -> None:
    """Write a JSON file through a temporary name."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
    draft.replace(path)


def _remove_status(settings: Settings, names: Sequence[PartName]) -> None:
    for stem in (*names, "serve"):
        (run_folder(settings) / f"{stem}.json").unlink(missing_ok=True)
