"""What commands can fail with; every message says what is wrong and what to do, and holds no value of a dataset.

LungnodeError
    SettingsError       settings cannot be read or contradict each other
    BackupError         a backup or restore was refused or is incomplete
    CommandError        a command's argument, or what it asked for, was refused
    FaultError          something that this node needs is missing or cannot be used
    QueryError          a PACS refused a question (lungnode/queries.py)
"""

from __future__ import annotations

from pydantic import ValidationError


class LungnodeError(Exception):
    """Base of all errors of the composition root; the message may be shown as it is."""


class CommandError(LungnodeError):
    """A command was refused: its message is one line for the person who typed it."""


class FaultError(LungnodeError):
    """Something that this node needs is missing or cannot be used; the message says what is wrong and what to do."""


class BackupError(LungnodeError):
    """A backup or restore was refused or is incomplete."""


class SettingsError(LungnodeError):
    """Settings cannot be read: one line for each, naming the variable and never its value."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    @classmethod
    def from_validation(cls, error: ValidationError) -> SettingsError:
        """Translate pydantic's report; the offending input is left out, for it may be a password."""
        return cls(tuple(_problem_line(part["loc"], part["msg"]) for part in error.errors(include_input=False)))


def _problem_line(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = "__".join(str(part) for part in location if isinstance(part, str)).upper()
    index = "".join(f"[{part}]" for part in location if isinstance(part, int))
    return f"LUNGNODE_{name}{index}: {message[:1].lower()}{message[1:]}; see docs/settings.md"
