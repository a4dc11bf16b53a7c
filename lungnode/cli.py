"""The ``lungnode`` command line. Exit status 0 only on success; an error is one line: the problem and the remedy.

Heavy modules are imported by the commands that need them, so that ``lungnode --help`` starts fast.
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
from lungnode.commands import model as model_commands
from lungnode.commands import results as result_commands
from lungnode.commands import store as store_commands
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
app.add_typer(store_commands.app, name="store")
app.add_typer(admin.audit_app, name="audit")
app.add_typer(admin.user_app, name="user")
app.add_typer(admin.token_app, name="token")
app.add_typer(pathology.pathology_app, name="pathology")
app.add_typer(model_commands.model_app, name="model")
app.add_typer(scanners.scanner_app, name="scanner")
result_commands.add_to(app)
drift.add_to(app)


class Part(StrEnum):
    """A part of the service that can run by itself."""

    DICOM = "dicom"
    WORKER = "worker"
    WEB = "web"


def main() -> None:
    """Run a command and end the process with its exit status."""
    from lungnode.logs import exception_fields

    def on_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        location = exception_fields(error.with_traceback(trace))["location"]
        _fail(f"internal error: {kind.__name__} at {location}; please report this line as a bug")

    os.umask(0o077)  # files written by commands and the service may hold patient data
    try:
        status = run(sys.argv[1:])
    finally:
        sys.excepthook = on_exception  # last: typer installs its own hook
    for number in (signal.SIGTERM, signal.SIGINT):  # the command is done: a late signal ends the process silently
        signal.signal(number, signal.SIG_DFL)
    sys.exit(status)


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status; known errors are printed to standard error."""
    try:
        status = app(args=arguments, prog_name="lungnode", standalone_mode=False)
    except typer.Exit as ending:
        return ending.exit_code
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
    """Return the base errors of the packages imported so far."""
    families: list[type[Exception]] = [LungnodeError, OSError]
    for module, name in (
        ("db.domain.errors", "DbError"),
        ("dicom_node.encoding.errors", "DicomNodeError"),
        ("inference.errors", "InferenceError"),
        ("webapp.http.errors", "UnfitInputError"),
        ("sqlalchemy.exc", "SQLAlchemyError"),
    ):
        family = getattr(sys.modules.get(module), name, None)
        if isinstance(family, type) and issubclass(family, Exception):
            families.append(family)
    return tuple(families)


def _explain(error: Exception) -> tuple[str, ...]:
    if isinstance(error, OSError):
        path = f"{error.filename}: " if error.filename else ""
        return (f"{path}{error.strerror or type(error).__name__}",)
    if type(error).__module__.startswith("sqlalchemy"):
        kind = type(error).__name__
        return (f"database unavailable ({kind}): check LUNGNODE_DATABASE__URL, then run `lungnode db upgrade`",)
    return tuple(str(error).splitlines()) or (type(error).__name__,)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        print(package_version("lungnode"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Handle options that precede any command."""


@app.command()
def serve(
    only: Annotated[Part | None, typer.Option("--only", help="Run only this part of the service.")] = None,
) -> int:
    """Run the DICOM listener, the workers and the web pages in one supervised process tree."""
    from lungnode.commands.serve import serve as run_service

    return run_service(read_settings(), only.value if only else None) or 0


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option("--study", help="Folder of DICOM files to send instead of the generated phantom.")
    ] = None,
    exit_after: Annotated[bool, typer.Option("--exit", help="Exit after the result instead of at Ctrl-C.")] = False,
) -> int:
    """Start the service on loopback, send a chest CT from a demo PACS, and print the results."""
    if study is not None and not study.is_dir():
        raise CommandError(f"--study {study}: folder not found")
    from lungnode.demo.command import run_demo

    return run_demo(read_settings(), study, exit_after) or 0


@app.command()
def doctor(
    pacs: Annotated[str | None, typer.Option("--pacs", metavar="AE@HOST:PORT", help="Also test this PACS.")] = None,
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
    row: Annotated[float | None, typer.Option("--row", help="Pixel row of the nodule centre (DICOM only).")] = None,
    column: Annotated[
        float | None, typer.Option("--column", help="Pixel column of the nodule centre (DICOM only).")
    ] = None,
) -> int:
    """Print the answer of POST /predict for each file, as JSON lines."""
    from lungnode.commands.predict import answer_files, as_line, prediction_app, unreadable_files

    if (row is None) != (column is None):
        raise CommandError("--row and --column must be given together")
    centre = {"row": row, "column": column}
    fields = {name: str(value) for name, value in centre.items() if value is not None}
    failed, unreadable = 0, {file.path: file.problem for file in unreadable_files(files)}
    for path, problem in unreadable.items():
        failed += _fail(f"{path}: {problem}")
    readable = [path for path in files if path not in unreadable]
    if not readable:
        return 1
    with prediction_app(read_settings()) as web:
        for result in answer_files(web, readable, fields):
            if result.answer is not None:
                print(as_line(result.answer), flush=True)
            else:
                failed += _fail(f"{result.path}: {result.problem}")
    return 1 if failed else 0


@app.command()
def retrieve(
    accession: Annotated[list[str] | None, typer.Option("--accession", help="Accession number; repeatable.")] = None,
    study: Annotated[list[str] | None, typer.Option("--study", help="Study Instance UID; repeatable.")] = None,
    source: Annotated[str | None, typer.Option("--from", metavar="AE", help="AE title of the peer to ask.")] = None,
    with_everything: Annotated[
        bool, typer.Option("--all-series", help="Include series that are not CT or have too few slices.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Retrieve again what is already stored; repairs damaged files.")
    ] = False,
) -> int:
    """Retrieve CT series from a configured PACS to the running listener; prints one JSON object per series."""
    from dicom_node.client.retrieve_client import INCOMPLETE, MISMATCH, Scope
    from lungnode.commands.retrieve import check_keys, choose_pacs
    from lungnode.commands.retrieve import retrieve as retrieve_study

    queries = [{"accession": text} for text in accession or ()] + [{"study": text} for text in study or ()]
    if not queries:
        raise CommandError("specify a study: --accession N or --study UID")
    for query in queries:
        check_keys(**query)
    settings = read_settings()
    pacs = choose_pacs(settings, source)
    problems = 0
    with open_database(settings) as database:
        for query in queries:
            try:
                for series in retrieve_study(settings, database, pacs, scope=Scope(with_everything, force), **query):
                    print(json.dumps(dataclasses.asdict(series)), flush=True)
                    if series.outcome in (INCOMPLETE, MISMATCH):
                        problems += _fail(f"series {series.series_instance_uid}: {series.reason}")
                    if series.unrequested:
                        text = f"{pacs.ae_title} sent {series.unrequested} instances of other studies in the meantime"
                        _fail(f"warning: {text}")
            except CommandError as error:  # the next query may succeed
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
    """Restore a backup into an empty LUNGNODE_HOME, checking every digest; can be rerun after an interruption."""
    from lungnode.commands.restore import restore_backup

    manifest = restore_backup(read_settings(is_restoring=True), source)
    print(json.dumps(manifest.summary()))
