"""Every change of credential, role or status ends what its account has open: a table of changes and kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from db.accounts import tokens, users, web_sessions
from db.accounts.provider_accounts import ProviderAccount, record_provider_account
from db.accounts.web_sessions import SessionGrant, provider_grant, user_grant
from db.audit import trail as audit
from db.database import Database
from db.domain.accounts import Role
from db.tables.accounts import TokenRow, UserRow, WebSessionRow
from tests.unit.webapp.conftest import PASSWORD, Web, session_cookie, sign_in
from webapp.accounts.identity import SESSION_COOKIE
from webapp.options import OidcProvider
from webapp.services.registry import EXTENSION

PROVIDER = OidcProvider(
    issuer="https://idp.example.org", client_id="c", client_secret="s", roles={"readers": Role.RADIOLOGIST}
)
OTHER_PASSWORD = "another horse battery"

Change = Callable[[Database, str], None]
"""Does something to an account; given its name, or its actor for a person of an identity provider."""


def _change(function: Callable[..., object], *values: object, **options: object) -> Change:
    def change(database: Database, name: str) -> None:
        with database.begin() as session:
            function(session, name, *values, **options)

    return change


def _disabled_and_enabled(database: Database, name: str) -> None:
    for disabled in (True, False):
        _change(users.set_disabled, disabled=disabled)(database, name)


def _row_deleted(database: Database, name: str) -> None:
    with database.begin() as session:
        record = users.user_record(session, name=name)
        assert record is not None
        session.delete(session.get_one(UserRow, record.id))


ACCOUNT_CHANGES: dict[str, Change] = {
    "password": _change(users.change_password, OTHER_PASSWORD),
    "same password again": _change(users.change_password, PASSWORD),
    "role": _change(users.set_role, Role.AUDITOR),
    "same role again": _change(users.set_role, Role.RADIOLOGIST),
    "disabled": _change(users.set_disabled, disabled=True),
    "disabled and enabled": _disabled_and_enabled,
    "enabled": _change(users.set_disabled, disabled=False),
    "signed out everywhere": _change(users.end_sessions),
    "row deleted": _row_deleted,
}
PROVIDER_CHANGES = ("disabled", "disabled and enabled", "enabled", "signed out everywhere")


@dataclass
class Opened:
    """Something open of one account: headers or a cookie that gave access a moment ago."""

    headers: dict[str, str]

    def status(self, web: Web) -> int:
        return web.app.test_client(use_cookies=False).get("/api/v1/worklist", headers=self.headers).status_code


def with_cookie(web: Web, grant: SessionGrant) -> Opened:
    return Opened({"Cookie": f"{SESSION_COOKIE}={web.app.extensions[EXTENSION].sessions.open(grant)}"})


def session_of(web: Web, name: str) -> Opened:
    client = web.client()
    assert sign_in(client, name, PASSWORD).status_code == 303
    return Opened({"Cookie": f"{SESSION_COOKIE}={session_cookie(client)}"})


def token_of(web: Web, name: str) -> Opened:
    with web.database.begin() as session:
        plain, _ = tokens.create_token(session, f"script of {name}", Role.SERVICE, owner=name)
    return Opened({"Authorization": f"Bearer {plain}"})


def provider_account(web: Web, subject: str = "1234") -> ProviderAccount:
    with web.database.begin() as session:
        return record_provider_account(session, PROVIDER.issuer, subject, "Ann")


def provider_session(web: Web, subject: str = "1234") -> Opened:
    account = provider_account(web, subject)
    return with_cookie(web, provider_grant(account, Role.RADIOLOGIST, PROVIDER.role_mapping_digest))


@pytest.fixture
def site(make_web: Callable[..., Web], locked: Web) -> Web:
    web = make_web(auth_required=True, oidc=PROVIDER, sign_ins_per_minute=1000)
    web.app.extensions[EXTENSION].change_feed._period_s = 0.0
    web.tokens = locked.tokens
    return web


@pytest.mark.parametrize("name", ["radiologist", "admin"])
@pytest.mark.parametrize("kind", [session_of, token_of])
@pytest.mark.parametrize("what", ACCOUNT_CHANGES)
def test_a_change_ends_sessions_and_tokens(site: Web, what: str, kind: Callable[[Web, str], Opened], name: str) -> None:
    opened = [kind(site, name)] if kind is token_of else [kind(site, name) for _ in range(3)]
    others = [session_of(site, "auditor"), token_of(site, "auditor"), provider_session(site)]
    assert [one.status(site) for one in opened + others] == [200] * len(opened + others)
    ACCOUNT_CHANGES[what](site.database, name)
    assert [one.status(site) for one in opened] == [401] * len(opened)
    assert [one.status(site) for one in others] == [200] * 3


@pytest.mark.parametrize("what", PROVIDER_CHANGES)
def test_a_change_ends_sessions_of_people_of_a_provider(site: Web, what: str) -> None:
    opened, other = provider_session(site), provider_session(site, "5678")
    assert opened.status(site) == other.status(site) == 200
    ACCOUNT_CHANGES[what](site.database, provider_account(site).actor)
    assert (opened.status(site), other.status(site)) == (401, 200)


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": {"readers": Role.ADMIN}},
        {"roles": {}},
        {"role_claim": "roles"},
        {"client_id": "another"},
        {"issuer": "https://other.example.org"},
        None,
    ],
)
def test_sessions_end_with_the_mapping_that_gave_their_role(
    site: Web, make_web: Callable[..., Web], changes: dict[str, Any] | None
) -> None:
    opened = provider_session(site)
    settings: dict[str, Any] = {
        "issuer": PROVIDER.issuer,
        "client_id": "c",
        "client_secret": "s",
        "roles": PROVIDER.roles,
    }
    same = make_web(auth_required=True, oidc=OidcProvider(**settings))
    other = make_web(auth_required=True, oidc=None if changes is None else OidcProvider(**{**settings, **changes}))
    assert (opened.status(same), opened.status(other)) == (200, 401)


STREAM_KINDS = {"session": session_of, "token": token_of}


@pytest.mark.parametrize("kind", STREAM_KINDS)
@pytest.mark.parametrize("what", ACCOUNT_CHANGES)
def test_a_change_ends_a_stream_that_is_open(site: Web, kind: str, what: str) -> None:
    opened = STREAM_KINDS[kind](site, "radiologist")
    response = site.app.test_client(use_cookies=False).get("/events", headers=opened.headers)
    lines = iter(response.response)
    assert [next(lines), next(lines)][0] == b"retry: 2000\n\n"
    ACCOUNT_CHANGES[what](site.database, "radiologist")
    assert list(lines) == []
    response.close()


@pytest.mark.parametrize("what", PROVIDER_CHANGES)
def test_a_change_ends_a_stream_of_a_person_of_a_provider(site: Web, what: str) -> None:
    response = site.app.test_client(use_cookies=False).get("/events", headers=provider_session(site).headers)
    lines = iter(response.response)
    _ = next(lines), next(lines)
    ACCOUNT_CHANGES[what](site.database, provider_account(site).actor)
    assert list(lines) == []
    response.close()


def _token_revoked(web: Web) -> None:
    _change(tokens.revoke_token)(web.database, "script of radiologist")


def _token_expired(web: Web) -> None:
    with web.database.begin() as session:
        session.execute(update(TokenRow).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))


@pytest.mark.parametrize("change", [_token_revoked, _token_expired])
def test_a_token_that_ends_ends_its_stream(site: Web, change: Callable[[Web], None]) -> None:
    opened = token_of(site, "radiologist")
    response = site.app.test_client(use_cookies=False).get("/events", headers=opened.headers)
    lines = iter(response.response)
    _ = next(lines), next(lines)
    change(site)
    assert list(lines) == []
    assert opened.status(site) == 401
    response.close()


@pytest.mark.parametrize("column", ["last_seen_at", "opened_at"])
def test_a_session_that_ends_by_silence_or_age_ends_its_stream(site: Web, column: str) -> None:
    response = site.app.test_client(use_cookies=False).get("/events", headers=session_of(site, "radiologist").headers)
    lines = iter(response.response)
    _ = next(lines), next(lines)
    with site.database.begin() as session:
        session.execute(update(WebSessionRow).values({column: datetime.now(UTC) - timedelta(days=1)}))
    assert list(lines) == []
    response.close()


@pytest.mark.parametrize("what", sorted(set(ACCOUNT_CHANGES) - {"row deleted"}))
def test_a_sign_in_that_a_change_overtakes_opens_nothing(site: Web, what: str) -> None:
    """The password was right; the change is committed before the session is."""
    user = users.sign_in(site.database, "radiologist", PASSWORD)
    assert user is not None
    ACCOUNT_CHANGES[what](site.database, "radiologist")
    assert with_cookie(site, user_grant(user)).status(site) == 401


def test_a_new_session_after_a_change_works(site: Web) -> None:
    ACCOUNT_CHANGES["role"](site.database, "radiologist")
    assert session_of(site, "radiologist").status(site) == 200


def test_an_account_of_the_same_name_takes_over_no_session(site: Web) -> None:
    opened = session_of(site, "radiologist")
    _row_deleted(site.database, "radiologist")
    with site.database.begin() as session:
        users.add_user(session, "radiologist", PASSWORD, Role.ADMIN)
    assert opened.status(site) == 401


def test_how_many_sessions_ended_is_on_record(site: Web) -> None:
    for _ in range(3):
        session_of(site, "radiologist")
    ACCOUNT_CHANGES["password"](site.database, "radiologist")
    with site.database.read() as session:
        event = audit.recent(session, limit=1)[0].event
    assert (event.action, event.details) == ("user:password_changed", {"sessions_ended": 3})
    with site.database.read() as session:
        assert web_sessions.live_session(session, "0" * 64, idle=timedelta(1), lifetime=timedelta(1)) is None
