"""Self-checks of the node: clock, database pages and damaged files."""

from __future__ import annotations

import logging

from db.database import Database
from db.engine.page_check import database_damage
from db.monitoring import clock, faults
from dicom_node.storage.instance_store import InstanceStore
from dicom_node.storage.integrity import recheck

_log = logging.getLogger(__name__)

CLOCK_EVERY_S = 60.0
DATABASE_EVERY_S = 6 * 3600.0
DATABASE_LIMIT_S = 120.0
"""Time limit for the check of all pages, which reads about a gigabyte in some seconds."""
FILES_EVERY_S = 300.0


def check_clock(database: Database) -> None:
    """Record the clocks; report a fault if they disagree."""
    with database.begin() as session:
        jump = clock.observe(session, clock.read_clocks())
    if jump is not None:
        _log.error("clock:jumped", extra={"code": faults.CLOCK})


def check_database(database: Database) -> None:
    """Check the database pages; report a fault, or clear it if there is no damage."""
    damage = database_damage(database, DATABASE_LIMIT_S)
    if damage:
        _log.error("database:damaged", extra={"code": faults.DAMAGED_DATABASE})
    with database.begin() as session:
        if damage:
            faults.report(session, faults.DAMAGED_DATABASE, details={"problem": damage})
        elif damage is not None:
            faults.mend(session, faults.DAMAGED_DATABASE)


def check_files(database: Database, store: InstanceStore) -> None:
    """Recheck damaged files."""
    recheck(database, store)
