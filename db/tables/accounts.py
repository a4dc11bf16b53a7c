"""Tables of users, identity provider accounts, sign-in attempts, sessions, saved filters and tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.domain.accounts import Role
from db.tables.base import Base, OpaqueId, Sha256
from db.tables.column_types import words


class UserRow(Base):
    """A user; ``name_key`` is the case-folded name for lookups."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(words(Role, "role"))
    password_hash: Mapped[str]
    is_disabled: Mapped[bool]
    access_epoch: Mapped[int]
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime]


class ProviderAccountRow(Base):
    """An identity provider's account; ``id`` is derived from issuer and subject, which never change."""

    __tablename__ = "provider_accounts"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    issuer: Mapped[str]
    subject: Mapped[str]
    display_name: Mapped[str]
    is_disabled: Mapped[bool]
    access_epoch: Mapped[int]
    created_at: Mapped[datetime]


class SignInAttemptRow(Base):
    """Failed sign-in attempts, by the digest of the typed name and the client's network."""

    __tablename__ = "sign_in_attempts"

    key: Mapped[str] = mapped_column(Sha256, primary_key=True)
    attempts: Mapped[int]
    attempted_at: Mapped[datetime] = mapped_column(index=True)
    blocked_until: Mapped[datetime | None]


class SavedFilterRow(Base):
    """A reader's saved worklist filter."""

    __tablename__ = "saved_filters"
    __table_args__ = (UniqueConstraint("owner", "name"),)

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    query: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TokenRow(Base):
    """A program's access token; only its SHA-256 is stored."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(words(Role, "role"))
    sha256: Mapped[str] = mapped_column(Sha256, unique=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    owner_id: Mapped[str | None] = mapped_column(OpaqueId)


class WebSessionRow(Base):
    """A browser session, by the SHA-256 of its cookie; valid while ``access_epoch`` is that of its account.

    ``role`` and ``role_mapping`` are set for identity provider accounts: the granted role, and the mapping's digest.
    """

    __tablename__ = "web_sessions"

    digest: Mapped[str] = mapped_column(Sha256, primary_key=True)
    account_id: Mapped[str] = mapped_column(OpaqueId, index=True)
    access_epoch: Mapped[int]
    role: Mapped[Role | None] = mapped_column(words(Role, "role"))
    role_mapping: Mapped[str | None] = mapped_column(Sha256)
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column(index=True)
