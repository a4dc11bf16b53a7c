"""Checks before the service starts: HOME, disk, database, model bundles, TLS files and the port of the pages.

A failure ends ``lungnode serve`` with the path and the setting, instead of restarting a part for ever. The same checks
are part of ``lungnode doctor``, with more that do not prevent a start (a certificate that expires soon, a HOME that
others can read).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from db.engine.files import probe_disk
from lungnode.errors import CommandError, FaultError
from lungnode.settings.service import Settings

if TYPE_CHECKING:
    from dicom_node.port.tls import TlsFiles

"""Size of the test file; a file system may report free space and still be over quota."""


def check_start(settings: Settings, parts: Sequence[str]) -> None:
    """Check the prerequisites of the parts (``dicom``, ``worker``, ``web``); creates HOME.

    Raises
    ------
    CommandError
        One line for each fault.
    """
    checks: list[Callable[[Settings], object]] = [check_home, check_disk, check_database, check_audit_key]
    if {"worker", "web"} & set(parts):
        checks.append(check_bundles)
    if "dicom" in parts or "worker" in parts:
        checks.append(check_tls)
    if "web" in parts:
        checks.append(check_web_port)
    problems = []
    for check in checks:
        try:
            check(settings)
        except FaultError as fault:
            problems.append(str(fault))
            if check is check_home:
                break
    if problems:
        raise CommandError("\n".join(problems))


def check_home(settings: Settings) -> None:
    """Create HOME if missing, and check that this user can write to it.

    Raises
    ------
    FaultError
    """
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if home.is_file() else error.strerror or type(error).__name__
        raise FaultError(
            f"{home} cannot be created ({why}); set LUNGNODE_HOME to a folder that this user can write"
        ) from None
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        raise FaultError(f"{home} cannot be written by this user; change its owner, or set LUNGNODE_HOME")


def check_disk(settings: Settings) -> None:
    """Check that a file can be written to HOME.

    Raises
    ------
    FaultError
    """
    try:
        probe_disk(settings.home)
    except OSError as error:
        raise FaultError(
            f"nothing can be written to {settings.home} ({error.strerror}); free space there, or set LUNGNODE_HOME"
        ) from None


def check_database(settings: Settings) -> str | None:
    """Return the revision of a database that answers and is of this release or an earlier one; None without a schema.

    Raises
    ------
    FaultError
    """
    from db.domain.errors import DbError
    from db.engine.connections import database_url
    from db.engine.schema import current, is_newer, unknown_revision

    try:
        url = database_url(settings.database_url)
        revision = current(settings.database_url)
        newer = is_newer(settings.database_url)
    except DbError as error:
        raise FaultError(f"{error}: check LUNGNODE_DATABASE__URL") from None
    except Exception as error:
        if not type(error).__module__.startswith(("sqlalchemy", "psycopg")):
            raise
        if url.get_backend_name() == "sqlite":
            why = getattr(getattr(error, "orig", None), "args", None) or (type(error).__name__,)
            raise FaultError(
                f"{url.database} cannot be used as a database ({why[0]}): check its owner, LUNGNODE_HOME and "
                "LUNGNODE_DATABASE__URL, or restore a backup"
            ) from None
        raise FaultError(f"PostgreSQL does not answer ({type(error).__name__}): check LUNGNODE_DATABASE__URL") from None
    if newer:
        raise FaultError(unknown_revision(revision))
    return revision


def check_audit_key(settings: Settings) -> None:
    """Check that the key of a non-empty audit log exists and is readable.

    Raises
    ------
    FaultError
    """
    from sqlalchemy.exc import SQLAlchemyError

    from db.database import check_audit_key as check
    from db.domain.errors import AuditKeyError, DbError

    path = settings.audit_key_path
    try:
        check(settings.database_url, path)
        if path.exists():
            path.open("rb").close()
    except AuditKeyError as error:
        raise FaultError(str(error)) from None
    except (DbError, SQLAlchemyError):
        return  # reported by the database check
    except OSError as error:
        raise FaultError(
            f"{path} cannot be read ({error.strerror}): check its owner, LUNGNODE_HOME and "
            "LUNGNODE_DATABASE__AUDIT_KEY_FILE"
        ) from None


def check_bundles(settings: Settings) -> None:
    """Check that the configured bundles exist and their weights match the digests.

    Raises
    ------
    FaultError
    """
    from inference.bundle import bundle_folders, describe_bundle
    from inference.errors import InferenceError

    model = settings.model
    for name, folders in (
        ("LUNGNODE_MODEL__BUNDLE", (model.bundle,)),
        ("LUNGNODE_MODEL__SHADOW_BUNDLE", (model.shadow_bundle,)),
    ):
        if name.endswith("SHADOW_BUNDLE") and model.shadow_bundle is None:
            continue
        try:
            for folder in bundle_folders(*folders).values():
                describe_bundle(folder)
        except InferenceError as error:
            raise FaultError(f"{error}: check {name}") from None


def check_tls(settings: Settings) -> TlsFiles | None:
    """Check that the files of LUNGNODE_DICOM__TLS are valid, and return them; None without TLS.

    Raises
    ------
    FaultError
    """
    from dicom_node.port.tls import client_context, expiry, revocation_expiry, server_context
    from lungnode.wiring.nodes import tls_files

    files = tls_files(settings)
    if files is None:
        return None
    for name, path in (
        ("CERTIFICATE", files.certificate),
        ("KEY", files.key),
        ("AUTHORITY", files.authority),
        ("REVOCATIONS", files.revocations),
    ):
        if path is not None:
            _check_readable(path, f"LUNGNODE_DICOM__TLS__{name}")
    try:
        server_context(files)
        client_context(files)
        expiry(files.certificate)
        if files.revocations:
            revocation_expiry(files.revocations)
    except (ssl.SSLError, ValueError):
        raise FaultError(
            "a file of LUNGNODE_DICOM__TLS is not a valid PEM file, or key and certificate differ"
        ) from None
    return files


def _check_readable(path: Path, setting: str) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise FaultError(f"{path} cannot be read ({error.strerror}): check {setting}") from None


def check_web_port(settings: Settings) -> None:
    """Check that the web server's address is free (the listener's is bound first).

    Raises
    ------
    FaultError
    """
    from lungnode.processes.parts import cannot_listen

    web = settings.web
    if not web.port:
        return
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise FaultError(str(cannot_listen("WEB", web.host, web.port, error))) from None
