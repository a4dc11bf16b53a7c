"""Environment of processes that tests start: none of the settings of whoever runs the tests."""

from __future__ import annotations

import os

NETWORK_CACHE = "LUNGNODE_MODEL__CACHE"
"""Set by ``tests/conftest.py``: services of all tests share converted networks."""


def clean_environment() -> dict[str, str]:
    """Copy this process's environment without the service's settings, but with the shared cache of networks."""
    return {
        name: value for name, value in os.environ.items() if name == NETWORK_CACHE or not name.startswith("LUNGNODE_")
    }
