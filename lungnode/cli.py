"""The ``lungnode`` command. Exit status 0 only on success; an error is a line that says what is wrong and what to do.

Nothing heavy is imported until a command needs it, so that ``lungnode --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from enum import StrEnum
from importlib.metadata import version as package_version
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
import typer.core

from lungnode import drift
from lungnode.commands import admin, pathology, scanners
from lungnode.commands import model as models
from lungnode.commands import results as upkeep
from lungnode.commands import store as store_check
from lungnode.commands.context import open_database, read_settings
from lungnode.errors import CommandError, LungnodeError, SettingsError

_UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""Base of everything that the command line's parser refuses; newer typer carries its own copy of click."""

typer.core.HAS_RICH = False  # it would escape the brackets of "[required]" although no markup is read
app = typer.Typer(
    name="lungnode",
    help="A calibrated second reader for lung CT that lives on the hospital's DICOM network.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(admin.db_app, name="db")
app.add_typer(store_check.app, name="store")
app.add_typer(admin.audit_app, name="audit")
app.add_typer(admin.user_app, name="user")
app.add_typer(admin.token_app, name="token")
app.add_typer(pathology.pathology_app, name="pathology")
app.add_typer(models.model_app, name="model")
app.add_typer(scanners.scanner_app, name="scanner")
upkeep.add_to(app)
drift.add_to(app)


class Part(StrEnum):
    """A part of the service that can run alone."""

    DICOM = "dicom"
    WORKER = "worker"
    WEB = "web"


def main() -> None:
    """Run a command and end the process with its exit status."""
    from lungnode.logs import exception_fields

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        place = exception_fields(error.with_traceback(trace))["location"]
        _fail(f"internal error: {kind.__name__} at {place}; this is a defect, please report that line")

    os.umask(0o077)  # whatever a command or the service writes may concern patients
    try:
        status = run(sys.argv[1:])
    finally:
        sys.excepthook = on_exception  # last, for typer installs a hook of its own
    for number in (signal.SIGTERM, signal.SIGINT):  # all is done: one that comes now ends us without a word
        signal.signal(number, signal.SIG_DFL)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run a command; errors that we know become lines on standard error and a status other than 0."""
    try:
        status = app(args=arguments, prog_name="lungnode", standalone_mode=False)
    except typer.Exit as done:
        return done.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted", status=130)
    except _UsageProblem as refused:
        return _fail(_usage_line(refused), status=2)
    except SettingsError as error:
        return _fail(*error.problems, status=2)
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
        ("db.domain.errors", "DbError"),
        ("dicom_node.encoding.errors", "DicomNodeError"),
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
    from lungnode.commands.serve import serve as run_service

    return run_service(read_settings(), only.value if only else None) or 0


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option("--study", help="Push this folder of DICOM instead of the generated phantom.")
    ] = None,
    exit_after: Annotated[bool, typer.Option("--exit", help="End after the result instead of at Ctrl-C.")] = False,
) -> int:
    """Start the service on loopback, let a rehearsal PACS push a chest CT, and print what came back."""
    if study is not None and not study.is_dir():
        raise CommandError(f"--study {study}: there is no such folder")
    from lungnode.demo.command import run_demo

    return run_demo(read_settings(), study, exit_after) or 0


@app.command()
def doctor(
    pacs: Annotated[
        str | None, typer.Option("--pacs", metavar="AE@HOST:PORT", help="Also try everything against this PACS.")
    ] = None,
) -> int:
    """Check settings, database, model and disk; with --pacs also C-ECHO, C-STORE of each result type and C-FIND."""
    from lungnode.commands.doctor import examine, parse_address, render

    address = parse_address(pacs) if pacs else None
    settings = read_settings()
    checks = examine(settings)
    if address is not None:
        from lungnode.commands.doctor_pacs import examine_pacs

        checks += examine_pacs(settings, address)
    print(render(checks))
    return 0 if all(check.is_fine for check in checks) else 1


@app.command()
def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PNG, JPEG or DICOM.")],
    row: Annotated[float | None, typer.Option("--row", help="Row of a nodule, in a DICOM instance.")] = None,
    column: Annotated[float | None, typer.Option("--column", help="Column of that nodule.")] = None,
) -> int:
    """Print the answer of POST /predict for each file, as JSON lines."""
    from lungnode.commands.predict import answer_files, as_line, prediction_app, unreadable

    if (row is None) != (column is None):
        raise CommandError("--row and --column belong together")
    place = {"row": row, "column": column}
    fields = {name: str(value) for name, value in place.items() if value is not None}
    failed, refused = 0, {found.path: found.problem for found in unreadable(files)}
    for path, problem in refused.items():
        failed += _fail(f"{path}: {problem}")
    readable = [path for path in files if path not in refused]
    if not readable:
        return 1
    with prediction_app(read_settings()) as web:
        for found in answer_files(web, readable, fields):
            if found.answer is not None:
                print(as_line(found.answer), flush=True)
            else:
                failed += _fail(f"{found.path}: {found.problem}")
    return 1 if failed else 0


@app.command()
def retrieve(
    accession: Annotated[list[str] | None, typer.Option("--accession", help="Accession number; repeatable.")] = None,
    study: Annotated[list[str] | None, typer.Option("--study", help="Study Instance UID; repeatable.")] = None,
    source: Annotated[str | None, typer.Option("--from", metavar="AE", help="AE title of the peer to ask.")] = None,
    with_everything: Annotated[
        bool, typer.Option("--all-series", help="Also what is not CT or has too few slices to be analysed.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also what is here already, which mends damaged files.")
    ] = False,
) -> int:
    """Have a configured PACS send CT series to the running listener; prints one JSON object a series."""
    from dicom_node.client.retrieve_client import INCOMPLETE, MISMATCH, Scope
    from lungnode.commands.retrieve import check_keys, choose_pacs
    from lungnode.commands.retrieve import retrieve as ask

    wanted = [{"accession": text} for text in accession or ()] + [{"study": text} for text in study or ()]
    if not wanted:
        raise CommandError("specify a study: --accession N or --study UID")
    for query in wanted:
        check_keys(**query)
    settings = read_settings()
    pacs = choose_pacs(settings, source)
    problems = 0
    with open_database(settings) as database:
        for query in wanted:
            try:
                for told in ask(settings, database, pacs, scope=Scope(with_everything, again), **query):
                    print(json.dumps(dataclasses.asdict(told)), flush=True)
                    if told.outcome in (INCOMPLETE, MISMATCH):
                        problems += _fail(f"series {told.series_instance_uid}: {told.reason}")
                    if told.unrequested:
                        text = f"{pacs.ae_title} sent {told.unrequested} instances of other studies in the meantime"
                        _fail(f"warning: {text}")
            except CommandError as error:  # the next one may be there
                problems += _fail(*_explain(error))
    return 1 if problems else 0


@app.command()
def backup(target: Annotated[Path, typer.Argument(help="Folder to create; it must not exist yet.")]) -> None:
    """Copy database, stored files and keys while the service runs."""
    from lungnode.commands.backup import create_backup

    manifest = create_backup(read_settings(), target)
    print(json.dumps(manifest.summary()))


@app.command()
def restore(source: Annotated[Path, typer.Argument(help="Folder that `lungnode backup` wrote.")]) -> None:
    """Restore a backup into an empty LUNGNODE_HOME, checking every digest; safe to run again after an interruption."""
    from lungnode.commands.restore import restore_backup

    manifest = restore_backup(read_settings(is_restoring=True), source)
    print(json.dumps(manifest.summary()))
