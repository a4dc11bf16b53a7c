"""Display names of accounts."""

from __future__ import annotations

from flask import g

from db.accounts.names import PROVIDER_PREFIX
from db.accounts.provider_accounts import display_names
from webapp.services.registry import current_services


def shown_name(actor: str) -> str:
    """Return the display name of an actor; for identity provider accounts, the name of the last sign-in."""
    if not actor.startswith(PROVIDER_PREFIX):
        return actor
    names: dict[str, str] = g.setdefault("shown_names", {})
    if actor not in names:
        with current_services().database.read() as session:
            names |= display_names(session, [actor])
    return names[actor]
