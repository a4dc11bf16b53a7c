"""Administration commands: ``lungnode db``, ``audit``, ``user`` and ``token``."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lungnode.commands.context import open_database, read_settings
from lungnode.commands.preflight import check_database, check_home
from lungnode.errors import CommandError

db_app = typer.Typer(help="Database schema.", no_args_is_help=True)
audit_app = typer.Typer(help="Audit log.", no_args_is_help=True)
user_app = typer.Typer(help="User accounts.", no_args_is_help=True)
token_app = typer.Typer(help="API tokens.", no_args_is_help=True)


PAGES_S = 60.0
"""Time limit for the integrity check of the database's pages."""


class RoleName(StrEnum):
    """Roles of users and tokens (the values of ``db.domain.accounts.Role``)."""

    ADMIN = "admin"
    RADIOLOGIST = "radiologist"
    AUDITOR = "auditor"
    SERVICE = "service"


Name = Annotated[str, typer.Argument(help="Name.")]
Account = Annotated[str, typer.Argument(help="Name, or sso:... for a single sign-on account.")]
Role = Annotated[RoleName, typer.Option("--role", help="Role.")]


@db_app.command("upgrade")
def db_upgrade(revision: Annotated[str, typer.Argument(help="Revision to reach.")] = "head") -> None:
    """Migrate the database to the newest revision (safe to repeat)."""
    from db.database import open_audit_key
    from db.engine.schema import current, upgrade

    settings = read_settings()
    check_home(settings)
    check_database(settings)
    open_audit_key(settings.database_url, settings.audit_key_path)
    upgrade(settings.database_url, revision)
    print(f"database is at revision {current(settings.database_url)}")


@audit_app.command("verify")
def audit_verify(
    anchor: Annotated[Path | None, typer.Option("--anchor", help="File that `lungnode audit anchor` wrote.")] = None,
) -> int:
    """Verify the audit log's hash chain; prints one JSON object and fails if any event was altered."""
    from db.audit.verification import verify
    from db.engine.page_check import database_damage

    with open_database(read_settings()) as database:
        verification = verify(database, anchor)
        damage = database_damage(database, PAGES_S)
    is_intact = verification.is_intact and not damage
    print(json.dumps({"intact": is_intact, "events": verification.event_count, "head": verification.head}))
    for problem in (*verification.problems, *([f"the database is damaged ({damage})"] if damage else [])):
        print(f"lungnode: {problem}", file=sys.stderr)
    return 0 if is_intact else 1


@audit_app.command("anchor")
def audit_anchor(file: Annotated[Path, typer.Argument(help="File to write; store it on another system.")]) -> None:
    """Write the head of the hash chain to a file, to detect a later roll-back of the database."""
    from db.audit.verification import write_anchor

    with open_database(read_settings()) as database:
        head = write_anchor(database, file)
    print(json.dumps({"sequence": head.sequence, "head": head.mac}))


@user_app.command("add")
def user_add(name: Name, role: Role = RoleName.RADIOLOGIST) -> None:
    """Add a user; the password is prompted for or read from standard input."""
    from db.accounts.users import add_user
    from db.domain import accounts as domain

    with open_database(read_settings()) as database:
        password = _read_password()
        with database.begin() as session:
            add_user(session, name, password, domain.Role(role.value))
    print(f"added {name} as {role.value}")


@user_app.command("password")
def user_password(name: Name) -> None:
    """Change a user's password; ends the user's sessions and tokens."""
    from db.accounts.users import change_password

    with open_database(read_settings()) as database:
        password = _read_password()
        with database.begin() as session:
            change_password(session, name, password)
    print(f"changed the password of {name}")


@user_app.command("disable")
def user_disable(name: Account) -> None:
    """Disable an account; its audit entries remain. Ends its sessions and tokens."""
    from db.accounts.users import set_disabled

    with open_database(read_settings()) as database, database.begin() as session:
        set_disabled(session, name, disabled=True)
    print(f"disabled {name}")


@user_app.command("enable")
def user_enable(name: Account) -> None:
    """Enable a disabled account; earlier sessions and tokens stay ended."""
    from db.accounts.users import set_disabled

    with open_database(read_settings()) as database, database.begin() as session:
        set_disabled(session, name, disabled=False)
    print(f"enabled {name}")


@user_app.command("role")
def user_role(name: Name, role: Annotated[RoleName, typer.Argument(help="The new role.")]) -> None:
    """Change a user's role; ends the user's sessions and tokens."""
    from db.accounts.users import set_role
    from db.domain import accounts as domain

    with open_database(read_settings()) as database, database.begin() as session:
        set_role(session, name, domain.Role(role.value))
    print(f"{name} is now {role.value}")


@user_app.command("signout")
def user_signout(name: Account) -> None:
    """Sign an account out everywhere: ends its sessions and revokes its tokens."""
    from db.accounts.users import end_sessions

    with open_database(read_settings()) as database, database.begin() as session:
        end_sessions(session, name)
    print(f"signed {name} out everywhere")


def _read_password() -> str:
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CommandError("no password on standard input; nothing was changed")
        return password
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandError("the two passwords differ; nothing was changed")
    return password


@token_app.command("create")
def token_create(
    name: Name,
    role: Role = RoleName.SERVICE,
    days: Annotated[int | None, typer.Option("--days", min=1, help="Days until it expires; never if omitted.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="User responsible for it; it ends with the user's access.")
    ] = None,
) -> None:
    """Create an API token; it is printed once, only its digest is stored."""
    from db.accounts.tokens import create_token
    from db.domain import accounts as domain

    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    with open_database(read_settings()) as database, database.begin() as session:
        plain, _ = create_token(session, name, domain.Role(role.value), expires_at=expires_at, owner=owner)
    print(plain)


@token_app.command("revoke")
def token_revoke(name: Name) -> None:
    """Revoke a token."""
    from db.accounts.tokens import revoke_token

    with open_database(read_settings()) as database, database.begin() as session:
        revoke_token(session, name)
    print(f"revoked {name}")
