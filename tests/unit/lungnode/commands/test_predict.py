"""``lungnode predict`` gives the web's own answer for each file, and a line for each that has none."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from lungnode.commands.predict import answer_files, as_line
from tests.support.webapp_doubles import CannedPredictor, FixedIntake, NoFiles, VolumeImages, new_database, noise_png
from webapp.assembly import create_app
from webapp.options import WebOptions
from webapp.services.registry import EXTENSION

INSTANCE = bytes(128) + b"DICM" + bytes(64)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    database = new_database(tmp_path)
    options = WebOptions(upload_images_root=tmp_path / "evidence", auth_required=False)
    created = create_app(
        database=database,
        predictor=CannedPredictor(),
        images=VolumeImages(),
        files=NoFiles(),
        intake=FixedIntake(),
        options=options,
    )
    yield created
    created.extensions[EXTENSION].change_feed.close()
    database.dispose()


def test_a_picture_gets_the_answer_of_the_web(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "slice.png"
    path.write_bytes(noise_png())
    (answer,) = answer_files(app, [path], {})
    assert answer.answer is not None
    web = app.test_client().post("/predict", data={"image": (io.BytesIO(noise_png()), "x")}).get_json()
    assert answer.answer.keys() == web.keys()
    assert (answer.answer["class"], answer.answer["confidence"]) == (web["class"], web["confidence"])
    assert json.loads(as_line(answer.answer)) == answer.answer


def test_a_place_is_passed_on(app: Flask, tmp_path: Path) -> None:
    path = tmp_path / "instance.dcm"
    path.write_bytes(INSTANCE)
    (without,) = answer_files(app, [path], {})
    (with_place,) = answer_files(app, [path], {"row": "10", "column": "20.5"})
    assert without.answer is not None
    assert without.answer["class"] is None
    assert with_place.answer is not None
    assert with_place.answer["class"] == "malignant"


def test_each_file_that_has_no_answer_says_why_in_a_line(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no picture\nat all")
    (tmp_path / "torn.png").write_bytes(noise_png()[:60])
    (tmp_path / "fine.png").write_bytes(noise_png())
    paths = [tmp_path / name for name in ("missing.png", "text.txt", "torn.png", "fine.png")]
    answers = list(answer_files(app, paths, {}))
    assert [one.answer is not None for one in answers] == [False, False, False, True]
    assert answers[0].problem == "No such file or directory"
    assert all(one.problem and "\n" not in one.problem for one in answers[:3])
