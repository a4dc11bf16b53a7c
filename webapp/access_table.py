"""Markdown table of endpoints and roles: ``python -m webapp.access_table``."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from db.domain.accounts import Role
from webapp.assembly import declared_endpoints
from webapp.endpoints import Endpoint


def table(endpoints: Iterable[Endpoint]) -> str:
    """Return a Markdown table with a row per URL and method, and a column per role."""
    columns = ["not signed in", *(role.value for role in Role)]
    lines = [f"| route | method | {' | '.join(columns)} |", "| --- | --- |" + " --- |" * len(columns)]
    rows = [(path, endpoint.method, endpoint) for endpoint in endpoints for path in endpoint.paths]
    for path, method, endpoint in sorted(rows, key=lambda row: row[:2]):
        may = ["yes" if endpoint.permits(role) else "" for role in (None, *Role)]
        lines.append(f"| `{path}` | {method} | {' | '.join(may)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table(declared_endpoints()))
