"""URLs hold UIDs by the rule of DICOM."""

from __future__ import annotations

import pytest
from flask import Flask
from werkzeug.exceptions import NotFound

from webapp.http import routing


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    routing.install(app)
    app.add_url_rule("/studies/<uid:study_uid>", "study", lambda study_uid: study_uid)
    app.add_url_rule("/studies/<uid:study_uid>/series/<uid:series_uid>", "series", lambda **uids: str(uids))
    return app


@pytest.mark.parametrize("path", ["/studies/1.2.3", "/studies/0", "/studies/1.02", f"/studies/{'1' * 64}"])
def test_a_uid_is_matched(app: Flask, path: str) -> None:
    endpoint, variables = app.url_map.bind("localhost").match(path)
    assert (endpoint, variables) == ("study", {"study_uid": path.rpartition("/")[2]})


def test_two_uids_are_matched(app: Flask) -> None:
    assert app.url_map.bind("localhost").match("/studies/1.2/series/1.2.3") == (
        "series",
        {"study_uid": "1.2", "series_uid": "1.2.3"},
    )


@pytest.mark.parametrize("uid", ["1..2", ".1", "1.", "1.2x", "1" * 65, "1.2\u0663", "1.2%0a"])
def test_anything_else_matches_no_route(app: Flask, uid: str) -> None:
    with pytest.raises(NotFound):
        app.url_map.bind("localhost").match(f"/studies/{uid}")
