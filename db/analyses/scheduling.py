"""Scheduling: due times of pending analyses, so that workers take the most urgent one first.

An analysis is due sooner the fewer images of its study remain up to and including it: a small study never waits behind
one of 5000 slices, and the series of one study alternate with those of others. What was requested long ago is due
before anything new, so nothing starves. As on the worklist, requests of users and probably malignant studies come
sooner, reviewed ones later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.analyses.analyses import SYSTEM
from db.domain.analyses import AnalysisRecord
from db.tables.studies import StudyRow

SLICE_S = 2.0
"""Delay, in seconds, per image of the study still to be analysed, up to and including this series."""
USER_REQUEST_S = 1800.0
"""Seconds by which a user's request is due sooner."""
LIKELY_S = 600.0
"""Seconds by which an earlier malignancy probability of 1 makes it due sooner; proportional below 1."""
REVIEWED_S = 4 * 3600.0
"""Seconds by which a reviewed study is due later: the longest wait of the worklist."""


def due_times(session: Session, pending: Sequence[AnalysisRecord]) -> dict[str, datetime]:
    """Return the due time of each pending analysis (all of them, oldest first), by its id."""
    studies = _studies(session, {record.study_instance_uid for record in pending})
    image_counts: defaultdict[str, int] = defaultdict(int)
    due = {}
    for record in pending:
        image_counts[record.study_instance_uid] += record.instance_count
        probability, is_reviewed = studies.get(record.study_instance_uid, (0.0, False))
        slack_s = image_counts[record.study_instance_uid] * SLICE_S - probability * LIKELY_S
        slack_s += REVIEWED_S if is_reviewed else 0.0
        slack_s -= USER_REQUEST_S if record.requested_by != SYSTEM else 0.0
        due[record.id] = record.requested_at + timedelta(seconds=slack_s)
    return due


def _studies(session: Session, uids: set[str]) -> dict[str, tuple[float, bool]]:
    """Return malignancy probability and review status by Study Instance UID."""
    statement = select(StudyRow.study_instance_uid, StudyRow.malignancy_probability, StudyRow.reviewed_at).where(
        StudyRow.study_instance_uid.in_(uids)
    )
    return {uid: (probability or 0.0, at is not None) for uid, probability, at in session.execute(statement)}
