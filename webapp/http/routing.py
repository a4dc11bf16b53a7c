"""URL converters for UIDs and opaque ids."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter, ValidationError

from db.domain.uids import PATTERN, is_uid


class UidConverter(BaseConverter):
    """A DICOM UID."""

    regex = PATTERN

    def to_python(self, value: str) -> str:
        """Return the UID; one that is too long matches no route."""
        if not is_uid(value):
            raise ValidationError
        return value


class HexIdConverter(BaseConverter):
    """One of our own opaque ids."""

    regex = r"[0-9a-f]{32}"


def install(app: Flask) -> None:
    """Register the converters."""
    app.url_map.converters["uid"] = UidConverter
    app.url_map.converters["hex_id"] = HexIdConverter
