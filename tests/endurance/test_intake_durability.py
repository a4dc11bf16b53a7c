"""Success is sent only after everything is on the disk: seen by the system calls, by kill -9, and on a full disk."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import build_context

from benchmarks import kill_cycles
from dicom_node.client.scu_association import RequestingEntity
from tests.support.intake import CT, EXPLICIT, ct_dataset, listening, part10, running_node
from tests.support.records import instance_record

SERVER = """
import sys, threading
from pathlib import Path
from tests.support.intake import listening, running_node
with running_node(Path(sys.argv[1])) as node, listening(node) as listener:
    print(listener.port, flush=True)
    sys.stdin.read()
"""


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@contextmanager
def server(root: Path, folder: Path, *wrapper: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A listener in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [*wrapper, sys.executable, "-c", SERVER, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield process, int(line)
        finally:
            if process.poll() is None:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(30)


def push(port: int, numbers: range, *, rows: int = 64) -> dict[str, int]:
    """C-STORE some instances on one association; return the statuses."""
    ae = RequestingEntity("PACS")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    ae.requested_contexts = [build_context(CT, EXPLICIT)]
    statuses: dict[str, int] = {}
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return statuses
    association = ae.associate("127.0.0.1", port, ae_title="LUNGNODE")
    for number in numbers:
        if not association.is_established:
            break
        ds = ct_dataset(number, rows=rows)
        part10(ds)
        response = association.send_c_store(ds)
        if "Status" in response:
            statuses[str(ds.SOPInstanceUID)] = response.Status
    if association.is_established:
        association.release()
    return statuses


CALL = re.compile(r"^(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)$")


@pytest.mark.skipif(not can_trace(), reason="strace is not installed, or not allowed here")
def test_the_response_leaves_after_file_name_folder_and_index_are_synced(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    calls = "trace=fsync,fdatasync,rename,renameat,renameat2,sendto"
    with server(root, tmp_path, "strace", "-f", "-y", "-s", "64", "-e", calls, "-o", str(log)) as (_, port):
        assert set(push(port, range(3)).values()) == {0}

    steps: list[tuple[str, str]] = []
    for line in log.read_text().splitlines():
        if match := CALL.match(line):
            name, arguments = match["name"], match["arguments"]
            if name.startswith("rename") and ".part" in arguments:
                steps.append(("rename", match["thread"]))
            elif name == "sendto" and r'"\4\0' in arguments:
                steps.append(("response", match["thread"]))
            elif ".part>" in arguments:
                steps.append(("file", match["thread"]))
            elif re.search(r"/instances/[0-9a-f]{2}/[0-9a-f]{62}>", arguments):
                steps.append(("folder", match["thread"]))
            elif "index.db-wal>" in arguments and (not steps or steps[-1][0] != "index"):
                steps.append(("index", match["thread"]))
    order = [name for name, _ in steps]
    first = order.index("file")
    stored = steps[first : first + 15]  # closing the index syncs it once more
    assert [name for name, _ in stored] == ["file", "rename", "folder", "index", "response"] * 3
    assert len({thread for _, thread in stored}) == 1, "one thread does them one after the other"


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9() -> None:
    """At random moments and at named steps; ``python -m benchmarks.kill_cycles`` runs hundreds of them."""
    result = kill_cycles.run(cycles=6, associations=4, seed=20261125)

    assert result["acknowledged"]
    assert (result["lost"], result["damaged"], result["partial_files_after_restart"]) == (0, 0, 0)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount a small disk")
def test_a_full_disk_is_answered_with_a_failure_status_and_recovered_from(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        index = tmp_path / "index"
        index.mkdir()
        with running_node(index) as node:
            from dicom_node.intake.instance_intake import Intake
            from dicom_node.storage.instance_store import InstanceStore

            with InstanceStore(disk / "store") as store:
                node.intake.__dict__.update(Intake(store, node.database).__dict__)
                with listening(node) as listener:
                    filler = disk / "filler"
                    filler.write_bytes(bytes(2 << 20))
                    statuses = push(listener.port, range(45), rows=128)
                    full = [status for status in statuses.values() if status]
                    assert full
                    assert set(full) == {0xA700}
                    filler.unlink()
                    again = push(listener.port, range(45), rows=128)
                    assert set(again.values()) == {0}
                    for uid, status in statuses.items():
                        with node.database.read() as session:
                            record = instance_record(session, uid)
                        assert status or (record and (disk / "store" / record.path).exists())
                assert not list((disk / "store" / "incoming").rglob("*.part"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_locked_index_is_answered_with_a_failure_status_and_recovered_from(tmp_path: Path) -> None:
    import sqlite3

    with running_node(tmp_path, busy_timeout_s=0.2) as node, listening(node) as listener:
        other = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert set(push(listener.port, range(3)).values()) == {0xA700}
        other.execute("ROLLBACK")
        other.close()
        assert set(push(listener.port, range(3)).values()) == {0}
