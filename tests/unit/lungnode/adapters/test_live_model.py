"""The model that counts is followed between two series, and what cannot be loaded changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from db.analyses.promotions import PromotedBundle, promote, roll_back
from db.database import Database
from db.domain.models import ModelIdentity
from dicom_node.jobs.analysis_process import ModelUnavailableError
from dicom_node.storage.files import LocalFiles
from inference.bundle import SHIPPED, read_bundle
from inference.errors import BundleError
from lungnode.adapters import live_model
from lungnode.adapters.live_model import LivePool, checked, current, keep_bundle

OWN = "settings"


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "store")


def promoted(database: Database, files: LocalFiles) -> PromotedBundle:
    """Promote the shipped nodule bundle."""
    sha256 = read_bundle(SHIPPED / "nodule").sha256
    bundle = PromotedBundle(ModelIdentity("n", "1", "c" * 64), sha256, keep_bundle(files, SHIPPED / "nodule", sha256))
    with database.begin() as session:
        promote(session, bundle, by="chief", reason="better", figures={}, is_forced=False)
    return bundle


def taken_back(database: Database) -> None:
    with database.begin() as session:
        roll_back(session, by="chief", reason="complaints")


def test_a_promoted_bundle_lies_whole_in_the_store_and_is_checked(home_database: Database, files: LocalFiles) -> None:
    assert current(home_database, files) == (0, None)
    bundle = promoted(home_database, files)
    number, here = current(home_database, files)
    assert number == 1
    assert here is not None
    assert sorted(path.name for path in here.folder.iterdir()) == sorted(
        path.name for path in (SHIPPED / "nodule").iterdir()
    )
    assert checked(here) == here.folder
    assert keep_bundle(files, SHIPPED / "nodule", bundle.sha256) == bundle.files
    recipe = json.loads((here.folder / "bundle.json").read_text())
    recipe["gate"]["max_findings"] = 3
    (here.folder / "bundle.json").write_text(json.dumps(recipe))
    with pytest.raises(BundleError):
        checked(here)
    assert checked(None) is None


@dataclass
class Pool:
    """Processes in memory that load what they are given."""

    name: str
    log: list[str]
    can_load: bool = True

    def start(self) -> ModelIdentity:
        if not self.can_load:
            raise ModelUnavailableError
        self.log.append(f"start {self.name}")
        return ModelIdentity(self.name, "1", self.name[0] * 64)

    def retire(self) -> None:
        self.log.append(f"retire {self.name}")

    def close(self) -> None:
        self.log.append(f"close {self.name}")


@dataclass
class Pools:
    """Makes them, and notes what happened."""

    log: list[str] = field(default_factory=list)
    can_load: bool = True

    def live(self, database: Database, files: LocalFiles) -> LivePool:
        return LivePool(
            database,
            files,
            lambda name: Pool(name, self.log, can_load=self.can_load),  # type: ignore[arg-type, return-value]
            lambda bundle: OWN if bundle is None else "promoted",  # type: ignore[arg-type, return-value]
        )

    def follow(self, pool: object, model: ModelIdentity) -> None:
        self.log.append(f"follow {model.name}")


def test_a_worker_follows_a_promotion_and_lets_the_former_model_finish(
    home_database: Database, files: LocalFiles
) -> None:
    pools = Pools()
    live = pools.live(home_database, files)
    live.start()
    live.refresh(pools.follow)
    promoted(home_database, files)
    live.refresh(pools.follow)
    live.refresh(pools.follow)
    taken_back(home_database)
    live.refresh(pools.follow)
    assert pools.log == [
        "start settings",
        *("start promoted", "follow promoted", "retire settings"),
        *("start settings", "follow settings", "retire promoted"),
    ]


def test_a_model_that_cannot_be_loaded_leaves_the_former_one_at_work(
    home_database: Database, files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model, "RETRY_S", 0.0)
    pools = Pools()
    live = pools.live(home_database, files)
    live.start()
    promoted(home_database, files)
    pools.can_load = False
    with pytest.raises(ModelUnavailableError):
        live.refresh(pools.follow)
    assert pools.log == ["start settings", "close promoted"]
    pools.can_load = True
    live.refresh(pools.follow)
    assert pools.log[2:] == ["start promoted", "follow promoted", "retire settings"]
