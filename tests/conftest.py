"""Fixtures of all tests: a clean environment, the research data where there is some, and Hypothesis' profile."""

from __future__ import annotations

import gc
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes share few cores; set before anything imports torch

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.environment import NETWORK_CACHE

if TYPE_CHECKING:
    from inference.loading import Models

ROOT = Path(__file__).resolve().parent.parent

pytest_plugins = ["tests.support.databases"]

gc.set_threshold(50_000, 20, 100)
"""Collected less often than by default: a third of the time of tests that make many objects went there."""

settings.register_profile("lungnode", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lungnode")

for _name in [name for name in os.environ if name.startswith("LUNGNODE_") and not name.startswith("LUNGNODE_TEST_")]:
    del os.environ[_name]  # whoever runs the tests may have settings of their own

# Services that tests start share converted networks, over runs as well: an entry is named by all that it depends on.
os.environ[NETWORK_CACHE] = str(Path(tempfile.gettempdir()) / f"lungnode-tests-{os.getuid()}" / "networks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have whole services start first: workers take file after file, and a long one at the end leaves others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Leave what importing and collecting made out of later collections of garbage: it lasts as long as the run."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return three workers for two processors: tests of services and peers often wait."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def research_data() -> Path:
    """The research data that docs/data.md describes; skips where there is none."""
    folder = Path(os.environ.get("LUNGNODE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no research data: set LUNGNODE_TEST_DATA to the folder that docs/data.md describes")
    return folder


@pytest.fixture(scope="session")
def network_cache() -> Path:
    """The cache of converted networks that all tests share."""
    return Path(os.environ[NETWORK_CACHE])


@pytest.fixture(scope="session")
def shipped_models(network_cache: Path) -> Models:
    """The shipped models on the CPU; tests leave them unchanged."""
    from inference.loading import load_models

    return load_models(None, "cpu", cache=network_cache)
