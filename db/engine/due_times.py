"""When something that was put off is due, also where the clock was wrong when it was put off."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute

LONGEST_WAIT = timedelta(days=1)
"""Nothing is put off for so long: what seems to be was put off by a clock that ran ahead, and is due."""


def is_due(moment: InstrumentedAttribute[Any], now: datetime) -> ColumnElement[bool]:
    """Whether a moment that was set at most some hours ahead has come; never where it is NULL."""
    return or_(moment <= now, moment > now + LONGEST_WAIT)
