"""People and tokens: nothing kept that could be used, nothing told that could be guessed from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text

from db import audit, users
from db.domain import Role, UserRecord
from db.engine import Database
from db.errors import InvalidRecordError, NameTakenError, UnknownRecordError

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less work for each hash; the recipe stands in every hash, so nothing else changes."""
    monkeypatch.setattr(users, "SCRYPT", {"n": 2**8, "r": 8, "p": 1})


def add(database: Database, name: str = "Ann", password: str = PASSWORD, role: Role = Role.RADIOLOGIST) -> UserRecord:
    with database.begin() as session:
        return users.add_user(session, name, password, role)


def events(database: Database) -> list[tuple[str, str, object]]:
    with database.read() as session:
        entries = [entry.event for entry in reversed(audit.recent(session))]
    return [(event.action, event.actor, event.details.get("why")) for event in entries]


def test_a_user_signs_in_by_name_of_any_case(database: Database) -> None:
    user = add(database)
    assert users.sign_in(database, " ann ", PASSWORD) == user
    assert users.sign_in(database, "ANN", PASSWORD) == user
    with database.begin() as session:
        assert users.check_password(session, "Ann", PASSWORD) == user
        assert users.user_record(session, name="ann") == users.user_record(session, id=user.id) == user
        assert users.users(session) == (user,)


@pytest.mark.parametrize("name", ["Ann", "bob", "", "\0", "\udc80", "x" * 5000])
@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + "x", "x" * 100_000, "\udc80"])
def test_wrong_names_and_passwords_get_nothing(database: Database, name: str, password: str) -> None:
    add(database)
    assert users.sign_in(database, name, password) is None


def test_characters_may_be_typed_composed_or_not(database: Database) -> None:
    add(database, "Zo\u00eb", "caf\u00e9 caf\u00e9 caf\u00e9")
    assert users.sign_in(database, "Zoe\u0308", "cafe\u0301 cafe\u0301 cafe\u0301") is not None


def test_an_unknown_name_costs_as_much_as_a_known_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    add(database)
    asked: list[tuple[object, ...]] = []
    genuine = users.hashlib.scrypt

    def scrypt(password: bytes, **recipe: object) -> bytes:
        asked.append((recipe["n"], recipe["r"], recipe["p"], len(recipe["salt"])))  # type: ignore[arg-type]
        return genuine(password, **recipe)  # type: ignore[arg-type]

    monkeypatch.setattr(users.hashlib, "scrypt", scrypt)
    for name in ("Ann", "bob"):
        users.sign_in(database, name, "wrong password")
    for _ in range(users.FREE_ATTEMPTS):
        users.sign_in(database, "Ann", "wrong password")
    users.sign_in(database, "Ann", "wrong password")
    assert len(asked) == 8
    assert len(set(asked)) == 1


def test_five_wrong_passwords_lock_the_name_for_ever_longer(database: Database, clock) -> None:
    add(database)
    for _ in range(users.FREE_ATTEMPTS):
        assert users.sign_in(database, "ann", "wrong password") is None
    assert users.sign_in(database, "ann", PASSWORD) is None
    clock.advance(61)
    assert users.sign_in(database, "ann", "wrong password") is None
    clock.advance(61)
    assert users.sign_in(database, "ann", PASSWORD) is None
    clock.advance(60)
    assert users.sign_in(database, "ann", PASSWORD) is not None
    assert users.sign_in(database, "ann", "wrong password") is None
    assert users.sign_in(database, "ann", PASSWORD) is not None
    assert [why for action, _, why in events(database) if action == "user:refused"] == [
        *["password"] * 5,
        "locked",
        "password",
        "locked",
        "password",
    ]


def test_a_lock_never_lasts_longer_than_an_hour(database: Database, clock) -> None:
    add(database)
    for _ in range(30):
        users.sign_in(database, "ann", "wrong password")
        clock.advance(timedelta(hours=1, seconds=1).total_seconds())
    assert users.sign_in(database, "ann", PASSWORD) is not None


def test_wrong_passwords_at_once_are_all_counted(database: Database) -> None:
    add(database)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: users.sign_in(database, "ann", "wrong password"), range(users.FREE_ATTEMPTS)))
    assert users.sign_in(database, "ann", PASSWORD) is None
    assert [why for _, _, why in events(database)].count("password") == users.FREE_ATTEMPTS


def test_another_password_lifts_the_lock(database: Database) -> None:
    add(database)
    for _ in range(users.FREE_ATTEMPTS):
        users.sign_in(database, "ann", "wrong password")
    with database.begin() as session:
        users.change_password(session, "ANN", "another password", actor="root")
    assert users.sign_in(database, "ann", PASSWORD) is None
    assert users.sign_in(database, "ann", "another password") is not None


def test_a_disabled_user_is_shut_out(database: Database) -> None:
    add(database)
    with database.begin() as session:
        assert users.set_disabled(session, "ann", disabled=True).is_disabled
    assert users.sign_in(database, "ann", PASSWORD) is None
    with database.begin() as session:
        users.set_disabled(session, "ann", disabled=False)
    assert users.sign_in(database, "ann", PASSWORD) is not None
    actions = [action for action, _, _ in events(database)]
    assert actions == ["user:added", "user:disabled", "user:refused", "user:enabled", "user:signed_in"]


def test_names_are_taken_once_whatever_their_case(database: Database) -> None:
    add(database)
    with pytest.raises(NameTakenError):
        add(database, "ANN")


@pytest.mark.parametrize(
    ("name", "password", "field"),
    [
        ("", PASSWORD, "name"),
        ("a\nb", PASSWORD, "name"),
        ("x" * 65, PASSWORD, "name"),
        ("ann", "short", "password"),
        ("ann", "x" * 257, "password"),
    ],
)
def test_unfit_names_and_passwords_are_refused(database: Database, name: str, password: str, field: str) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        add(database, name, password)
    assert caught.value.field == field


def test_unknown_names_are_said_to_be_unknown_to_administrators(database: Database) -> None:
    with pytest.raises(UnknownRecordError), database.begin() as session:
        users.change_password(session, "bob", PASSWORD)
    with pytest.raises(UnknownRecordError), database.begin() as session:
        users.set_disabled(session, "bob", disabled=True)
    with pytest.raises(UnknownRecordError), database.begin() as session:
        users.revoke_token(session, "bob")


def test_a_token_works_until_it_expires_or_is_revoked(database: Database, clock) -> None:
    with database.begin() as session:
        plain, record = users.create_token(session, "viewer", Role.SERVICE)
        brief, _ = users.create_token(session, "brief", Role.SERVICE, expires_at=clock() + timedelta(hours=1))
    with database.read() as session:
        assert users.check_token(session, plain) == record
        assert users.check_token(session, brief) is not None
        assert users.check_token(session, plain + "x") is None
        assert users.check_token(session, "") is None
        assert users.check_token(session, "\udc80\0") is None
        assert [token.name for token in users.tokens(session)] == ["brief", "viewer"]
    clock.advance(3601)
    with database.begin() as session:
        assert users.check_token(session, brief) is None
        assert users.revoke_token(session, "viewer").revoked_at is not None
        assert users.check_token(session, plain) is None
    with pytest.raises(NameTakenError), database.begin() as session:
        users.create_token(session, "viewer", Role.SERVICE)


def test_no_password_or_token_stands_in_the_database(database: Database) -> None:
    add(database)
    with database.begin() as session:
        plain, _ = users.create_token(session, "viewer", Role.SERVICE)
    with database.read() as session:
        rows = [session.execute(text(f"SELECT * FROM {table}")).all() for table in ("users", "tokens", "audit_events")]
    assert PASSWORD not in str(rows)
    assert plain not in str(rows)
    assert plain.removeprefix(users.TOKEN_PREFIX) not in str(rows)


def test_two_users_with_one_password_have_two_hashes(database: Database) -> None:
    add(database, "ann")
    add(database, "bob")
    with database.read() as session:
        first, second = session.execute(text("SELECT password_hash FROM users")).scalars()
    assert first != second
