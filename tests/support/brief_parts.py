"""Parts of the service that end at once, in a module of their own: each of their processes imports it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from lungnode.processes.parts import PartName
    from lungnode.settings.service import Settings


def ready_then_gone(_name: PartName, _settings: Settings, _make: Any, pipe: Connection, *_: Any) -> None:
    """Run a part that announces itself and dies at once."""
    pipe.send(("ready", {"executor_id": "worker-1"}))


def never_ready(_name: PartName, _settings: Settings, _make: Any, pipe: Connection, *_: Any) -> None:
    """Run a part that cannot start."""
    pipe.send(("failed", "model_unavailable", "no weights"))


def no_analyzer() -> Any:
    """Load no models: these parts analyse nothing."""
    raise AssertionError
