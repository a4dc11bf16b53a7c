"""The web loads the models once, when they are first needed, and shows pages without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from db.database import Database
from dicom_node.storage.files import LocalFiles
from inference.description import ModelsDescription, describe_models
from lungnode.adapters import live_predictor
from lungnode.adapters.live_model import LiveBundle
from lungnode.adapters.live_predictor import LazyModels, LivePredictor
from lungnode.adapters.unavailable_predictor import UnavailablePredictor
from tests.unit.lungnode.adapters.test_live_model import OWN, promoted, taken_back
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


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "store")


def predictor_of(database: Database, files: LocalFiles, models: LazyModels) -> LivePredictor:
    return LivePredictor(database, files, lambda _: models)


def test_the_status_is_known_before_anything_is_loaded(
    home_database: Database, files: LocalFiles, described: ModelsDescription
) -> None:
    models = LazyModels(described, lambda: pytest.fail("loaded"))
    predictor = predictor_of(home_database, files, models)
    status = predictor.status()
    assert status["sha256"] == described.sha256
    assert [model["task"] for model in status["models"]] == ["nodule", "filter", "slice"]  # type: ignore[attr-defined]
    assert predictor.plots("lungnode-nodule")["roc"].startswith(b"\x89PNG")
    assert not models.is_loaded
    predictor.close()


def test_threads_that_ask_at_once_load_the_models_once(described: ModelsDescription) -> None:
    loaded, all_ask = [], threading.Barrier(4)

    def load() -> Loaded:
        loaded.append(Loaded())
        return loaded[-1]

    models = LazyModels(described, load)  # type: ignore[arg-type]

    def ask(content: bytes) -> bytes:
        all_ask.wait(60)
        return models.predictor().preview(content)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, [b"ab", b"cd", b"ef", b"gh"])) == [b"ba", b"dc", b"fe", b"hg"]
    assert len(loaded) == 1
    assert models.is_loaded
    models.close()
    assert loaded[0].is_closed


def test_models_that_could_not_be_loaded_are_tried_again_after_a_pause(
    home_database: Database, files: LocalFiles, described: ModelsDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[object] = [UnavailablePredictor(), Loaded()]
    models = LazyModels(described, lambda: answers.pop(0))  # type: ignore[arg-type, return-value]
    predictor = predictor_of(home_database, files, models)
    for _ in range(2):
        with pytest.raises(UnfitInputError) as refusal:
            predictor.preview(b"ab")
        assert refusal.value.status == 503
    assert predictor.status() == UnavailablePredictor().status()
    monkeypatch.setattr("lungnode.adapters.live_predictor.time.monotonic", lambda: float("inf"))
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


@dataclass
class Build:
    """Builds lazy models whose description is named after their bundle, and remembers them."""

    described: ModelsDescription
    can_read: bool = True
    models: list[LazyModels] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)

    def __call__(self, bundle: LiveBundle | None) -> LazyModels:
        description = replace(self.described, name=OWN if bundle is None else "promoted")
        self.models.append(LazyModels(description if self.can_read else None, self._load))  # type: ignore[arg-type]
        return self.models[-1]

    def _load(self) -> Loaded:
        self.loaded.append(Loaded())
        return self.loaded[-1]


@pytest.fixture
def build(described: ModelsDescription) -> Build:
    return Build(described)


def test_the_web_follows_a_promotion_and_closes_the_former_model_at_the_next_refresh(
    home_database: Database, files: LocalFiles, build: Build
) -> None:
    web = LivePredictor(home_database, files, build)
    web.refresh()
    assert web.status()["name"] == OWN
    assert web.preview(b"ab") == b"ba"
    promoted(home_database, files)
    web.refresh()
    assert web.status()["name"] == "promoted"
    assert [one.is_closed for one in build.loaded] == [False, False]
    web.refresh()
    assert [one.is_closed for one in build.loaded] == [True, False]
    web.close()
    assert [one.is_closed for one in build.loaded] == [True, True]


def test_the_web_keeps_its_model_while_the_other_cannot_be_read(
    home_database: Database, files: LocalFiles, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_predictor, "RETRY_S", 0.0)
    web = LivePredictor(home_database, files, build)
    promoted(home_database, files)
    build.can_read = False
    web.refresh()
    assert web.status()["name"] == OWN
    build.can_read = True
    web.refresh()
    assert web.status()["name"] == "promoted"


def test_a_model_that_can_be_read_replaces_one_that_cannot(
    home_database: Database, files: LocalFiles, build: Build
) -> None:
    build.can_read = False
    web = LivePredictor(home_database, files, build)
    assert web.status() == UnavailablePredictor().status()
    assert web.plots("lungnode-nodule") == {}
    with pytest.raises(UnfitInputError):
        web.preview(b"ab")
    promoted(home_database, files)
    build.can_read = True
    web.refresh()
    assert web.status()["name"] == "promoted"
    assert web.preview(b"ab") == b"ba"


def test_the_web_loads_another_model_at_once_only_if_the_former_was_loaded(
    home_database: Database, files: LocalFiles, build: Build
) -> None:
    web = LivePredictor(home_database, files, build)
    promoted(home_database, files)
    web.refresh()
    assert [models.is_loaded for models in build.models] == [False, False]
    web.preview(b"ab")
    taken_back(home_database)
    web.refresh()
    assert [models.is_loaded for models in build.models] == [False, True, True]
