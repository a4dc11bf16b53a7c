"""Two listeners, three workers, two webs, killed at random with the database: nothing lost, one result each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.audit.verification import verify
from db.domain.analyses import AnalysisStatus
from db.engine import schema
from db.monitoring import workers
from tests.support.factories import CtSeries
from tests.support.postgres_server import PostgresMissingError
from tests.support.scale_out import (
    SLICES,
    Cluster,
    Push,
    cluster,
    kill_at_random,
    make_series,
    outcome,
    push,
    wait_for_results,
)
from tests.support.service import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(900)]
SERIES = 8
KILLS = 6


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Cluster]:
    try:
        with cluster(tmp_path / "hosts") as running:
            yield running
    except PostgresMissingError as error:
        pytest.skip(str(error))


def test_killed_at_random_nothing_is_lost_and_every_series_has_one_result(hosts: Cluster, tmp_path: Path) -> None:
    all_series = [make_series(tmp_path, number) for number in range(SERIES)]
    hosts.start(delay_s=0.3)
    killing = kill_at_random(hosts, KILLS, 20261125, threading.Event())
    pushed = push(all_series, [service.ports[0] for service in hosts.listeners])
    hosts.note(f"all acknowledged over {pushed.associations} associations")
    killing.join()
    wait_for_results(hosts, all_series)
    result = outcome(hosts, pushed, tmp_path)
    assert (result.lost, result.damaged) == (0, 0), "\n".join(hosts.log)
    assert result.current == [SLICES] * SERIES
    assert result.reports == SERIES
    assert verify(hosts.workers[0].database).is_intact
    assert _worklist(hosts, 0) == _worklist(hosts, 1) != []


def test_a_release_rolls_over_the_hosts_and_no_study_fails(hosts: Cluster, tmp_path: Path) -> None:
    """The migration first; then code of both releases side by side, the earlier one restarted on the later schema."""
    all_series = [make_series(tmp_path, number) for number in range(5)]
    later = next_release(tmp_path / "next")
    hosts.start(listeners=1, workers=1, webs=1, delay_s=0.2)
    acknowledged: dict[str, set[str]] = {}

    def send(*series: CtSeries) -> None:
        ports = [service.ports[0] for service in hosts.listeners]
        acknowledged.update(push(series, ports, associations=2).acknowledged)

    send(all_series[0])
    (old_listener,), (old_worker,) = hosts.listeners, hosts.workers
    with old_worker.database.read() as session:
        assert "worker-1" in workers.beats(session)  # before its first heartbeat: others know whose work to take over
    environment = {**os.environ, **old_worker.environment, "LUNGNODE_HOME": str(tmp_path / "admin")}
    environment |= {"LUNGNODE_DATABASE__URL": old_worker.url, "PYTHONPATH": str(later)}
    subprocess.run([sys.executable, "-m", "lungnode", "db", "upgrade"], env=environment, cwd=later, check=True)
    assert schema.current(old_worker.url) == NEXT_REVISION
    send(all_series[1])
    hosts.kill(old_worker)
    hosts.start(listeners=1, workers=1, webs=0, delay_s=0.2, root=later)
    send(all_series[2], all_series[3])
    for service in (old_listener, old_worker):
        service.stop()
    hosts.listeners.remove(old_listener)
    send(all_series[4])
    wait_for_results(hosts, all_series)
    result = outcome(hosts, Push(acknowledged), tmp_path)
    assert (result.lost, result.damaged, result.reports) == (0, 0, len(all_series))
    statuses = {one.status for series in all_series for one in hosts.webs[0].analyses(series.series_instance_uid)}
    assert AnalysisStatus.FAILED not in statuses


NEXT_REVISION = "next"
NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{NEXT_REVISION}", "{schema.head()}", None, None
def upgrade():
    op.add_column("studies", sa.Column("novelty", sa.Text(), nullable=True))
    op.create_table("novelties", sa.Column("id", sa.Integer(), primary_key=True))
def downgrade():
    raise NotImplementedError
"""


def next_release(folder: Path) -> Path:
    """The same code with one migration more, as the next release has."""
    folder.mkdir()
    for package in ("dicom_node", "inference", "lungnode", "tests", "webapp"):
        (folder / package).symlink_to(ROOT / package)
    shutil.copytree(ROOT / "db", folder / "db", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "db" / "migrations" / "versions" / "next.py").write_text(NEXT_MIGRATION)
    return folder


def _worklist(hosts: Cluster, number: int) -> list[tuple[str, str]]:
    """Studies that one of the webs lists."""
    url = f"{hosts.webs[number].addresses['web']['url']}api/v1/worklist?limit=100"
    with urllib.request.urlopen(url, timeout=60) as response:
        items = json.load(response)["items"]
    return [(item["study_instance_uid"], item["state"]) for item in items]
