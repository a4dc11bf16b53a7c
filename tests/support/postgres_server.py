"""A private PostgreSQL that listens on a socket of its folder only, and that may be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import URL


class PostgresMissingError(Exception):
    """There is no PostgreSQL here, or it cannot be run; the message says which."""


class PostgresServer:
    """One server in a short folder (a socket's path has at most 107 characters) that its user can read."""

    def __init__(self, folder: Path, options: str = "") -> None:
        binaries = _binaries()
        self._prefix = _unprivileged_prefix()
        if self._prefix:
            shutil.chown(folder, "postgres", "postgres")
        self._folder, self._options = folder, options
        self._pg_ctl = [*self._prefix, str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w"]
        initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust"]
        _run([*self._prefix, *initdb, "-E", "UTF8", "--no-sync", "--locale=C.UTF-8"])

    @property
    def url(self) -> URL:
        """Its maintenance database."""
        query = {"host": str(self._folder)}
        return URL.create("postgresql+psycopg", username="postgres", database="postgres", query=query)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        sockets = f"-c listen_addresses='' -c unix_socket_directories={self._folder} {self._options}"
        _run([*self._pg_ctl, "-l", str(self._folder / "log"), "-o", sockets, "start"])

    def freeze(self) -> None:
        """SIGSTOP every process of it: its connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> list[int]:
        """Signal all its processes, the one that starts others first; gives their ids."""
        postmaster = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        signalled: list[int] = []
        for children in (False, True):
            for pid in self._children(postmaster) if children else [postmaster]:
                signalled.append(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        return signalled

    @staticmethod
    def _children(postmaster: int) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]

    def kill(self) -> None:
        """SIGKILL every process of it, as a host that fails does."""
        postmaster = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        killed = [postmaster, *self._children(postmaster)]
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while any(_is_running(pid) for pid in killed):
            time.sleep(0.01)
        # a dead process that was not waited for looks alive to the next server
        for lock in (self._folder / "data" / "postmaster.pid", *self._folder.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it, leaving its data as it is."""
        _run([*self._pg_ctl, "-m", "immediate", "stop"])


@contextmanager
def running_server(folder: Path, options: str = "") -> Iterator[PostgresServer]:
    """Run a server in a folder that goes with it.

    Raises
    ------
    PostgresMissingError
    """
    try:
        server = PostgresServer(folder, options)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _binaries() -> Path:
    if initdb := shutil.which("initdb"):
        return Path(initdb).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise PostgresMissingError("PostgreSQL is not installed: no initdb on the PATH or under /usr/lib/postgresql")
    return versions[-1].parent


def _unprivileged_prefix() -> list[str]:
    """PostgreSQL refuses to run as root: change to its own user."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise PostgresMissingError("PostgreSQL does not run as root and there is no user named postgres") from None
    if shutil.which("setpriv"):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
    if shutil.which("runuser"):
        return ["runuser", "-u", "postgres", "--"]
    raise PostgresMissingError("PostgreSQL does not run as root and neither setpriv nor runuser is there")


def _run(command: list[str]) -> None:
    """Not captured through pipes: the server would inherit them and hold them open."""
    with tempfile.TemporaryFile() as output:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", timeout=60, check=False
        )
        output.seek(0)
        assert status.returncode == 0, output.read().decode(errors="replace")
