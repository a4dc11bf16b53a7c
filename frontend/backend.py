"""The build backend: setuptools, with the pages' bundle made first where it is missing (PEP 517)."""

from __future__ import annotations

from typing import Any

import assets
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 (the hooks that are not changed here)

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Ask for Node where the machine has none."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_missing()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """Ask for Node where the machine has none."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_missing()]


def build_wheel(folder: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Make a wheel that carries the bundle."""
    _bundle()
    return build_meta.build_wheel(folder, config_settings, metadata_directory)


def build_editable(folder: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Install in place, with the bundle beside its sources."""
    _bundle()
    return build_meta.build_editable(folder, config_settings, metadata_directory)


def _missing() -> list[str]:
    return [] if assets.is_built() else assets.requirements()


def _bundle() -> None:
    if not assets.is_built():
        assets.build()
