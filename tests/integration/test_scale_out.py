"""Two listeners, three workers, two webs, killed at random with the database: nothing lost, one result each."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from db import audit
from tests.integration.postgres_server import PostgresMissingError
from tests.integration.scale_out import (
    SLICES,
    Cluster,
    cluster,
    kill_at_random,
    make_series,
    outcome,
    push,
    wait_for_results,
)

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(900)]
SERIES = 12
KILLS = 6


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Cluster]:
    try:
        with cluster(tmp_path / "hosts") as made:
            yield made
    except PostgresMissingError as error:
        pytest.skip(str(error))


def test_killed_at_random_nothing_is_lost_and_every_series_has_one_result(hosts: Cluster, tmp_path: Path) -> None:
    made = [make_series(tmp_path, number) for number in range(SERIES)]
    hosts.start(delay_s=0.3)
    killing = kill_at_random(hosts, KILLS, 20261125, threading.Event())
    pushed = push(made, [service.ports[0] for service in hosts.listeners])
    hosts.note(f"all acknowledged over {pushed.associations} associations")
    killing.join()
    wait_for_results(hosts, made)
    found = outcome(hosts, pushed, tmp_path)
    assert (found.lost, found.damaged) == (0, 0), "\n".join(hosts.log)
    assert found.current == [SLICES] * SERIES
    assert found.reports == SERIES
    assert audit.verify(hosts.workers[0].database).is_intact
    assert _worklist(hosts, 0) == _worklist(hosts, 1) != []


def _worklist(hosts: Cluster, number: int) -> list[tuple[str, str]]:
    """What one of the webs lists."""
    url = f"{hosts.webs[number].addresses['web']['url']}api/v1/worklist?limit=100"
    with urllib.request.urlopen(url, timeout=60) as response:
        items = json.load(response)["items"]
    return [(item["study_instance_uid"], item["state"]) for item in items]
