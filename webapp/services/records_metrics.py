"""Prometheus metrics from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from db.database import Database
from db.domain.errors import DbError


class RecordsCollector(Collector):
    """Collector of metrics that are queried on each scrape."""

    def __init__(self, database: Database, read: Callable[[Session], Iterable[Metric]]) -> None:
        self._database, self._read = database, read

    def describe(self) -> Iterator[Metric]:
        """Return no metrics, so that registering queries no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; none while the database is unavailable."""
        try:
            with self._database.read() as session:
                metrics = tuple(self._read(session))
        except (DbError, OSError):
            return
        yield from metrics
