"""``lungnode predict``: the response of ``POST /predict`` for files on disk, from the same Flask view."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

    from lungnode.settings.service import Settings


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """The answer for one file, or the problem that prevented one."""

    path: Path
    answer: dict[str, Any] | None
    problem: str = ""


@contextmanager
def prediction_app(settings: Settings) -> Iterator[Flask]:
    """Create the web app over this node's database, without sign-in, for use in this process only."""
    from db.engine.schema import upgrade
    from lungnode.commands.preflight import check_bundles, check_home
    from lungnode.wiring import base as wiring
    from lungnode.wiring import web as wiring_web

    check_home(settings)
    check_bundles(settings)
    wiring.scratch_folder(settings).mkdir(mode=0o700, exist_ok=True)
    upgrade(settings.database_url)
    web_settings = settings.web.model_copy(update={"host": "127.0.0.1", "auth": "off"})
    web = wiring_web.Web(settings.model_copy(update={"web": web_settings}))
    try:
        yield web.app
    finally:
        web.close()


def unreadable_files(paths: Sequence[Path]) -> Iterator[FileAnswer]:
    """Yield the files that cannot be opened."""
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            yield FileAnswer(path, None, error.strerror or type(error).__name__)


def answer_files(app: Flask, paths: Sequence[Path], fields: Mapping[str, str]) -> Iterator[FileAnswer]:
    """Yield the answer for each file, posted to the app with the same form fields."""
    client = app.test_client()
    for path in paths:
        try:
            with path.open("rb") as content:
                form = {**fields, "image": (content, "upload")}
                response = client.post("/predict", data=form, headers={"Accept": "application/json"})
        except OSError as error:
            yield FileAnswer(path, None, error.strerror or type(error).__name__)
            continue
        body = response.get_json(silent=True) or {}
        if response.status_code < 300:
            yield FileAnswer(path, body)
        else:
            yield FileAnswer(path, None, _problem(body, response.status_code))


def _problem(body: dict[str, Any], status: int) -> str:
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return " ".join(str(message or f"HTTP status {status}").split())


def as_line(answer: dict[str, Any]) -> str:
    """Return one JSON line, encoded as the web API does."""
    return json.dumps(answer, ensure_ascii=False)
