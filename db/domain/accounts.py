"""Roles, users and access tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """Role of a user or token."""

    ADMIN = "admin"
    RADIOLOGIST = "radiologist"
    AUDITOR = "auditor"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A user; without password or hash."""

    id: str
    name: str
    role: Role
    is_disabled: bool
    access_epoch: int
    """Incremented by every change of password, role or status; sessions of an earlier epoch are refused."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A program's access token; its plain text is shown once, at creation, and not stored."""

    id: str
    name: str
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
