"""A8: the database freezes, ends, or is locked while senders push: no false success, and full recovery.

``-s`` shows the observations: how long senders waited, their statuses, and when the service took instances again.
"""

from __future__ import annotations

import contextlib
import http.client
import secrets
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select, text

from benchmarks.receive import encoded_slice
from benchmarks.sender import BrokenOffError, send
from db.database import Database
from db.domain.errors import DatabaseUnavailableError
from db.domain.studies import StudyState
from db.engine.server_probe import AGAIN_S, ANSWER_S, PATIENCE_S
from db.tables.studies import InstanceRow, SeriesRow
from tests.support.factories import CtSeries
from tests.support.postgres_server import PostgresMissingError, PostgresServer, running_server
from tests.support.scale_out import make_series
from tests.support.service import Sender as StudySender
from tests.support.service import Service, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OUTAGE_S = 20.0
LOCKED_S = 30.0
SENDERS = 4
ANYHOW_S = 60.0
"""Longest that anyone here waits for an answer."""
SENDER_WAITS_S = 20.0
"""Longest that a sender may have to wait; PACS give up after 30 s or more."""
RECOVERY_S = 10.0
PATHS = "/livez", "/readyz", "/api/v1/worklist"


@dataclass
class Observations:
    """Observations of senders and a browser, with the times of request and answer."""

    stores: list[tuple[float, float, str, int]] = field(default_factory=list)
    """Asked at, answered at, SOP Instance UID, status; -1 where the association broke off."""
    pages: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)
    """By path: asked at, answered at, HTTP status; 0 for none."""

    def acknowledged(self) -> set[str]:
        return {uid for _, _, uid, status in self.stores if status == 0}

    def first_success_after(self, moment: float) -> float:
        return min((end for start, end, _, status in self.stores if status == 0 and start > moment), default=0.0)

    def first_answer_after(self, path: str, moment: float) -> float:
        return min((end for start, end, status in self.pages[path] if status == 200 and start > moment), default=0.0)

    def has_recovered(self, moment: float) -> bool:
        """Return True if every sender and page was served since then."""
        return bool(self.first_success_after(moment)) and all(self.first_answer_after(path, moment) for path in PATHS)


@contextmanager
def pushing(service: Service, observed: Observations) -> Iterator[None]:
    """Store slices and ask for pages, each in a thread of its own, until the block ends."""
    stop = threading.Event()
    port, web = int(service.addresses["dicom"]["port"]), int(service.addresses["web"]["port"])
    talks = [threading.Thread(target=_push, args=(port, stop, observed)) for _ in range(SENDERS)]
    talks += [
        threading.Thread(target=_ask, args=(web, path, stop, observed.pages.setdefault(path, []))) for path in PATHS
    ]
    for talk in talks:
        talk.start()
    try:
        yield
    finally:
        stop.set()
        for talk in talks:
            talk.join()


def _push(port: int, stop: threading.Event, observed: Observations) -> None:
    """Push small series, an association each, on and on."""
    while not stop.is_set():
        uid = f"2.25.{secrets.randbits(96)}"
        names = [f"{uid}.1.{number}" for number in range(1, 4)]
        slices = ((name, encoded_slice(uid, f"{uid}.1", name, number, 64)) for number, name in enumerate(names))
        asked = time.monotonic()
        answered = 0
        with contextlib.suppress(BrokenOffError):
            for name, status in send(port, "LUNGNODE", slices, calling="PACS", timeout_s=ANYHOW_S):
                observed.stores.append((asked, time.monotonic(), name, status))
                answered, asked = answered + 1, time.monotonic()
        if answered < len(names):
            observed.stores.append((asked, time.monotonic(), "", -1))
        stop.wait(1.0)


def _ask(port: int, path: str, stop: threading.Event, answers: list[tuple[float, float, int]]) -> None:
    while not stop.is_set():
        asked, status = time.monotonic(), 0
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANYHOW_S)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            answer = connection.getresponse()
            said = answer.read()
            status = answer.status
            assert b"Traceback" not in said
        connection.close()
        answers.append((asked, time.monotonic(), status))
        stop.wait(0.2)


def summary(observed: Observations, gone: float, back: float) -> dict[str, object]:
    """Sum up what was seen between two moments."""
    during = [one for one in observed.stores if one[1] > gone and one[0] < back]
    return {
        "statuses": {f"0x{status & 0xFFFF:04X}": n for status, n in Counter(one[3] for one in during).items()},
        "longest_store_s": round(max((end - start for start, end, _, _ in during), default=0), 1),
        "recovered_s": round(observed.first_success_after(back) - back, 2),
        "ready_s": round(observed.first_answer_after("/readyz", back) - back, 2),
        **{
            path: (
                dict(Counter(status for start, end, status in answers if end > gone and start < back)),
                f"{max((end - start for start, end, _ in answers), default=0):.1f} s",
            )
            for path, answers in observed.pages.items()
        },
    }


def check(service: Service, observed: Observations, gone: float, back: float, waits_s: float) -> None:
    print(summary(observed, gone, back))
    statuses = {status for _, _, _, status in observed.stores}
    assert 0 in statuses
    assert all(status == 0 or status >> 8 in (0xA7, 0xC2) for status in statuses), statuses
    assert max(end - start for start, end, _, _ in observed.stores) < waits_s
    late = [one for one in observed.stores if one[0] > gone + 1 and one[1] < back - 0.5]
    assert all(status != 0 for _, _, _, status in late)
    assert 0 < observed.first_success_after(back) - back < RECOVERY_S
    lives, readies, lists = (observed.pages[path] for path in PATHS)
    assert {status for _, _, status in lives} == {200}
    assert max(end - start for start, end, _ in lives) < 10
    amid = [status for start, end, status in readies if start > gone + 1 and end < back]
    assert amid
    assert set(amid) == {503}
    assert {status for _, _, status in readies} == {200, 503}
    assert {status for _, _, status in lists} <= {200, 503}
    assert all(0 < observed.first_answer_after(path, back) - back < RECOVERY_S for path in PATHS)
    assert "Traceback" not in service.log.read_text()
    saved = stored(service)
    assert observed.acknowledged() <= set(saved)
    damaged = {uid for series in set(saved.values()) for uid in service.damaged(series)}
    assert not damaged


def stored(service: Service) -> dict[str, str]:
    """SOP Instance UIDs that are in the records, each with its series'."""
    expected = select(InstanceRow.sop_instance_uid, SeriesRow.series_instance_uid).join(
        SeriesRow, SeriesRow.id == InstanceRow.series_id
    )
    with service.database.read() as session:
        return dict(session.execute(expected).all())


def analyses_go_on(service: Service, series: CtSeries) -> None:
    """The worker has come back too."""
    sender = StudySender(int(service.addresses["dicom"]["port"]))
    sender.send(series.paths)
    assert len(sender.acknowledged) == len(series.paths)
    assert service.wait_finished(series.series_instance_uid, 120).state is StudyState.ANALYSED


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of this test alone."""
    try:
        with running_server(Path(tempfile.mkdtemp(prefix="lnpg"))) as server:
            yield server
    except PostgresMissingError as error:
        pytest.skip(str(error))


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stopped in the midst of everything, with every connection open."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """Gone, and started again."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@pytest.mark.postgres
@pytest.mark.parametrize("trouble", [frozen, stopped])
def test_a_postgresql_that_is_gone_for_a_while_loses_nothing(
    tmp_path: Path,
    postgres: PostgresServer,
    trouble: Callable[[PostgresServer], AbstractContextManager[None]],
) -> None:
    service, observed = Service(tmp_path / "home", postgres.url.render_as_string(hide_password=False)), Observations()
    with closing(service):
        service.start()
        with pushing(service, observed):
            time.sleep(3)
            with trouble(postgres):
                gone = time.monotonic()
                time.sleep(OUTAGE_S)
                back = time.monotonic()
            until(lambda: observed.has_recovered(back), bool, ANYHOW_S)
        check(service, observed, gone, back, SENDER_WAITS_S)
        analyses_go_on(service, make_series(tmp_path, 1))


@pytest.mark.postgres
def test_a_statement_that_is_merely_slow_is_waited_for(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From outside it looks like a server that is frozen, until somebody asks."""
    monkeypatch.setattr("db.engine.server_probe.PATIENCE_S", 0.3)
    monkeypatch.setattr("db.engine.server_probe.AGAIN_S", 0.0)
    with closing_database(postgres) as database, database.read() as session:
        assert session.scalar(text("SELECT 1 FROM pg_sleep(2)")) == 1


@pytest.mark.postgres
def test_no_statement_waits_for_a_frozen_server_and_the_next_fails_at_once(
    postgres: PostgresServer,
) -> None:
    with closing_database(postgres) as database:
        with frozen(postgres):
            for max_s in (PATIENCE_S + ANSWER_S + 2, ANSWER_S + 1):
                began = time.monotonic()
                with pytest.raises(DatabaseUnavailableError), database.read() as session:
                    session.execute(text("SELECT 1"))
                assert time.monotonic() - began < max_s
        time.sleep(AGAIN_S)
        with database.read() as session:
            assert session.scalar(text("SELECT 1")) == 1


@contextmanager
def closing_database(postgres: PostgresServer) -> Iterator[Database]:
    """Records with a connection in the pool."""
    database = Database(postgres.url.render_as_string(hide_password=False), bytes(32))
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
        yield database
    finally:
        database.dispose()


def test_an_sqlite_file_that_somebody_holds_loses_nothing(tmp_path: Path) -> None:
    service, observed = Service(tmp_path / "home"), Observations()
    with closing(service):
        service.start()
        with pushing(service, observed):
            time.sleep(3)
            with closing(sqlite3.connect(service.home / "lungnode.db", isolation_level=None)) as holder:
                holder.execute("BEGIN EXCLUSIVE")
                gone = time.monotonic()
                time.sleep(LOCKED_S)
                back = time.monotonic()
            until(lambda: observed.has_recovered(back), bool, ANYHOW_S)
        check(service, observed, gone, back, LOCKED_S + SENDER_WAITS_S)
        analyses_go_on(service, make_series(tmp_path, 1))
