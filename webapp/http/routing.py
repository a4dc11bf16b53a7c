"""URL converters for UIDs and opaque ids."""

from __future__ import annotations

from flask import Flask
from werkzeug.routing import BaseConverter


class UidConverter(BaseConverter):
    """A DICOM UID (PS3.5 9.1): digits and dots, at most 64."""

    regex = r"[0-9.]{1,64}"


class HexIdConverter(BaseConverter):
    """One of our own opaque ids."""

    regex = r"[0-9a-f]{32}"


def install(app: Flask) -> None:
    """Register the converters."""
    app.url_map.converters["uid"] = UidConverter
    app.url_map.converters["hex_id"] = HexIdConverter
