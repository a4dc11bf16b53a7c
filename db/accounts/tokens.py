"""Access tokens for programs. Only the SHA-256 of a token (256 random bits) is stored."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.accounts.names import ADMINISTRATOR, account_name, name_key
from db.audit import trail as audit
from db.domain.accounts import Role, TokenRecord
from db.domain.audit import AuditEvent
from db.domain.errors import NameTakenError
from db.engine.session import insert_once, new_id, now, required
from db.tables.accounts import TokenRow, UserRow

TOKEN_PREFIX = "lnt_"  # noqa: S105 (marks a token as ours for secret scanners; not itself a secret)


def create_token(
    session: Session,
    name: str,
    role: Role,
    *,
    expires_at: datetime | None = None,
    owner: str | None = None,
) -> tuple[str, TokenRecord]:
    """Create a token; return its plain text, which is not stored, and its record.

    Parameters
    ----------
    owner
        Name of the responsible user; every change of that user's access revokes the token.

    Raises
    ------
    NameTakenError
        If there is a token of that name.
    InvalidRecordError
        If the name is empty.
    UnknownRecordError
        If the owner is no user.
    """
    plain = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_id = new_id()
    values = {
        "id": token_id,
        "name": account_name(name),
        "role": Role(role),
        "sha256": _digest(plain),
        "created_by": ADMINISTRATOR,
        "created_at": now(session),
        "expires_at": expires_at,
        "revoked_at": None,
        "owner_id": None if owner is None else _owner_id(session, owner),
    }
    if not insert_once(session, TokenRow, values):
        raise NameTakenError("token")
    audit.append(session, AuditEvent("token:created", ADMINISTRATOR, token_id, details={"role": Role(role).value}))
    return plain, _token(session.get_one(TokenRow, token_id))


def check_token(session: Session, plain: str) -> TokenRecord | None:
    """Return the token's record, or None if it is unknown, revoked or expired. Writes nothing."""
    row = session.scalars(select(TokenRow).where(TokenRow.sha256 == _digest(plain))).one_or_none()
    if row is None or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= now(session):
        return None
    if row.owner_id is not None and not _is_active(session, row.owner_id):
        return None
    return _token(row)


def revoke_token(session: Session, name: str) -> TokenRecord:
    """Revoke a token; no change if it is revoked already.

    Raises
    ------
    UnknownRecordError
        If the token does not exist.
    """
    row = required(
        session.scalars(select(TokenRow).where(TokenRow.name == name).with_for_update()).one_or_none(), "token"
    )
    _revoke(session, row)
    return _token(row)


def revoke_tokens_of(session: Session, owner_id: str) -> None:
    """Revoke every token that a user is responsible for."""
    statement = select(TokenRow).where(TokenRow.owner_id == owner_id).with_for_update()
    for row in session.scalars(statement).all():
        _revoke(session, row)


def _revoke(session: Session, row: TokenRow) -> None:
    if row.revoked_at is not None:
        return
    row.revoked_at = now(session)
    session.flush()
    audit.append(session, AuditEvent("token:revoked", ADMINISTRATOR, row.id))


def _owner_id(session: Session, owner: str) -> str:
    return required(session.scalar(select(UserRow.id).where(UserRow.name_key == name_key(owner))), "user")


def _is_active(session: Session, user_id: str) -> bool:
    return session.scalar(select(UserRow.is_disabled).where(UserRow.id == user_id)) is False


def _digest(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()


def _token(row: TokenRow) -> TokenRecord:
    return TokenRecord(row.id, row.name, row.role, row.created_by, row.created_at, row.expires_at, row.revoked_at)
