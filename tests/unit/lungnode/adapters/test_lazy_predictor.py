"""The web loads the models once, when they are first needed, and shows pages without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.description import ModelsDescription, describe_models
from lungnode.adapters.lazy_predictor import LazyPredictor
from lungnode.adapters.unavailable_predictor import UnavailablePredictor
from webapp.http.errors import UnfitInputError


@pytest.fixture(scope="module")
def described() -> ModelsDescription:
    return describe_models(None, "cpu")


class Loaded:
    """Models in memory that answer previews."""

    is_available = True

    def __init__(self) -> None:
        self.is_closed = False

    def preview(self, content: bytes) -> bytes:
        return content[::-1]

    def close(self) -> None:
        self.is_closed = True


def test_the_status_is_known_before_anything_is_loaded(described: ModelsDescription) -> None:
    predictor = LazyPredictor(described, lambda: pytest.fail("loaded"))
    status = predictor.status()
    assert status["sha256"] == described.sha256
    assert [model["task"] for model in status["models"]] == ["nodule", "filter", "slice"]  # type: ignore[attr-defined]
    assert predictor.plots("lungnode-nodule")["roc"].startswith(b"\x89PNG")
    assert not predictor.is_in_memory
    predictor.close()


def test_threads_that_ask_at_once_load_the_models_once(described: ModelsDescription) -> None:
    loads, all_ask = [], threading.Barrier(4)

    def load() -> Loaded:
        loads.append(1)
        return Loaded()

    predictor = LazyPredictor(described, load)  # type: ignore[arg-type]

    def ask(content: bytes) -> bytes:
        all_ask.wait(60)
        return predictor.preview(content)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, [b"ab", b"cd", b"ef", b"gh"])) == [b"ba", b"dc", b"fe", b"hg"]
    assert len(loads) == 1
    assert predictor.is_in_memory
    loaded = predictor.load()
    predictor.close()
    assert isinstance(loaded, Loaded)
    assert loaded.is_closed


def test_models_that_could_not_be_loaded_are_tried_again_after_a_pause(
    described: ModelsDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[object] = [UnavailablePredictor(), Loaded()]
    predictor = LazyPredictor(described, lambda: answers.pop(0))  # type: ignore[arg-type, return-value]
    for _ in range(2):
        with pytest.raises(UnfitInputError) as refusal:
            predictor.preview(b"ab")
        assert refusal.value.status == 503
    assert predictor.status() == UnavailablePredictor().status()
    monkeypatch.setattr("lungnode.adapters.lazy_predictor.time.monotonic", lambda: float("inf"))
    assert predictor.preview(b"ab") == b"ba"
    assert predictor.status()["sha256"] == described.sha256


def test_a_web_process_that_shows_pages_has_no_torch(tmp_path: Path) -> None:
    code = """
import sys
from lungnode.settings.table import load_settings
from lungnode.wiring.web import Web
from db.engine.schema import upgrade
settings = load_settings()
upgrade(settings.database_url)
web = Web(settings)
client = web.app.test_client()
for path in ("/", "/detector", "/model_status", "/worklist", "/readyz", "/model"):
    assert client.get(path).status_code == 200, path
web.predictor.refresh()
assert "torch" not in sys.modules
web.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "LUNGNODE_HOME": str(tmp_path)})
