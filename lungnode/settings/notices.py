"""Settings of alerts and logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from lungnode.settings.section import Section


class AlertSettings(Section):
    """Alerts by webhook."""

    webhooks: tuple[SecretStr, ...] = ()
    """Webhook URLs (JSON list), called when an alert is raised, daily while it lasts, and when it is cleared."""
    no_study_h: float = Field(default=0.0, ge=0)
    """Hours without a new study before an alert; 0: never."""
    queue_age_m: float = Field(default=60.0, ge=0)
    """Minutes that the oldest unfinished analysis may wait before an alert; 0: never."""
    dead_letters: bool = True
    """Alert on results that could not be delivered or were never committed."""
    drift: bool = True
    """Alert on drift of inputs, outputs, override rate or calibration (`/monitoring`)."""
    quarantine_drifted: bool = False
    """Quarantine drifting scanners automatically: analysed, not shown or sent (`lungnode scanner list`)."""


class LogSettings(Section):
    """Logs: events with fields, never an identity."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    format: Literal["json", "console"] = "json"
    """One JSON object a line, or aligned text for people."""
