"""Due times of postponed work, robust against a clock that ran ahead."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute

LONGEST_WAIT = timedelta(days=1)
"""Longer than any postponement: a time further ahead was set by a clock that ran ahead, and is due."""


def is_due(moment: InstrumentedAttribute[Any], now: datetime) -> ColumnElement[bool]:
    """Return the condition that a scheduled time has come; false for NULL."""
    return or_(moment <= now, moment > now + LONGEST_WAIT)
