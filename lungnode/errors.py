"""Errors of the commands; messages name the problem and the remedy, and hold no value of a dataset.

LungnodeError
    SettingsError       settings cannot be read or contradict each other
    BackupError         a backup or restore was refused or is incomplete
    CommandError        an argument is invalid, or the command cannot be carried out
    FaultError          a resource of this node is missing or unusable
    QueryError          a PACS refused a query (lungnode/queries.py)
"""

from __future__ import annotations

from pydantic import ValidationError


class LungnodeError(Exception):
    """Base of all errors of the composition root; the message may be shown as it is."""


class CommandError(LungnodeError):
    """An argument is invalid, or the command cannot be carried out."""


class FaultError(LungnodeError):
    """A resource of this node is missing or unusable."""


class BackupError(LungnodeError):
    """A backup or restore was refused or is incomplete."""


class SettingsError(LungnodeError):
    """Settings are invalid: one line per variable, without its value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    @classmethod
    def from_validation(cls, error: ValidationError) -> SettingsError:
        """Convert pydantic's report, without the input values, which may be passwords."""
        return cls(tuple(_problem_line(part["loc"], part["msg"]) for part in error.errors(include_input=False)))


def _problem_line(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = "__".join(str(part) for part in location if isinstance(part, str)).upper()
    index = "".join(f"[{part}]" for part in location if isinstance(part, int))
    return f"LUNGNODE_{name}{index}: {message[:1].lower()}{message[1:]}; see docs/settings.md"
