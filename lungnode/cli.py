"""The ``lungnode`` command. Exit status 0 only on success; an error is a line that says what is wrong and what to do.

Nothing heavy is imported until a command needs it, so that ``lungnode --help`` answers at once.
"""

from __future__ import annotations

import getpass
import json
import sys
from enum import StrEnum
from importlib.metadata import version as package_version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from lungnode.errors import CommandError, LungnodeError

if TYPE_CHECKING:
    from db.engine import Database
    from lungnode.settings import Settings

_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of everything that the command line's parser refuses; newer typer carries its own copy of click."""

app = typer.Typer(
    name="lungnode",
    help="A calibrated second reader for lung CT that lives on the hospital's DICOM network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
db_app = typer.Typer(help="The database's structure.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit trail.", no_args_is_help=True)
user_app = typer.Typer(help="People who may sign in.", no_args_is_help=True)
token_app = typer.Typer(help="Tokens for programs.", no_args_is_help=True)
app.add_typer(db_app, name="db")
app.add_typer(audit_app, name="audit")
app.add_typer(user_app, name="user")
app.add_typer(token_app, name="token")


class Part(StrEnum):
    """A part of the service that can run alone."""

    DICOM = "dicom"
    WORKER = "worker"
    WEB = "web"


class RoleName(StrEnum):
    """What a person or a program may do; the words are the database's."""

    ADMIN = "admin"
    RADIOLOGIST = "radiologist"
    AUDITOR = "auditor"
    SERVICE = "service"


def main() -> None:
    """Run a command and end the process with its exit status."""
    from lungnode.logs import exception_fields

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        place = exception_fields(error.with_traceback(trace))["location"]
        _fail(f"internal error: {kind.__name__} at {place}; this is a defect, please report that line")

    try:
        status = run(sys.argv[1:])
    finally:
        sys.excepthook = on_exception  # last, for typer installs a hook of its own
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run a command; errors that we know become lines on standard error and a status other than 0."""
    try:
        status = app(args=arguments, standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", status=130)
    except _UsageProblem as refused:
        return _fail(_usage_line(refused), status=2)
    except _known_errors() as error:
        return _fail(*_explain(error))
    return status if isinstance(status, int) else 0


def _usage_line(refused: Exception) -> str:
    message = " ".join(str(getattr(refused, "format_message", refused.__str__)()).split())
    command = getattr(getattr(refused, "ctx", None), "command_path", None) or "lungnode"
    return f"{message} (see `{command} --help`)"


def _fail(*lines: str, status: int = 1) -> int:
    for line in lines:
        print(f"lungnode: {line}", file=sys.stderr)
    return status


def _known_errors() -> tuple[type[Exception], ...]:
    """Error families of the packages that are loaded; one that was never imported cannot have been raised."""
    families: list[type[Exception]] = [LungnodeError, OSError]
    for module, name in (
        ("db.errors", "DbError"),
        ("dicom_node.errors", "DicomNodeError"),
        ("inference.errors", "InferenceError"),
        ("webapp.ports", "UnfitInputError"),
        ("sqlalchemy.exc", "SQLAlchemyError"),
    ):
        family = getattr(sys.modules.get(module), name, None)
        if isinstance(family, type) and issubclass(family, Exception):
            families.append(family)
    return tuple(families)


def _explain(error: Exception) -> tuple[str, ...]:
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return (f"{place}{error.strerror or type(error).__name__}",)
    if type(error).__module__.startswith("sqlalchemy"):
        kind = type(error).__name__
        return (f"the database did not answer ({kind}): check LUNGNODE_DATABASE__URL, then run `lungnode db upgrade`",)
    return tuple(str(error).splitlines()) or (type(error).__name__,)


def _settings() -> Settings:
    from lungnode.logs import configure_logging
    from lungnode.settings_table import load_settings

    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)
    return settings


def _database(settings: Settings) -> Database:
    """Open the database; creates nothing but HOME and the audit key."""
    from db.engine import Database, load_or_create_audit_key

    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Database(settings.database_url, load_or_create_audit_key(settings.audit_key_path))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(package_version("lungnode"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Answer --version before any command."""


@app.command()
def serve(
    only: Annotated[Part | None, typer.Option("--only", help="Run one part of the service alone.")] = None,
) -> int:
    """Run the DICOM listener, the workers and the web pages in one supervised process tree."""
    from lungnode.serve import serve as run_service

    return run_service(_settings(), only.value if only else None) or 0


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option("--study", help="Push this folder of DICOM instead of the generated phantom.")
    ] = None,
    exit_after: Annotated[bool, typer.Option("--exit", help="End after the result instead of at Ctrl-C.")] = False,
) -> int:
    """Start the service on loopback, let a rehearsal PACS push a chest CT, and print what came back."""
    from lungnode.demo import run_demo

    if study is not None and not study.is_dir():
        raise CommandError(f"--study {study}: there is no such folder")
    return run_demo(_settings(), study, exit_after) or 0


@app.command()
def doctor(
    pacs: Annotated[
        str | None, typer.Option("--pacs", metavar="AE@HOST:PORT", help="Also try everything against this PACS.")
    ] = None,
) -> int:
    """Check settings, database, model and disk; with --pacs also C-ECHO, C-STORE of each result type and C-FIND."""
    from lungnode.doctor import examine, parse_address, render

    address = parse_address(pacs) if pacs else None
    findings = examine(_settings(), address)
    print(render(findings))
    return 0 if all(finding.is_fine for finding in findings) else 1


@app.command()
def backup(target: Annotated[Path, typer.Argument(help="Folder to create; it must not exist yet.")]) -> None:
    """Copy database, stored files and keys while the service runs."""
    from lungnode.backup import create_backup

    manifest = create_backup(_settings(), target)
    print(json.dumps(manifest.summary()))


@app.command()
def restore(source: Annotated[Path, typer.Argument(help="Folder that `lungnode backup` wrote.")]) -> None:
    """Lay a backup into an empty LUNGNODE_HOME, checking every digest."""
    from lungnode.backup import restore_backup

    manifest = restore_backup(_settings(), source)
    print(json.dumps(manifest.summary()))


@db_app.command("upgrade")
def db_upgrade(revision: Annotated[str, typer.Argument(help="Revision to reach.")] = "head") -> None:
    """Bring the database to the newest structure (safe to repeat)."""
    from db.schema import current, upgrade

    settings = _settings()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(settings.database_url, revision)
    print(f"database is at revision {current(settings.database_url)}")


@audit_app.command("verify")
def audit_verify() -> int:
    """Check the whole chain of the audit trail; prints one JSON object and fails if any event was touched."""
    from db.audit import verify

    result = verify(_database(_settings()))
    print(json.dumps({"intact": result.is_intact, "events": result.event_count, "head": result.head}))
    return 0 if result.is_intact else _fail(*result.problems)


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="Name to sign in with.")],
    role: Annotated[RoleName, typer.Option("--role", help="What this person may do.")] = RoleName.RADIOLOGIST,
) -> None:
    """Add a person; the password is asked for, or read from standard input, and never an argument."""
    from db.domain import Role
    from db.users import add_user

    database = _database(_settings())
    password = _read_password()
    with database.begin() as session:
        add_user(session, name, password, Role(role.value))
    print(f"added {role.value} {name}")


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandError("the two passwords differ; nothing was added")
    return password


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    role: Annotated[RoleName, typer.Option("--role", help="What its bearer may do.")] = RoleName.SERVICE,
) -> None:
    """Create a token for a program; it is printed once and only its digest is kept."""
    from db.domain import Role
    from db.users import create_token

    with _database(_settings()).begin() as session:
        plain, _ = create_token(session, name, Role(role.value))
    print(plain)
