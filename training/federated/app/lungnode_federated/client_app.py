"""The site's part."""

from training.federated.client import app

__all__ = ["app"]
