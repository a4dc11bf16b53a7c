"""The server's part."""

from training.federated.server import app

__all__ = ["app"]
