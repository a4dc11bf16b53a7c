"""Accounts of an identity provider, keyed by issuer and subject (OpenID Connect Core 1.0, 5.7), never by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.accounts.names import PROVIDER_PREFIX
from db.engine.session import insert_once, now, required
from db.tables.accounts import ProviderAccountRow


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """An account that an identity provider asserted."""

    id: str
    display_name: str
    is_disabled: bool
    access_epoch: int

    @property
    def actor(self) -> str:
        """Name in the audit trail and in records."""
        return PROVIDER_PREFIX + self.id


def provider_account_id(issuer: str, subject: str) -> str:
    """Return the opaque id of an account: 128 bits of the SHA-256 of issuer and subject."""
    return hashlib.sha256(f"{issuer}\0{subject}".encode()).hexdigest()[:32]


def record_provider_account(session: Session, issuer: str, subject: str, display_name: str) -> ProviderAccount:
    """Record a sign-in, with the display name to use from now on."""
    account_id = provider_account_id(issuer, subject)
    values = {
        "id": account_id,
        "issuer": issuer,
        "subject": subject,
        "display_name": display_name,
        "is_disabled": False,
        "access_epoch": 0,
        "created_at": now(session),
    }
    insert_once(session, ProviderAccountRow, values)
    row = session.get_one(ProviderAccountRow, account_id, populate_existing=True, with_for_update=True)
    row.display_name = display_name
    session.flush()
    return _account(row)


def provider_row(session: Session, actor: str) -> ProviderAccountRow:
    """Return the locked row of an actor (internal to this package).

    Raises
    ------
    UnknownRecordError
        If no account of that id ever signed in.
    """
    account_id = actor.removeprefix(PROVIDER_PREFIX)
    return required(session.get(ProviderAccountRow, account_id, populate_existing=True, with_for_update=True), "user")


def display_names(session: Session, actors: Iterable[str]) -> dict[str, str]:
    """Map actors to display names; actors that are not of an identity provider map to themselves."""
    names = {actor: actor for actor in actors}
    ids = [actor.removeprefix(PROVIDER_PREFIX) for actor in names if actor.startswith(PROVIDER_PREFIX)]
    if ids:
        rows = session.execute(
            select(ProviderAccountRow.id, ProviderAccountRow.display_name).where(ProviderAccountRow.id.in_(ids))
        )
        names.update((PROVIDER_PREFIX + account_id, name) for account_id, name in rows)
    return names


def _account(row: ProviderAccountRow) -> ProviderAccount:
    return ProviderAccount(row.id, row.display_name, row.is_disabled, row.access_epoch)
