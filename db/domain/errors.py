"""Errors of this package.

::

    DbError
    |-- UnknownRecordError        the study, series, analysis, finding, ... does not exist
    |-- InvalidRecordError        a value that may not be recorded (a probability above 1, a UID too long)
    |-- DamagedRecordError        a stored value is not what was recorded
    |-- InvalidCursorError        a paging cursor of another database or order (also a ValueError)
    |-- NameTakenError            a user or token of that name exists
    |-- SignInDelayedError        too many wrong passwords for a name from an address
    |-- NotYoursError             only the author of a verdict or a mark may withdraw it
    |-- DatabaseUnavailableError  locked, full, gone or overloaded: nothing was committed, try later
    |-- UnfitDatabaseError        cannot be used as it is configured or migrated
    `-- AuditKeyError             the audit key does not match the trail, or cannot be read

Messages hold no value taken from a dataset, and no parameter of a statement.
"""

from __future__ import annotations


class DbError(Exception):
    """Base of all errors of this package."""


class UnknownRecordError(DbError):
    """The record does not exist."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"{kind} not found")
        self.kind = kind


class InvalidRecordError(DbError):
    """A value may not be recorded; names the field, never the value."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field} {rule}")
        self.field = field
        self.rule = rule


class DamagedRecordError(DbError):
    """A stored value cannot be one that was recorded; names the kind of record, never the value."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"the stored {kind} is damaged")
        self.kind = kind


class InvalidCursorError(DbError, ValueError):
    """A paging cursor is malformed, altered, or of another database."""

    def __init__(self) -> None:
        super().__init__("the cursor is invalid")


class NameTakenError(DbError):
    """A user or token of that name exists."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"a {kind} of that name exists")
        self.kind = kind


class SignInDelayedError(DbError):
    """Too many wrong passwords for a name from an address; try again after ``retry_after_s``."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many wrong passwords")
        self.retry_after_s = retry_after_s


class NotYoursError(DbError):
    """Only the author of a verdict or a mark may withdraw it."""

    def __init__(self) -> None:
        super().__init__("only the author can undo this")


class DatabaseUnavailableError(DbError):
    """The database could not be used now; nothing was committed. The cause is chained."""

    def __init__(self) -> None:
        super().__init__("the database is locked, full or unreachable; nothing was saved")


class UnfitDatabaseError(DbError):
    """The database cannot be used as it is configured or migrated."""

    def __init__(self, what: str) -> None:
        super().__init__(what)


class AuditKeyError(DbError):
    """The audit key does not match the trail, or cannot be read."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
