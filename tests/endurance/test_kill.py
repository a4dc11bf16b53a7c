"""Killed with -9 at any moment, nothing that was acknowledged is lost, and every series gets one current analysis."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db.audit.verification import verify
from db.domain.analyses import AnalysisStatus
from db.domain.studies import StudyState
from dicom_node.phantom.writer import SeriesIdentity
from tests.support.factories import CtSeries, ct_series
from tests.support.service import Sender, Service, until

CYCLES = 3

pytestmark = pytest.mark.timeout(900)  # many processes start here; a busy machine takes its time


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[Service]:
    service = Service(tmp_path / "home", database_url=database_url, delay_s=0.3)
    yield service
    service.close()


@pytest.fixture
def make_series(tmp_path: Path) -> Callable[[int], CtSeries]:
    def make(number: int) -> CtSeries:
        identity = SeriesIdentity(patient_id=f"P{number}", uid_seed=f"kill {number}")
        folder = tmp_path / f"series-{number}"
        return ct_series(folder, n=24, rows=64, spacing_mm=(2.5, 0.7, 0.7), identity=identity, seed=number)

    return make


def test_nothing_acknowledged_is_lost_and_every_series_is_analysed_once(
    service: Service, make_series: Callable[[int], CtSeries]
) -> None:
    """Two senders push one series each while the tree is killed; after a restart they push again, as a PACS does."""
    rng = random.Random(20260302)
    pushed: dict[str, tuple[CtSeries, set[str]]] = {}
    for cycle in range(CYCLES):
        port = service.start()["dicom"]["port"]
        chosen = [make_series(2 * cycle + k) for k in range(2)]
        senders = [Sender(port) for _ in chosen]
        threads = [
            threading.Thread(target=sender.send, args=(series.paths,))
            for sender, series in zip(senders, chosen, strict=True)
        ]
        for thread in threads:
            thread.start()
        threading.Event().wait(rng.uniform(0.05, 1.2))
        service.kill()
        for thread in threads:
            thread.join()
        for sender, series in zip(senders, chosen, strict=True):
            pushed[series.series_instance_uid] = (series, sender.acknowledged)
    port = service.start()["dicom"]["port"]
    for uid, (_, acknowledged) in pushed.items():
        stored = {instance.sop_instance_uid for instance in service.instances(uid)}
        assert acknowledged <= stored, f"lost {len(acknowledged - stored)}"
        assert service.damaged(uid) == []
    for series, _ in pushed.values():
        sender = Sender(port)
        sender.send(series.paths)
        assert len(sender.acknowledged) == 24
    for uid in pushed:
        until(lambda uid=uid: current_of(service, uid), lambda covered: covered == [24], 120)  # type: ignore[misc]
        assert len(service.instances(uid)) == 24
    assert verify(service.database).is_intact


def current_of(service: Service, uid: str) -> list[int]:
    """Number of instances that each current analysis covers."""
    return [a.instance_count for a in service.analyses(uid) if a.status is AnalysisStatus.CURRENT]


def test_killed_during_analysis_it_is_finished_once(service: Service, make_series: Callable[[int], CtSeries]) -> None:
    service.delay_s = 3600
    series = make_series(1)
    Sender(service.start()["dicom"]["port"]).send(series.paths)
    for calls in range(1, CYCLES + 1):
        until(lambda: len(list(service.calls.glob("*"))), lambda call_count, least=calls: call_count >= least)  # type: ignore[misc]
        service.kill()
        service.delay_s = 0.0 if calls == CYCLES else 3600
        service.start()
    assert service.wait_finished(series.series_instance_uid).state is StudyState.ANALYSED
    analyses = service.analyses(series.series_instance_uid)
    assert [analysis.status for analysis in analyses] == [AnalysisStatus.CURRENT]
    assert analyses[0].attempts == CYCLES + 1
    assert len(analyses[0].measures) > 0
    assert verify(service.database).is_intact
