"""The tables of who may come in: people with their sign-ins and saved filters, and programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, OpaqueId, Sha256
from db.columns import words
from db.domain import Role


class UserRow(Base):
    """A person who may sign in; ``name_key`` is the case-folded name that is looked up."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(words(Role, "role"))
    password_hash: Mapped[str]
    failed_attempts: Mapped[int]
    locked_until: Mapped[datetime | None]
    is_disabled: Mapped[bool]
    created_at: Mapped[datetime]
    password_changed_at: Mapped[datetime]


class SavedFilterRow(Base):
    """A reader's named way to look at the worklist."""

    __tablename__ = "saved_filters"
    __table_args__ = (UniqueConstraint("owner", "name"),)

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    query: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TokenRow(Base):
    """A program's access token, of which only the SHA-256 is kept."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(OpaqueId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[Role] = mapped_column(words(Role, "role"))
    sha256: Mapped[str] = mapped_column(Sha256, unique=True)
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class WebSessionRow(Base):
    """A signed-in browser, by the SHA-256 of its cookie."""

    __tablename__ = "web_sessions"

    digest: Mapped[str] = mapped_column(Sha256, primary_key=True)
    name: Mapped[str]
    role: Mapped[Role | None] = mapped_column(words(Role, "role"))
    opened_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column(index=True)
