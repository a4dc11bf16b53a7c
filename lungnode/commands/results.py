"""Commands for results and retention: ``lungnode resend``, ``retract`` and ``purge``."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from lungnode.commands.context import open_database, read_settings, who
from lungnode.errors import CommandError


class RejectionCode(StrEnum):
    """Reason codes of a rejection note (PS3.16 CID 7011)."""

    QUALITY = "quality"
    SAFETY = "safety"


def resend(
    to: Annotated[str | None, typer.Option("--to", metavar="AE", help="Only deliveries to this AE title.")] = None,
    show: Annotated[bool, typer.Option("--list", help="List failed deliveries without sending.")] = False,
) -> None:
    """Retry failed deliveries and failed results; prints one JSON object for each.

    With --to, only deliveries to that destination.
    """
    from db.results import deliveries
    from db.results import failures as result_failures

    with open_database(read_settings()) as database, database.begin() as session:
        if show:
            letters = deliveries.dead_letters(session, limit=10_000)
            failed = result_failures.result_failures(session, limit=10_000)
        else:
            letters = deliveries.resend_dead_letters(session, requested_by=who(), destination=to)
            failed = () if to else result_failures.retry_failures(session, requested_by=who())
    for letter in letters:
        line = {"id": letter.id, "kind": letter.kind, "destination": letter.destination, "reason": letter.reason}
        print(json.dumps(line))
    for failure in failed:
        line = {"analysis": failure.analysis_id, "purpose": failure.purpose, "reason": failure.reason}
        print(json.dumps(line | {"attempts": failure.attempts}))


def retract(
    study: Annotated[str, typer.Argument(metavar="UID", help="Study Instance UID.")],
    code: Annotated[RejectionCode, typer.Option("--code", help="Reason code of the rejection note (IHE IOCM).")],
    reason: Annotated[str, typer.Option("--reason", help="Reason in words, shown in the PACS.")],
) -> None:
    """Withdraw a study's results, in the PACS too (IHE IOCM); prints one JSON object per analysis."""
    from db.domain.analyses import AnalysisStatus
    from db.domain.exchange import RetractionCode
    from db.read_models.studies import study_detail
    from db.results import objects as results

    retraction = RetractionCode.QUALITY if code is RejectionCode.QUALITY else RetractionCode.SAFETY
    with open_database(read_settings()) as database, database.begin() as session:
        detail = study_detail(session, study)
        if detail is None:
            raise CommandError("study not found")
        statuses = (AnalysisStatus.CURRENT, AnalysisStatus.FAILED)
        reported = [analysis for analysis in detail.analyses if analysis.status in statuses]
        withdrawn = [
            results.retract(session, analysis.id, retraction, reason, requested_by=who())
            for analysis in reported
            if results.results_of_analysis(session, analysis.id)
        ]
    if not withdrawn:
        raise CommandError("this study has no results to withdraw")
    for record in withdrawn:  # an earlier withdrawal is returned unchanged
        line = {"analysis": record.analysis_id, "code": record.code.value, "reason": record.reason}
        print(json.dumps(line | {"requested_by": record.requested_by}))


def purge(
    days: Annotated[int | None, typer.Option("--days", min=1, help="Instead of LUNGNODE_RETENTION__DAYS.")] = None,
    show: Annotated[bool, typer.Option("--dry-run", help="Only count the studies.")] = False,
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
    retention_days = days or settings.retention.days
    if not retention_days:
        raise CommandError("specify --days N or set LUNGNODE_RETENTION__DAYS")
    if show:
        with open_database(settings) as database, database.read() as session:
            print(json.dumps({"studies": purgeable_count(session, datetime.now(UTC) - timedelta(days=retention_days))}))
        return
    with open_database(settings) as database, open_store(settings) as store:
        if accept_clock:
            with database.begin() as session:
                clock.accept(session, clock.read_clocks(), accepted_by=who())
        purging = Purge(database, store, timedelta(days=retention_days), GRACE)
        studies, files = 0, 0
        if (first := purging.run()).clock_jump is not None:
            raise CommandError(clock.sentence(first.clock_jump))
        studies, files = first.study_count, first.file_count
        while (done := purging.run()).study_count:
            studies, files = studies + done.study_count, files + done.file_count
        if studies:
            time.sleep(GRACE.total_seconds())  # a sender may be re-sending one of them
        files += done.file_count + purging.run().file_count
    print(json.dumps({"studies": studies, "files": files}))


def add_to(app: typer.Typer) -> None:
    """Register the commands on ``app``."""
    for command in (resend, retract, purge):
        app.command()(command)
