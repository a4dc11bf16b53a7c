"""Whose turn it is: by when each pending analysis should be done, so that workers take the most pressing one first.

An analysis is due the sooner, the fewer images its study still has before and in it: a small study never waits behind
one of 5000 slices, and the series of one study take turns with those of others. What was asked for long ago is due
before anything new, so nothing starves. As on the worklist, what a person waits for and what is likely to be malignant
comes sooner, what was reviewed already comes later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.analyses.analyses import SYSTEM
from db.domain.records import AnalysisRecord
from db.tables.arrivals import StudyRow

SLICE_S = 2.0
"""Each image of the study that is still to be analysed, up to and with this series, puts it off by so much."""
PERSON_S = 1800.0
"""What a person asked for is due sooner by so much."""
LIKELY_S = 600.0
"""And what an earlier analysis found malignant with certainty, by so much; less where it was less certain."""
REVIEWED_S = 4 * 3600.0
"""What was reviewed already is due later by so much: the longest wait of the worklist."""


def due_times(session: Session, pending: Sequence[AnalysisRecord]) -> dict[str, datetime]:
    """Tell by when each of the pending analyses (all there are, oldest first) should be done, by its id."""
    known = _studies(session, {record.study_instance_uid for record in pending})
    ahead: defaultdict[str, int] = defaultdict(int)
    due = {}
    for record in pending:
        ahead[record.study_instance_uid] += record.instance_count
        likely, is_reviewed = known.get(record.study_instance_uid, (0.0, False))
        slack_s = ahead[record.study_instance_uid] * SLICE_S - likely * LIKELY_S
        slack_s += REVIEWED_S if is_reviewed else 0.0
        slack_s -= PERSON_S if record.requested_by != SYSTEM else 0.0
        due[record.id] = record.requested_at + timedelta(seconds=slack_s)
    return due


def _studies(session: Session, uids: set[str]) -> dict[str, tuple[float, bool]]:
    """Probability and review of the studies that have any; the others need no row."""
    statement = select(StudyRow.study_instance_uid, StudyRow.malignancy_probability, StudyRow.reviewed_at).where(
        StudyRow.study_instance_uid.in_(uids)
    )
    return {uid: (probability or 0.0, at is not None) for uid, probability, at in session.execute(statement)}
