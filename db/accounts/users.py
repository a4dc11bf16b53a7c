"""Users who sign in with a password.

Passwords are stored as scrypt hashes. A sign-in does the same work whether the name exists or not, and answers the
same. Unknown names are not recorded: one may be a password typed into the wrong field. Every change of a user's
password, role or status ends that user's sessions and revokes the tokens the user is responsible for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.accounts import sign_in_attempts, web_sessions
from db.accounts.names import ADMINISTRATOR, ANONYMOUS, PROVIDER_PREFIX, account_name, name_key
from db.accounts.passwords import checked_password, decoy, hashed, matches
from db.accounts.provider_accounts import provider_row
from db.accounts.tokens import revoke_tokens_of
from db.audit import trail as audit
from db.domain.accounts import Role, UserRecord
from db.domain.audit import AuditEvent
from db.domain.errors import NameTakenError, SignInDelayedError
from db.engine.session import insert_once, new_id, now, required
from db.tables.accounts import ProviderAccountRow, UserRow

if TYPE_CHECKING:
    from db.database import Database


@dataclass(frozen=True, slots=True)
class _Challenge:
    """User id and password hash, read before the hash is computed."""

    user_id: str | None
    password_hash: str


def add_user(session: Session, name: str, password: str, role: Role) -> UserRecord:
    """Add a user.

    Raises
    ------
    NameTakenError
        If there is a user of that name, whatever its case.
    InvalidRecordError
        If the name is empty or reserved, or the password shorter than 12 characters or longer than 256.
    """
    name = account_name(name)
    password_hash = hashed(checked_password(password))
    moment = now(session)
    user_id = new_id()
    values = {
        "id": user_id,
        "name": name,
        "name_key": name_key(name),
        "role": Role(role),
        "password_hash": password_hash,
        "is_disabled": False,
        "access_epoch": 0,
        "created_at": moment,
        "password_changed_at": moment,
    }
    if not insert_once(session, UserRow, values):
        raise NameTakenError("user")
    audit.append(session, AuditEvent("user:added", ADMINISTRATOR, user_id, details={"role": Role(role).value}))
    return _user(session.get_one(UserRow, user_id))


def change_password(session: Session, name: str, password: str) -> UserRecord:
    """Change a password; ends the user's sessions and revokes the user's tokens.

    Raises
    ------
    UnknownRecordError
        If the user does not exist.
    InvalidRecordError
        If the password is too short or too long.
    """
    row = _user_row(session, name)
    row.password_hash, row.password_changed_at = hashed(checked_password(password)), now(session)
    _end_access(session, row, "user:password_changed")
    return _user(row)


def set_role(session: Session, name: str, role: Role) -> UserRecord:
    """Change a role; ends the user's sessions and revokes the user's tokens.

    Raises
    ------
    UnknownRecordError
        If the user does not exist.
    """
    row = _user_row(session, name)
    row.role = Role(role)
    _end_access(session, row, "user:role_changed", role=row.role.value)
    return _user(row)


def set_disabled(session: Session, name: str, *, disabled: bool) -> None:
    """Disable or enable an account; ends its sessions and revokes its tokens.

    Parameters
    ----------
    name
        Of a user, or the actor (``sso:...``) of an identity provider's account.

    Raises
    ------
    UnknownRecordError
        If the account does not exist.
    """
    row = _account_row(session, name)
    row.is_disabled = disabled
    _end_access(session, row, "user:disabled" if disabled else "user:enabled")


def end_sessions(session: Session, name: str) -> None:
    """End all sessions of an account and revoke its tokens.

    Parameters
    ----------
    name
        Of a user, or the actor (``sso:...``) of an identity provider's account.

    Raises
    ------
    UnknownRecordError
        If the account does not exist.
    """
    _end_access(session, _account_row(session, name), "user:signed_out_everywhere")


def user_record(session: Session, *, name: str | None = None, id: str | None = None) -> UserRecord | None:  # noqa: A002
    """Return the user of that name or opaque id, or None."""
    condition = UserRow.name_key == name_key(name) if name is not None else UserRow.id == id
    row = session.scalars(select(UserRow).where(condition)).one_or_none()
    return _user(row) if row else None


def sign_in(database: Database, name: str, password: str, address: str = "") -> UserRecord | None:
    """Check a password, without an open transaction while the hash is computed.

    Parameters
    ----------
    address
        The client's network address; wrong passwords delay further ones of the same name from there.

    Returns
    -------
    UserRecord or None
        None for an unknown name, a wrong password and a disabled account.

    Raises
    ------
    SignInDelayedError
        After several wrong passwords for this name from this address, whether the name exists or not.
    """
    key = sign_in_attempts.attempt_key(name, address)
    with database.begin() as session:
        wait_s = sign_in_attempts.begin_attempt(session, key)
        challenge = _challenge(session, name)
        if wait_s > 0:
            _refuse(session, challenge.user_id, "delayed", address)
    if wait_s > 0:
        raise SignInDelayedError(wait_s)
    is_right = matches(challenge.password_hash, password)
    with database.begin() as session:
        user = _record_attempt(session, challenge, address, is_right=is_right)
        if user is not None:
            sign_in_attempts.end_attempt(session, key)
        return user


def _challenge(session: Session, name: str) -> _Challenge:
    row = session.scalars(select(UserRow).where(UserRow.name_key == name_key(name))).one_or_none()
    return _Challenge(row.id, row.password_hash) if row else _Challenge(None, decoy())


def _record_attempt(session: Session, challenge: _Challenge, address: str, *, is_right: bool) -> UserRecord | None:
    row = None
    if challenge.user_id is not None:
        row = session.get(UserRow, challenge.user_id, populate_existing=True, with_for_update=True)
    why = _why_not(row, challenge, is_right=is_right)
    if row is None or why:
        _refuse(session, challenge.user_id, why, address)
        return None
    audit.append(session, AuditEvent("user:signed_in", row.name, row.id, details=_from(address)))
    return _user(row)


def _why_not(row: UserRow | None, challenge: _Challenge, *, is_right: bool) -> str:
    if row is None:
        return "unknown"
    if not is_right or row.password_hash != challenge.password_hash:
        return "password"
    return "disabled" if row.is_disabled else ""


def _refuse(session: Session, user_id: str | None, why: str, address: str) -> None:
    details = {"why": why, **_from(address)}
    audit.append(session, AuditEvent("user:refused", ANONYMOUS, user_id or "", "failure", details))


def _from(address: str) -> dict[str, object]:
    return {"address": address} if address else {}


def _end_access(session: Session, row: UserRow | ProviderAccountRow, action: str, **details: object) -> None:
    """End sessions and tokens; the new epoch also invalidates a session that a concurrent sign-in opens."""
    row.access_epoch += 1
    session.flush()
    ended = web_sessions.close_sessions_of(session, row.id)
    audit.append(session, AuditEvent(action, ADMINISTRATOR, row.id, details={**details, "sessions_ended": ended}))
    revoke_tokens_of(session, row.id)


def _account_row(session: Session, name: str) -> UserRow | ProviderAccountRow:
    return provider_row(session, name) if name.startswith(PROVIDER_PREFIX) else _user_row(session, name)


def _user_row(session: Session, name: str) -> UserRow:
    statement = select(UserRow).where(UserRow.name_key == name_key(name)).with_for_update()
    return required(session.scalars(statement.execution_options(populate_existing=True)).one_or_none(), "user")


def _user(row: UserRow) -> UserRecord:
    return UserRecord(row.id, row.name, row.role, row.is_disabled, row.access_epoch, row.created_at)
