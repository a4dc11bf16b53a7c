"""Metadata of all tables."""

from db.tables import (  # noqa: F401 (a table is described once its module is loaded)
    accounts,
    analyses,
    associations,
    audit,
    exchange,
    ground_truth,
    health,
    models,
    releases,
    scanners,
    studies,
)
from db.tables.base import Base

METADATA = Base.metadata
