"""People who sign in, and programs' tokens.

Passwords are kept as scrypt hashes, tokens as SHA-256 only (they are 256 random bits: nothing to guess). A sign-in
does the same work whether the name is known, unknown or locked, and answers the same. Nobody's typing is recorded:
an unknown name may be a password in the wrong field.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import audit
from db.domain import AuditEvent, Role, TokenRecord, UserRecord
from db.errors import InvalidRecordError, NameTakenError, UnknownRecordError
from db.session import insert_once, key_text, new_id, now
from db.tables_accounts import TokenRow, UserRow

if TYPE_CHECKING:
    from db.engine import Database

SCRYPT = {"n": 2**15, "r": 8, "p": 1}
"""32 MiB and about 80 ms (OWASP's password storage cheat sheet, 2024: a recommended setting is n=2^15, r=8, p=3)."""
SCRYPT_MEMORY = 64 * 1024 * 1024
PASSWORD_MIN = 12
PASSWORD_MAX = 256
FREE_ATTEMPTS = 5
"""Wrong passwords in a row before the name is locked."""
LOCK = timedelta(minutes=1)
LOCK_LIMIT = timedelta(hours=1)
TOKEN_PREFIX = "lnt_"  # noqa: S105 (marks a token as ours for secret scanners; not itself a secret)
NOBODY = "anonymous"
_ADMINISTRATOR = "administrator"


@dataclass(frozen=True, slots=True)
class _Challenge:
    """What the expensive part of a sign-in needs, read beforehand."""

    user_id: str | None
    password_hash: str


def add_user(session: Session, name: str, password: str, role: Role, *, actor: str = _ADMINISTRATOR) -> UserRecord:
    """Add a person.

    Raises
    ------
    NameTakenError
        If there is a user of that name, whatever its case.
    InvalidRecordError
        If the name is empty or the password shorter than 12 characters or longer than 256.
    """
    name = _checked_name(name)
    password_hash = _hashed(_checked_password(password))
    moment = now(session)
    user_id = new_id()
    values = {
        "id": user_id,
        "name": name,
        "name_key": _name_key(name),
        "role": Role(role),
        "password_hash": password_hash,
        "failed_attempts": 0,
        "locked_until": None,
        "is_disabled": False,
        "created_at": moment,
        "password_changed_at": moment,
    }
    if not insert_once(session, UserRow, values):
        raise NameTakenError("user")
    audit.append(session, AuditEvent("user:added", actor, user_id, details={"role": Role(role).value}))
    return _user(session.get_one(UserRow, user_id))


def change_password(session: Session, name: str, password: str, *, actor: str = _ADMINISTRATOR) -> UserRecord:
    """Give a person another password and lift a lock.

    Raises
    ------
    UnknownRecordError
        If there is no such user.
    InvalidRecordError
        If the password is too short or too long.
    """
    row = _locked_user(session, name)
    row.password_hash, row.password_changed_at = _hashed(_checked_password(password)), now(session)
    row.failed_attempts, row.locked_until = 0, None
    session.flush()
    audit.append(session, AuditEvent("user:password_changed", actor, row.id))
    return _user(row)


def set_disabled(session: Session, name: str, *, disabled: bool, actor: str = _ADMINISTRATOR) -> UserRecord:
    """Shut a person out, or let them in again.

    Raises
    ------
    UnknownRecordError
        If there is no such user.
    """
    row = _locked_user(session, name)
    row.is_disabled = disabled
    session.flush()
    audit.append(session, AuditEvent("user:disabled" if disabled else "user:enabled", actor, row.id))
    return _user(row)


def user_record(session: Session, *, name: str | None = None, id: str | None = None) -> UserRecord | None:  # noqa: A002
    """Return the user of that name or opaque id, or None."""
    condition = UserRow.name_key == _name_key(name) if name is not None else UserRow.id == id
    row = session.scalars(select(UserRow).where(condition)).one_or_none()
    return _user(row) if row else None


def users(session: Session) -> tuple[UserRecord, ...]:
    """List all users by name."""
    return tuple(_user(row) for row in session.scalars(select(UserRow).order_by(UserRow.name_key)))


def sign_in(database: Database, name: str, password: str) -> UserRecord | None:
    """Check a password without holding the database while the hash is computed; for request handlers."""
    with database.read() as session:
        challenge = _challenge(session, name)
    is_right = _matches(challenge.password_hash, password)
    with database.begin() as session:
        return _record_attempt(session, challenge, is_right=is_right)


def check_password(session: Session, name: str, password: str) -> UserRecord | None:
    """Check a password; None if name or password are wrong, or the name is locked or disabled.

    Holds the transaction for the length of the hash: request handlers take ``sign_in``.
    """
    challenge = _challenge(session, name)
    return _record_attempt(session, challenge, is_right=_matches(challenge.password_hash, password))


def _challenge(session: Session, name: str) -> _Challenge:
    row = session.scalars(select(UserRow).where(UserRow.name_key == _name_key(name))).one_or_none()
    return _Challenge(row.id, row.password_hash) if row else _Challenge(None, _decoy())


def _record_attempt(session: Session, challenge: _Challenge, *, is_right: bool) -> UserRecord | None:
    row = None
    if challenge.user_id is not None:
        row = session.get_one(UserRow, challenge.user_id, populate_existing=True, with_for_update=True)
    if row is None:
        audit.append(session, AuditEvent("user:refused", NOBODY, "", "failure", {"why": "unknown"}))
        return None
    why = _why_not(row, challenge, is_right=is_right, moment=now(session))
    if why:
        if why == "password":
            _count_failure(row, now(session))
        session.flush()
        details: dict[str, object] = {"why": why, "failed_attempts": row.failed_attempts}
        audit.append(session, AuditEvent("user:refused", NOBODY, row.id, "failure", details))
        return None
    row.failed_attempts, row.locked_until = 0, None
    session.flush()
    audit.append(session, AuditEvent("user:signed_in", row.name, row.id))
    return _user(row)


def _why_not(row: UserRow, challenge: _Challenge, *, is_right: bool, moment: datetime) -> str:
    if row.locked_until is not None and row.locked_until > moment:
        return "locked"
    if not is_right or row.password_hash != challenge.password_hash:
        return "password"
    return "disabled" if row.is_disabled else ""


def _count_failure(row: UserRow, moment: datetime) -> None:
    """After five wrong passwords in a row lock for a minute, and twice as long for each further one, up to an hour."""
    row.failed_attempts += 1
    excess = row.failed_attempts - FREE_ATTEMPTS
    if excess >= 0:
        row.locked_until = moment + min(LOCK * 2 ** min(excess, 10), LOCK_LIMIT)


def create_token(
    session: Session, name: str, role: Role, *, expires_at: datetime | None = None, actor: str = _ADMINISTRATOR
) -> tuple[str, TokenRecord]:
    """Make a program's token. Its plain text is returned this once and kept nowhere.

    Raises
    ------
    NameTakenError
        If there is a token of that name.
    InvalidRecordError
        If the name is empty.
    """
    plain = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_id = new_id()
    values = {
        "id": token_id,
        "name": _checked_name(name),
        "role": Role(role),
        "sha256": _token_digest(plain),
        "created_by": actor,
        "created_at": now(session),
        "expires_at": expires_at,
        "revoked_at": None,
    }
    if not insert_once(session, TokenRow, values):
        raise NameTakenError("token")
    audit.append(session, AuditEvent("token:created", actor, token_id, details={"role": Role(role).value}))
    return plain, _token(session.get_one(TokenRow, token_id))


def check_token(session: Session, plain: str) -> TokenRecord | None:
    """Return the token's record, or None if it is unknown, revoked or expired. Writes nothing."""
    row = session.scalars(select(TokenRow).where(TokenRow.sha256 == _token_digest(plain))).one_or_none()
    if row is None or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= now(session):
        return None
    return _token(row)


def revoke_token(session: Session, name: str, *, actor: str = _ADMINISTRATOR) -> TokenRecord:
    """Make a token worthless from now on.

    Raises
    ------
    UnknownRecordError
        If there is no such token.
    """
    row = session.scalars(select(TokenRow).where(TokenRow.name == name).with_for_update()).one_or_none()
    if row is None:
        raise UnknownRecordError("token")
    if row.revoked_at is None:
        row.revoked_at = now(session)
        session.flush()
        audit.append(session, AuditEvent("token:revoked", actor, row.id))
    return _token(row)


def tokens(session: Session) -> tuple[TokenRecord, ...]:
    """List all tokens by name, revoked ones too."""
    return tuple(_token(row) for row in session.scalars(select(TokenRow).order_by(TokenRow.name)))


def _hashed(password: str, salt: bytes | None = None) -> str:
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.scrypt(_folded(password), salt=salt, maxmem=SCRYPT_MEMORY, **SCRYPT)
    parts = "$".join(str(SCRYPT[name]) for name in ("n", "r", "p"))
    return f"scrypt${parts}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def _matches(password_hash: str, password: str) -> bool:
    _, n, r, p, salt, digest = password_hash.split("$")
    found = hashlib.scrypt(
        _folded(password[: PASSWORD_MAX + 1]), salt=b64decode(salt), n=int(n), r=int(r), p=int(p), maxmem=SCRYPT_MEMORY
    )
    return hmac.compare_digest(found, b64decode(digest))


def _decoy() -> str:
    """Give unknown names a hash to fail against, at the price of a real one and without computing it twice."""
    parts = "$".join(str(SCRYPT[name]) for name in ("n", "r", "p"))
    return f"scrypt${parts}${b64encode(secrets.token_bytes(16)).decode()}${b64encode(secrets.token_bytes(64)).decode()}"


def _folded(password: str) -> bytes:
    """One spelling for what different keyboards send for the same characters (RFC 8265: NFC)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def _checked_password(password: str) -> str:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidRecordError("password", f"must have {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    return password


def _checked_name(name: str) -> str:
    name = key_text("name", unicodedata.normalize("NFC", name), limit=64)
    if not name or not name.isprintable():
        raise InvalidRecordError("name", "must have 1 to 64 printable characters")
    return name


def _name_key(name: str) -> str:
    key = unicodedata.normalize("NFKC", name.strip(" ")).casefold()[:256]
    return key.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _locked_user(session: Session, name: str) -> UserRow:
    statement = select(UserRow).where(UserRow.name_key == _name_key(name)).with_for_update()
    row = session.scalars(statement.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise UnknownRecordError("user")
    return row


def _token_digest(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()


def _user(row: UserRow) -> UserRecord:
    return UserRecord(row.id, row.name, row.role, row.is_disabled, row.locked_until, row.created_at)


def _token(row: TokenRow) -> TokenRecord:
    return TokenRecord(row.id, row.name, row.role, row.created_by, row.created_at, row.expires_at, row.revoked_at)
