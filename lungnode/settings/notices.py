"""The settings of what the service tells of itself: alerts and logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from lungnode.settings.section import Section


class AlertSettings(Section):
    """What is told to whom when something is wrong."""

    webhooks: tuple[SecretStr, ...] = ()
    """URLs that are sent a JSON object when an alert begins, again each day, and when it ends; as a JSON list."""
    no_study_h: float = Field(default=0.0, ge=0)
    """Hours without a new study that are an alert; 0: never."""
    queue_age_m: float = Field(default=60.0, ge=0)
    """Minutes that the oldest unfinished analysis may wait before that is an alert; 0: never."""
    dead_letters: bool = True
    """Whether results that could not be delivered, or were never committed, are an alert."""
    drift: bool = True
    """Whether drift is an alert: of a scanner's series or answers, of overrides, of calibration (`/monitoring`)."""
    hold_drifted: bool = False
    """Whether such a scanner is held by itself: analysed, not shown to readers, not sent (`lungnode scanner list`)."""


class LogSettings(Section):
    """Logs: events with fields, never an identity."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is written."""
    format: Literal["json", "console"] = "json"
    """One JSON object a line, or aligned text for people."""
