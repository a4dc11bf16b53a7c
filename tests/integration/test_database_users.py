"""Users and tokens: secrets are not stored, and errors reveal nothing."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from db.accounts import passwords, sign_in_attempts, tokens, users
from db.audit import trail as audit
from db.database import Database
from db.domain.accounts import Role, UserRecord
from db.domain.errors import InvalidRecordError, NameTakenError, SignInDelayedError, UnknownRecordError
from tests.support.databases import ManualClock

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less work for each hash; the recipe stands in every hash, so nothing else changes."""
    monkeypatch.setattr(passwords, "SCRYPT", {"n": 2**8, "r": 8, "p": 1})


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
        assert users.user_record(session, name="ann") == users.user_record(session, id=user.id) == user


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
    genuine = hashlib.scrypt

    def scrypt(password: bytes, **recipe: Any) -> bytes:
        asked.append((recipe["n"], recipe["r"], recipe["p"], len(recipe["salt"])))
        return genuine(password, **recipe)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    for name in ("Ann", "bob"):
        users.sign_in(database, name, "wrong password")
    assert len(asked) == 2
    assert len(set(asked)) == 1


def outcome(database: Database, name: str, password: str, address: str) -> str:
    try:
        return "in" if users.sign_in(database, name, password, address) else "refused"
    except SignInDelayedError as delayed:
        return f"delayed {delayed.retry_after_s:.0f} s"


@pytest.mark.parametrize("name", ["ann", "ANN ", "nobody of that name"])
def test_wrong_passwords_delay_name_and_address_ever_longer(database: Database, clock: ManualClock, name: str) -> None:
    """Known and unknown names are answered alike."""
    add(database)
    waits = []
    for _ in range(12):
        while not (text := outcome(database, name, "wrong password", "192.0.2.1")).startswith("delayed"):
            assert text == "refused"
        waits.append(text.split()[1])
        clock.advance(int(waits[-1]) + 1)
    assert waits == ["10", "20", "40", "80", "160", *["300"] * 7]


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("ann", "192.0.2.1", "delayed 10 s"),
        (" ANN", "192.0.2.1", "delayed 10 s"),
        ("ann", "::ffff:192.0.2.1", "delayed 10 s"),
        ("ann", "192.0.2.2", "in"),
        ("ann", "2001:db8::1", "in"),
        ("bob", "192.0.2.1", "in"),
    ],
)
def test_a_colleague_is_never_locked_out(database: Database, name: str, address: str, expected: str) -> None:
    add(database)
    add(database, "Bob")
    for _ in range(5):
        assert outcome(database, "ann", "wrong password", "192.0.2.1") == "refused"
    assert outcome(database, name, PASSWORD, address) == expected


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("not an address", "", True),
    ],
)
def test_an_ipv6_client_is_its_network(first: str, second: str, *, is_same: bool) -> None:
    keys = sign_in_attempts.attempt_key("ann", first), sign_in_attempts.attempt_key("ann", second)
    assert (keys[0] == keys[1]) is is_same


def test_the_right_password_forgets_wrong_ones(database: Database) -> None:
    add(database)
    for _ in range(3):
        for _ in range(4):
            assert outcome(database, "ann", "wrong password", "192.0.2.1") == "refused"
        assert outcome(database, "ann", PASSWORD, "192.0.2.1") == "in"


def test_wrong_passwords_are_forgotten_after_a_day(database: Database, clock: ManualClock) -> None:
    add(database)
    for _ in range(5):
        outcome(database, "ann", "wrong password", "192.0.2.1")
    clock.advance(86_401)
    for _ in range(5):
        assert outcome(database, "ann", "wrong password", "192.0.2.1") == "refused"


@pytest.mark.parametrize("days", [0.01, 1, 370])
def test_a_clock_that_ran_ahead_shortens_delays(database: Database, clock: ManualClock, days: float) -> None:
    add(database)
    clock.advance(days * 86_400)
    for _ in range(5):
        outcome(database, "ann", "wrong password", "192.0.2.1")
    clock.advance(-days * 86_400)
    assert outcome(database, "ann", PASSWORD, "192.0.2.1") == "delayed 10 s"
    clock.advance(11)
    assert outcome(database, "ann", PASSWORD, "192.0.2.1") == "in"


def test_wrong_passwords_at_once_are_all_counted(database: Database) -> None:
    add(database)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: outcome(database, "ann", "wrong password", "192.0.2.1"), range(8)))
    assert outcomes.count("refused") == 5
    assert [why for _, _, why in events(database)].count("password") == 5


def test_remembered_attempts_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in_attempts, "MAX_ROWS", 3)
    for number in range(6):
        users.sign_in(database, f"name {number}", "wrong password", "192.0.2.1")
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM sign_in_attempts")).scalar_one() == 3


def test_a_disabled_user_is_shut_out(database: Database) -> None:
    add(database)
    with database.begin() as session:
        users.set_disabled(session, "ann", disabled=True)
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
        ("sso:ann", PASSWORD, "name"),
        (" SSO:ann", PASSWORD, "name"),
        ("token:ann", PASSWORD, "name"),
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
        tokens.revoke_token(session, "bob")


def test_a_token_works_until_it_expires_or_is_revoked(database: Database, clock: ManualClock) -> None:
    with database.begin() as session:
        plain, record = tokens.create_token(session, "viewer", Role.SERVICE)
        brief, _ = tokens.create_token(session, "brief", Role.SERVICE, expires_at=clock() + timedelta(hours=1))
    with database.read() as session:
        assert tokens.check_token(session, plain) == record
        assert tokens.check_token(session, brief) is not None
        assert tokens.check_token(session, plain + "x") is None
        assert tokens.check_token(session, "") is None
        assert tokens.check_token(session, "\udc80\0") is None
    clock.advance(3601)
    with database.begin() as session:
        assert tokens.check_token(session, brief) is None
        assert tokens.revoke_token(session, "viewer").revoked_at is not None
        assert tokens.check_token(session, plain) is None
    with pytest.raises(NameTakenError), database.begin() as session:
        tokens.create_token(session, "viewer", Role.SERVICE)


def test_no_password_or_token_stands_in_the_database(database: Database) -> None:
    add(database)
    with database.begin() as session:
        plain, _ = tokens.create_token(session, "viewer", Role.SERVICE)
    with database.read() as session:
        rows = [session.execute(text(f"SELECT * FROM {table}")).all() for table in ("users", "tokens", "audit_events")]
    assert PASSWORD not in str(rows)
    assert plain not in str(rows)
    assert plain.removeprefix(tokens.TOKEN_PREFIX) not in str(rows)


def test_two_users_with_one_password_have_two_hashes(database: Database) -> None:
    add(database, "ann")
    add(database, "bob")
    with database.read() as session:
        first, second = session.execute(text("SELECT password_hash FROM users")).scalars()
    assert first != second
