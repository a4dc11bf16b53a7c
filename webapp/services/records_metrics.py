"""What Prometheus is told off the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from db.database import Database
from db.domain.errors import DbError


class RecordsCollector(Collector):
    """Metrics that are read off the records when they are asked for."""

    def __init__(self, database: Database, read: Callable[[Session], Iterable[Metric]]) -> None:
        self._database, self._read = database, read

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: registering asks no database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Read; a database that is away leaves these metrics out and the others readable."""
        try:
            with self._database.read() as session:
                found = tuple(self._read(session))
        except (DbError, OSError):
            return
        yield from found
