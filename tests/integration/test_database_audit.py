"""The trail keeps an intact chain under load, refuses to be changed, and shows every tampering."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.exc import IntegrityError

from db.audit import trail as audit
from db.audit.chain import ChainKey, Head
from db.audit.verification import verify, write_anchor
from db.database import Database
from db.domain.audit import AuditEvent
from db.domain.errors import AuditKeyError, UnfitDatabaseError
from db.domain.studies import ReceivedInstance
from db.read_models import studies
from db.tables.audit import AuditEventRow, AuditHeadRow
from tests.support.records import record_instance

COLUMNS = ("sequence", "occurred_at", "action", "actor", "subject", "outcome", "details", "mac")
OTHER_KEY = bytes(32)


def write(database: Database, count: int, *, actor: str = "PACS") -> None:
    with database.begin() as session:
        for number in range(count):
            audit.append(session, AuditEvent("study:received", actor, f"study-{number}", details={"number": number}))


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


@contextmanager
def unprotected(database: Database) -> Iterator[Connection]:
    """Change rows as an intruder with all rights: drop triggers, change, restore triggers."""
    with database.engine.begin() as connection:
        if is_sqlite(database.engine):
            triggers = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
            for name, _ in triggers:
                connection.execute(text(f"DROP TRIGGER {name}"))
            yield connection
            for _, sql in triggers:
                connection.exec_driver_sql(sql)
            return
        names = connection.execute(
            text("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal")
        )
        triggers = names.all()
        for table, name in triggers:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER {name}"))
        yield connection
        for table, name in triggers:
            connection.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"))


def problems(database: Database, anchor: Path | None = None) -> str:
    return "; ".join(verify(database, anchor).problems)


def test_an_empty_trail_is_intact(database: Database) -> None:
    verification = verify(database)
    assert (verification.event_count, verification.head, verification.problems) == (0, "", ())


def test_four_writers_at_once_keep_the_chain(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: write(database, 1, actor=f"writer-{n % 4}"), range(200)))
    verification = verify(database)
    assert verification.problems == ()
    assert verification.event_count == 200
    with database.read() as session:
        assert [entry.sequence for entry in audit.recent(session, limit=500)] == list(range(200, 0, -1))


def test_what_is_rolled_back_leaves_no_event_and_no_gap(
    database: Database, received: Callable[..., ReceivedInstance]
) -> None:
    write(database, 2)

    def fail_after_recording() -> None:
        with database.begin() as session:
            record_instance(session, received())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_recording()
    write(database, 1)
    with database.read() as session:
        assert [entry.sequence for entry in audit.recent(session)] == [3, 2, 1]
        assert studies.study_detail(session, "1.2.3") is None
    assert verify(database).is_intact


def test_what_a_savepoint_takes_back_leaves_no_event(database: Database) -> None:
    with database.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS", "kept"))
        outer = session.begin_nested()
        with session.begin_nested():
            audit.append(session, AuditEvent("study:received", "PACS", "released, then taken back"))
        outer.rollback()
        with session.begin_nested():
            audit.append(session, AuditEvent("study:received", "PACS", "kept too"))
    with database.read() as session:
        assert [entry.event.subject for entry in audit.recent(session)] == ["kept too", "kept"]
    assert verify(database).is_intact


def test_whoever_commits_early_commits_the_events_too(database: Database) -> None:
    with database.begin() as session:
        audit.append(session, AuditEvent("study:received", "PACS", "early"))
        session.commit()
    assert verify(database).event_count == 1


def test_details_that_are_no_json_undo_the_change(
    database: Database, received: Callable[..., ReceivedInstance]
) -> None:
    def record() -> None:
        with database.begin() as session:
            record_instance(session, received())
            audit.append(session, AuditEvent("study:received", "PACS", details={"share": float("nan")}))

    with pytest.raises(ValueError, match="JSON"):
        record()
    assert verify(database).event_count == 0


def test_events_read_back_newest_first_and_about_one_subject(database: Database) -> None:
    write(database, 5)
    with database.read() as session:
        (entry,) = audit.recent(session, subject="study-3")
        older = audit.recent(session, before=3, limit=1)
    assert entry.event == AuditEvent("study:received", "PACS", "study-3", details={"number": 3})
    assert [result.sequence for result in older] == [2]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET actor = 'x'",
        "UPDATE audit_events SET mac = mac WHERE sequence = 2",
        "DELETE FROM audit_events WHERE sequence = 3",
        "DELETE FROM audit_events",
        "INSERT INTO audit_events SELECT 9, occurred_at, action, actor, subject, outcome, details, mac"
        " FROM audit_events WHERE sequence = 1",
        "INSERT INTO audit_events SELECT 0, occurred_at, action, actor, subject, outcome, details, mac"
        " FROM audit_events WHERE sequence = 1",
        "UPDATE audit_head SET sequence = 2",
        "UPDATE audit_head SET sequence = 9",
        "UPDATE audit_head SET sequence = sequence, mac = 'x'",
        "DELETE FROM audit_head",
        "INSERT INTO audit_head VALUES (2, 1, '', '')",
    ],
)
def test_the_database_itself_refuses_changes(database: Database, statement: str) -> None:
    write(database, 3)
    with pytest.raises(IntegrityError), database.engine.begin() as connection:
        connection.execute(text(statement))
    assert verify(database).problems == ()


@pytest.mark.parametrize("column", COLUMNS[1:])
def test_an_edit_of_any_column_is_found_where_it_is(database: Database, column: str) -> None:
    write(database, 5)
    with unprotected(database) as connection:
        connection.execute(text(f"UPDATE audit_events SET {column} = 'x' || substr({column}, 2) WHERE sequence = 3"))
    result = verify(database).problems
    assert result[0] == "event 3 was altered, or does not follow the event before it"
    assert len(result) == (2 if column == "mac" else 1)


def test_an_event_missing_in_the_middle_is_found(database: Database) -> None:
    write(database, 5)
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events WHERE sequence = 3"))
    assert "event 3 is missing" in problems(database)


def test_a_gap_closed_by_renumbering_is_found(database: Database) -> None:
    write(database, 4)
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events WHERE sequence = 2"))
        connection.execute(text("UPDATE audit_events SET sequence = 2 WHERE sequence = 3"))
        connection.execute(text("UPDATE audit_events SET sequence = 3 WHERE sequence = 4"))
        connection.execute(text("UPDATE audit_head SET sequence = 3"))
    assert "event 2 was altered" in problems(database)


def test_a_missing_beginning_is_found(database: Database) -> None:
    write(database, 4)
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events WHERE sequence <= 2"))
    assert "events 1 to 2 are missing" in problems(database)


def test_a_cut_tail_is_found_by_the_head(database: Database) -> None:
    write(database, 5)
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events WHERE sequence > 3"))
    assert problems(database) == "events 4 to 5 are missing at the end"


def test_a_cut_tail_is_found_where_the_head_was_moved_too(database: Database) -> None:
    write(database, 5)
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events WHERE sequence > 3"))
        connection.execute(
            text("UPDATE audit_head SET sequence = 3, mac = (SELECT mac FROM audit_events WHERE sequence = 3)")
        )
    assert problems(database) == "the head of the trail was altered, or made with another key"


def test_a_missing_head_is_found_and_stops_the_writing(database: Database) -> None:
    write(database, 2)
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_head"))
    assert "the head of the trail is missing" in problems(database)
    with pytest.raises(UnfitDatabaseError, match="head"):
        write(database, 1)


def test_an_altered_head_stops_the_writing(database: Database) -> None:
    write(database, 2)
    with unprotected(database) as connection:
        connection.execute(text("UPDATE audit_head SET mac = 'x'"))
    with pytest.raises(AuditKeyError, match="head was altered"):
        write(database, 1)


def test_an_inserted_event_is_found(database: Database) -> None:
    write(database, 3)
    with unprotected(database) as connection:
        connection.execute(text("UPDATE audit_events SET sequence = 4 WHERE sequence = 3"))
        connection.execute(
            text(
                "INSERT INTO audit_events SELECT 3, occurred_at, action, actor, subject, outcome, details, mac"
                " FROM audit_events WHERE sequence = 2"
            )
        )
    assert "event 3 was altered" in problems(database)


def test_an_event_added_behind_the_head_is_found(database: Database) -> None:
    write(database, 3)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_events SELECT 4, occurred_at, action, actor, subject, outcome, details, mac"
                " FROM audit_events WHERE sequence = 2"
            )
        )
    result = problems(database)
    assert "event 4 was altered" in result
    assert "the head names event 3, the last is 4" in result


def test_two_swapped_events_are_found(database: Database) -> None:
    write(database, 5)
    with unprotected(database) as connection:
        for old, new in ((2, 99), (4, 2), (99, 4)):
            connection.execute(text(f"UPDATE audit_events SET sequence = {new} WHERE sequence = {old}"))
    result = problems(database)
    assert "event 2 was altered" in result
    assert "event 4 was altered" in result


def test_a_chain_recomputed_without_the_key_is_found(database: Database) -> None:
    write(database, 5)
    forger = ChainKey(OTHER_KEY)
    with database.read() as session:
        rows = [dict(row) for row in session.execute(select(*AuditEventRow.__table__.columns)).mappings()]
    with unprotected(database) as connection:
        previous = ""
        for row in rows:
            row["actor"] = "nobody"
            row["mac"] = previous = forger.event_mac(previous, row)
            connection.execute(update(AuditEventRow).where(AuditEventRow.sequence == row["sequence"]).values(row))
        head = Head(5, previous)
        connection.execute(update(AuditHeadRow).values(mac=previous, head_mac=forger.head_mac(head)))
    result = verify(database).problems
    assert [f"event {n} was altered, or does not follow the event before it" for n in range(1, 6)] == list(result[:5])
    assert "made with another key" in result[5]


def test_another_key_neither_verifies_nor_writes(database: Database) -> None:
    write(database, 3)
    other = Database(database.url, OTHER_KEY)
    assert len(verify(other).problems) == 4
    with pytest.raises(AuditKeyError, match="does not fit"):
        write(other, 1)
    other.dispose()
    assert verify(database).event_count == 3


def test_a_trail_emptied_beside_its_records_is_found(
    database: Database, received: Callable[..., ReceivedInstance]
) -> None:
    with database.begin() as session:
        record_instance(session, received())
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events"))
        connection.execute(text("UPDATE audit_head SET sequence = 0, mac = '', head_mac = ''"))
    assert problems(database) == "the trail is empty although there are records"


def test_a_missing_trigger_is_found(database: Database) -> None:
    write(database, 1)
    table = "" if is_sqlite(database.engine) else "ON audit_events"
    with database.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER audit_events_no_delete {table}"))
    assert "audit_events_no_delete" in problems(database)


def test_a_trail_rolled_back_as_a_whole_is_found_by_the_anchor(database: Database, tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.json"
    write(database, 3)
    with database.read() as session:
        early = dict(session.execute(select(*AuditHeadRow.__table__.columns)).mappings().one())
    write(database, 3)
    assert write_anchor(database, anchor).sequence == 6
    assert verify(database, anchor).is_intact
    with unprotected(database) as connection:
        connection.execute(text("DELETE FROM audit_events WHERE sequence > 3"))
        connection.execute(update(AuditHeadRow).values(early))
    assert verify(database).is_intact  # a true copy of earlier: the database alone cannot tell
    assert problems(database, anchor) == "events 4 to 6 were there when the anchor was written"
    with pytest.raises(AuditKeyError, match="does not fit the anchor"):
        write_anchor(database, anchor)
    write(database, 3)  # the same length again, but another story
    assert problems(database, anchor) == "event 6 is not the one that the anchor names"


def test_an_anchor_moves_on_with_the_trail(database: Database, tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.json"
    assert write_anchor(database, anchor).sequence == 0
    write(database, 2)
    assert write_anchor(database, anchor).sequence == 2
    write(database, 1)
    assert verify(database, anchor).is_intact


def test_an_anchor_that_was_altered_is_refused(database: Database, tmp_path: Path) -> None:
    anchor = tmp_path / "anchor.json"
    write(database, 2)
    write_anchor(database, anchor)
    content = json.loads(anchor.read_text())
    for altered in (json.dumps(content | {"sequence": 1}), "{", "[]", ""):
        anchor.write_text(altered)
        with pytest.raises(AuditKeyError, match="anchor"):
            verify(database, anchor)
    anchor.unlink()
    with pytest.raises(AuditKeyError, match="anchor"):
        verify(database, anchor)


def test_very_many_problems_are_counted(database: Database) -> None:
    write(database, 150)
    with unprotected(database) as connection:
        connection.execute(text("UPDATE audit_events SET actor = 'x'"))
    result = verify(database).problems
    assert len(result) == 101
    assert result[-1] == "and 50 more problems"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_event_breaks_the_chain(database: Database, data: st.DataObject) -> None:
    """Whatever one column of one event is changed to (and then put back)."""
    if verify(database).event_count == 0:
        write(database, 8)
    sequence = data.draw(st.integers(1, 8))
    column = data.draw(st.sampled_from(COLUMNS))
    with database.read() as session:
        row = session.execute(select(*AuditEventRow.__table__.columns).where(AuditEventRow.sequence == sequence)).one()
    original = getattr(row, column)
    texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=64)
    numbers = st.integers(-5, 2**40).filter(lambda number: not 1 <= number <= 8)
    value = data.draw((numbers if column == "sequence" else texts).filter(lambda drawn: drawn != original))
    change = text(f"UPDATE audit_events SET {column} = :value WHERE sequence = :sequence")
    with unprotected(database) as connection:
        connection.execute(change, {"value": value, "sequence": sequence})
    assert not verify(database).is_intact
    with unprotected(database) as connection:
        there = value if column == "sequence" else sequence
        connection.execute(change, {"value": original, "sequence": there})
    assert verify(database).is_intact
