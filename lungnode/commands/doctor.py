"""``lungnode doctor``: checks of this node's setup, one line each, with the remedy for each failure."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lungnode.commands.preflight import check_audit_key, check_bundles, check_database, check_tls
from lungnode.errors import CommandError, FaultError
from lungnode.settings.dicom import AE_TITLE_PATTERN, Destination
from lungnode.settings.service import Settings, is_loopback

if TYPE_CHECKING:
    from lungnode.adapters.live_model import LiveBundle

DATABASE_S = 60.0
"""Time limit for the integrity check of the database's pages."""
CERTIFICATE_DAYS = 14
"""A certificate that expires sooner is a failure."""


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check, with a remark or the failure in ``text``."""

    name: str
    is_fine: bool
    text: str


def parse_address(text: str) -> Destination:
    """Parse ``AE@HOST:PORT``.

    Raises
    ------
    CommandError
        The text has another form.
    """
    match = re.fullmatch(r"(?P<ae>.+)@(?P<host>\[[0-9a-fA-F:]+\]|[^@:\s]+):(?P<port>\d{1,5})", text)
    if match is None or not 0 < int(match["port"]) < 65536 or not re.match(AE_TITLE_PATTERN, match["ae"]):
        raise CommandError("--pacs must be AE@HOST:PORT, for example PACS@127.0.0.1:4242")
    return Destination(ae_title=match["ae"], host=match["host"].strip("[]"), port=int(match["port"]))


def examine(settings: Settings) -> list[Check]:
    """Check settings, home, disk, database and models."""
    checks: list[Check] = [Check("settings", True, _listening(settings))]
    for name, check in (
        ("home", _home),
        ("disk", _disk),
        ("database", _database),
        ("audit key", _audit_key),
        ("clock", _clock),
        ("models", _models),
        *((("destinations", _destinations),) if settings.dicom.destinations else ()),
        *((("TLS", _tls),) if settings.dicom.tls.certificate else ()),
    ):
        checks.append(_run(name, check, settings))
    return checks


def _run(name: str, check: Callable[[Settings], str], settings: Settings) -> Check:
    from db.domain.errors import DbError
    from inference.errors import InferenceError

    try:
        return Check(name, True, check(settings))
    except (FaultError, DbError, InferenceError) as error:
        return Check(name, False, str(error))
    except OSError as error:
        return Check(name, False, f"{error.strerror or type(error).__name__}: {error.filename or settings.home}")


def _listening(settings: Settings) -> str:
    dicom, web = settings.dicom, settings.web
    sign_in = "with sign-in" if settings.web_auth_required else "without sign-in"
    peers = f"{len(dicom.peers)} peers" if dicom.peers else "any sender on this machine"
    reach = "" if is_loopback(dicom.host) and is_loopback(web.host) else ", reachable from other machines"
    return f"{dicom.ae_title} on {dicom.host}:{dicom.port} for {peers}, pages on {web.host}:{web.port} {sign_in}{reach}"


def _home(settings: Settings) -> str:
    home = settings.home
    if not home.exists():
        parent = next(folder for folder in home.parents if folder.exists())
        if not os.access(parent, os.W_OK):
            raise FaultError(f"{home} does not exist and cannot be created; set LUNGNODE_HOME to a folder of your own")
        return f"{home} will be created"
    if not os.access(home, os.W_OK | os.X_OK):
        raise FaultError(f"{home} cannot be written by this user; change its owner")
    if home.stat().st_mode & 0o077:
        raise FaultError(f"{home} can be read by others; run `chmod 700` on it")
    return str(home)


def _disk(settings: Settings) -> str:
    folder = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free_mb = shutil.disk_usage(folder).free >> 20
    if free_mb < settings.dicom.min_free_mb:
        raise FaultError(
            f"{free_mb} MiB are free, fewer than LUNGNODE_DICOM__MIN_FREE_MB ({settings.dicom.min_free_mb}): "
            "instances are refused"
        )
    return f"{free_mb} MiB free; instances are refused under {settings.dicom.min_free_mb}"


def _database(settings: Settings) -> str:
    from sqlalchemy.engine import make_url

    from db.engine.connections import database_url
    from db.engine.page_check import sqlite_damage
    from db.engine.schema import head, is_current

    kind = database_url(settings.database_url).get_backend_name()
    if kind == "sqlite" and not Path(str(make_url(settings.database_url).database)).exists():
        return "SQLite, will be created by `lungnode serve` or `lungnode db upgrade`"
    revision = check_database(settings)
    if revision is None or not is_current(settings.database_url):
        raise FaultError(f"{kind} is at revision {revision}, this version needs {head()}: run `lungnode db upgrade`")
    if kind == "sqlite":
        damage = sqlite_damage(str(database_url(settings.database_url).database), DATABASE_S)
        if damage:
            raise FaultError(f"the database is damaged ({damage}): stop the service and restore a backup")
        if damage is None:
            return f"{kind} at revision {revision}; its pages were not all checked within {DATABASE_S:.0f} s"
    return f"{kind} at revision {revision}"


def _audit_key(settings: Settings) -> str:
    path = settings.audit_key_path
    check_audit_key(settings)
    if not path.exists():
        return "will be created with the database"
    if path.stat().st_mode & 0o077:
        raise FaultError(f"{path} can be read by others; run `chmod 600` on it")
    return str(path)


def _clock(settings: Settings) -> str:
    from db.monitoring import clock
    from lungnode.commands.context import open_database

    if not _has_current_database(settings):
        return "nothing to compare it with yet"
    keep = timedelta(days=settings.retention.days) if settings.retention.days else None
    with open_database(settings) as database, database.read() as session:
        jump = clock.jump_of(session, clock.read_clocks(), keep)
    if jump is not None:
        raise FaultError(clock.sentence(jump))
    return "agrees with this machine's uptime and the latest arrivals"


def _models(settings: Settings) -> str:
    from inference.loading import load_models
    from lungnode.adapters.live_model import checked

    check_bundles(settings)
    model, promoted = settings.model, _promoted(settings)
    over, cache = checked(promoted), settings.network_cache
    models = load_models(model.bundle, model.device, model.engine, model.variant, over=over, cache=cache)
    return ("promoted, " if promoted else "") + ", ".join(
        f"{status.task}: {status.name} {status.version} on {status.device} by {status.engine}"
        for status in models.description.statuses
    )


def _promoted(settings: Settings) -> LiveBundle | None:
    """Return the promoted bundle; None without one, or without a database."""
    from lungnode.adapters.live_model import current
    from lungnode.commands.context import open_database
    from lungnode.wiring.base import open_store

    if not _has_current_database(settings):
        return None
    with open_database(settings) as database, open_store(settings) as store:
        return current(database, store.files)[1]


def _has_current_database(settings: Settings) -> bool:
    """Return whether the database is reachable and at the current revision."""
    from sqlalchemy.exc import SQLAlchemyError

    from db.engine.schema import is_current

    try:
        return is_current(settings.database_url)
    except SQLAlchemyError:
        return False


def _destinations(settings: Settings) -> str:
    dicom = settings.dicom
    callers = {peer.ae_title for peer in dicom.peers}
    committing = [node.ae_title for node in dicom.destinations if node.storage_commitment and not node.url]
    not_listed = [name for name in committing if callers and name not in callers]
    if not_listed:
        raise FaultError(
            f"{', '.join(not_listed)} cannot send storage commitment reports to this node: add it to "
            'LUNGNODE_DICOM__PEERS, with "may_store": false if it sends nothing else'
        )
    return ", ".join(f"{node.ae_title} at {node.url or f'{node.host}:{node.port}'}" for node in dicom.destinations)


def _tls(settings: Settings) -> str:
    from dicom_node.port.tls import expiry, revocation_expiry
    from lungnode.monitoring.alerts import LIST_HOURS

    files = check_tls(settings)
    if files is None:
        return "not configured"
    ends = expiry(files.certificate)
    list_ends = revocation_expiry(files.revocations) if files.revocations else None
    if files.key.stat().st_mode & 0o077:
        raise FaultError(f"{files.key} can be read by others; run `chmod 600` on it")
    left = (ends - datetime.now(UTC)).days
    if left < CERTIFICATE_DAYS:
        raise FaultError(f"{files.certificate} expires on {ends:%Y-%m-%d}: renew it")
    if list_ends is not None and list_ends - datetime.now(UTC) < timedelta(hours=LIST_HOURS):
        raise FaultError(
            f"{files.revocations} expires on {list_ends:%Y-%m-%d %H:%M} UTC; every peer is rejected from then on"
        )
    remarks = [f"certificate until {ends:%Y-%m-%d}, {left} days"]
    if files.revocations is not None:
        remarks.append(
            "revocation list " + (f"until {list_ends:%Y-%m-%d %H:%M} UTC" if list_ends else "without expiry")
        )
    if peers := settings.dicom.peers:
        remarks.append(f"{sum(peer.is_bound for peer in peers)} of {len(peers)} peers identified by certificate")
    return "; ".join(remarks)


def render(checks: Sequence[Check]) -> str:
    """Format checks as a text table."""
    return "\n".join(_lines(checks))


def _lines(checks: Sequence[Check]) -> Iterator[str]:
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"{'ok    ' if check.is_fine else 'FAILED'}  {check.name.ljust(width)}  {check.text}"
    failed = sum(not check.is_fine for check in checks)
    yield f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed"
