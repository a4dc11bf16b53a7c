"""ClientApp of a site."""

from training.federated.client import app

__all__ = ["app"]
