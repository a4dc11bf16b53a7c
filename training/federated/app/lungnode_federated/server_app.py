"""ServerApp of the server."""

from training.federated.server import app

__all__ = ["app"]
