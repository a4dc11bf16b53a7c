"""The administrator's commands about results and retention: send again, withdraw, purge."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from lungnode.commands.context import open_database, read_settings, who
from lungnode.errors import CommandError


class Why(StrEnum):
    """Why results are withdrawn."""

    QUALITY = "quality"
    SAFETY = "safety"


def resend(
    to: Annotated[str | None, typer.Option("--to", metavar="AE", help="Only what was meant for this one.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List them and send nothing.")] = False,
) -> None:
    """Send results again that could not be delivered, and make those that could not be made; JSON lines.

    With --to, only deliveries to that destination.
    """
    from db.results import deliveries
    from db.results import failures as result_failures

    with open_database(read_settings()) as database, database.begin() as session:
        if show:
            found = deliveries.dead_letters(session, limit=10_000)
            failed = result_failures.result_failures(session, limit=10_000)
        else:
            found = deliveries.resend_dead_letters(session, requested_by=who(), destination=to)
            failed = () if to else result_failures.retry_failures(session, requested_by=who())
    for one in found:
        print(json.dumps({"id": one.id, "kind": one.kind, "destination": one.destination, "reason": one.reason}))
    for failure in failed:
        line = {"analysis": failure.analysis_id, "purpose": failure.purpose, "reason": failure.reason}
        print(json.dumps(line | {"attempts": failure.attempts}))


def retract(
    study: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")],
    why: Annotated[Why, typer.Option("--why", help="Rejected for quality, or for patient safety.")],
    because: Annotated[str, typer.Option("--because", help="In words, for whoever sees the study in the PACS.")],
) -> None:
    """Withdraw the results of a study, and tell PACS so (IHE IOCM key objects); prints one JSON object an analysis."""
    from db.domain.exchange import RetractionCode
    from db.domain.records import AnalysisStatus
    from db.read_models.studies import study_detail
    from db.results import objects as results

    code = RetractionCode.QUALITY if why is Why.QUALITY else RetractionCode.SAFETY
    with open_database(read_settings()) as database, database.begin() as session:
        detail = study_detail(session, study)
        if detail is None:
            raise CommandError("there is no such study")
        reported = [one for one in detail.analyses if one.status in (AnalysisStatus.CURRENT, AnalysisStatus.FAILED)]
        withdrawn = [
            results.retract(session, one.id, code, because, requested_by=who())
            for one in reported
            if results.results_of_analysis(session, one.id)
        ]
    if not withdrawn:
        raise CommandError("nothing was made of this study that could be withdrawn")
    for stands in withdrawn:  # an earlier withdrawal stands as it was
        told = {"analysis": stands.analysis_id, "code": stands.code.value, "reason": stands.reason}
        print(json.dumps(told | {"requested_by": stands.requested_by}))


def purge(
    days: Annotated[int | None, typer.Option("--days", min=1, help="Instead of LUNGNODE_RETENTION__DAYS.")] = None,
    show: Annotated[bool, typer.Option("--dry-run", help="Count the studies and remove none.")] = False,
    accept_clock: Annotated[
        bool,
        typer.Option("--accept-clock", help="Confirm that this machine's clock is right, after an alert about it."),
    ] = False,
) -> None:
    """Delete studies past retention with no pending work; the audit trail stays. Prints one JSON object."""
    from db.archive.purge import purgeable_count
    from db.monitoring import clock
    from dicom_node.storage.purge import GRACE, Purge
    from lungnode.wiring.base import open_store

    settings = read_settings()
    keep = days or settings.retention.days
    if not keep:
        raise CommandError("say how old: --days N, or LUNGNODE_RETENTION__DAYS")
    if show:
        with open_database(settings) as database, database.read() as session:
            print(json.dumps({"studies": purgeable_count(session, datetime.now(UTC) - timedelta(days=keep))}))
        return
    with open_database(settings) as database, open_store(settings) as store:
        if accept_clock:
            with database.begin() as session:
                clock.accept(session, clock.read_clocks(), accepted_by=who())
        purging = Purge(database, store, timedelta(days=keep), GRACE)
        studies, files = 0, 0
        if (first := purging.run()).clock_jump is not None:
            raise CommandError(clock.sentence(first.clock_jump))
        studies, files = first.study_count, first.file_count
        while (done := purging.run()).study_count:
            studies, files = studies + done.study_count, files + done.file_count
        if studies:
            time.sleep(GRACE.total_seconds())  # a sender may just be sending one of them again
        files += done.file_count + purging.run().file_count
    print(json.dumps({"studies": studies, "files": files}))


def add_to(app: typer.Typer) -> None:
    """Make these commands of ``lungnode``."""
    for command in (resend, retract, purge):
        app.command()(command)
