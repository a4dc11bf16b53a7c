"""The administrator's commands: structure of the database, audit trail, people and tokens."""

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

db_app = typer.Typer(help="The database's structure.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit trail.", no_args_is_help=True)
user_app = typer.Typer(help="People who may sign in.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for programs.", no_args_is_help=True)


PAGES_S = 60.0
"""A check of the database's pages is given up after so long."""


class RoleName(StrEnum):
    """What a person or a program may do; the words are the database's."""

    ADMIN = "admin"
    RADIOLOGIST = "radiologist"
    AUDITOR = "auditor"
    SERVICE = "service"


Name = Annotated[str, typer.Argument(help="The name.")]
Account = Annotated[str, typer.Argument(help="The name, or sso:... for a person of an identity provider.")]
Role = Annotated[RoleName, typer.Option("--role", help="What its bearer may do.")]


@db_app.command("upgrade")
def db_upgrade(revision: Annotated[str, typer.Argument(help="Revision to reach.")] = "head") -> None:
    """Bring the database to the newest structure (safe to repeat)."""
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
    """Check the whole chain; prints one JSON object and fails if any event was touched."""
    from db.audit.verification import verify
    from db.engine.page_check import database_damage

    with open_database(read_settings()) as database:
        found = verify(database, anchor)
        damage = database_damage(database, PAGES_S)
    is_intact = found.is_intact and not damage
    print(json.dumps({"intact": is_intact, "events": found.event_count, "head": found.head}))
    for problem in (*found.problems, *([f"the database is damaged ({damage})"] if damage else [])):
        print(f"lungnode: {problem}", file=sys.stderr)
    return 0 if is_intact else 1


@audit_app.command("anchor")
def audit_anchor(file: Annotated[Path, typer.Argument(help="File to write, kept on another system.")]) -> None:
    """Write the end of the chain to a file, so that a later roll-back of the whole database is found."""
    from db.audit.verification import write_anchor

    with open_database(read_settings()) as database:
        head = write_anchor(database, file)
    print(json.dumps({"sequence": head.sequence, "head": head.mac}))


@user_app.command("add")
def user_add(name: Name, role: Role = RoleName.RADIOLOGIST) -> None:
    """Add a person; the password is asked for, or read from standard input, and never an argument."""
    from db.accounts.users import add_user
    from db.domain import records as domain

    with open_database(read_settings()) as database:
        password = _read_password()
        with database.begin() as session:
            add_user(session, name, password, domain.Role(role.value))
    print(f"added {name} as {role.value}")


@user_app.command("password")
def user_password(name: Name) -> None:
    """Give a person another password; ends the person's sessions and tokens."""
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
    """Give a person another role; ends the person's sessions and tokens."""
    from db.accounts.users import set_role
    from db.domain import records as domain

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
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="Days until it expires; for good if left out.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", help="Person who answers for it; ends with the person's access.")
    ] = None,
) -> None:
    """Create a token for a program; it is printed once and only its digest is kept."""
    from db.accounts.tokens import create_token
    from db.domain import records as domain

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
