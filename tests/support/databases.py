"""A private PostgreSQL for the tests that need one, and databases of both kinds.

``LUNGNODE_TEST_POSTGRES_URL`` names another server; its user must be allowed to create databases.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from db.database import Database
from db.domain.findings import NewFinding
from db.domain.models import ModelIdentity
from db.domain.studies import PatientAttributes, ReceivedInstance
from db.engine import schema
from tests.support.postgres_server import PostgresMissingError, running_server

AUDIT_KEY = bytes(range(32))
BOTH_KINDS = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
FAST = "-c fsync=off -c full_page_writes=off -c max_connections=80"  # a test's cluster need not survive a power cut
LEFT_OPEN = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
LEFT_SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """A running server, as the URL of its maintenance database; skips where PostgreSQL is absent."""
    if given := os.environ.get("LUNGNODE_TEST_POSTGRES_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    try:
        with running_server(Path(tempfile.mkdtemp(prefix="lnpg")), FAST) as server:
            yield server.url
    except PostgresMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: URL) -> Iterator[Callable[[], str]]:
    """A maker of further empty databases; gives URLs. A test that needs one alone takes ``postgres_url``."""
    names: list[str] = []
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")

    def make() -> str:
        names.append(f"lungnode_test_{uuid4().hex[:12]}")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {names[-1]}"))
        return postgres_server.set(database=names[-1]).render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def shared_postgres(postgres_databases: Callable[[], str]) -> str:
    """The URL of the database that ``postgres_url`` empties for each test: making one costs more."""
    return postgres_databases()


@pytest.fixture
def postgres_url(shared_postgres: str) -> str:
    """The URL of a PostgreSQL database with nothing in it: emptied of what the test before left there."""
    engine = create_engine(shared_postgres)
    with engine.begin() as connection:
        connection.execute(text(LEFT_OPEN))
        for name in connection.execute(text(LEFT_SCHEMAS)).scalars().all():
            connection.execute(text(f'DROP SCHEMA "{name}" CASCADE'))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return shared_postgres


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the current schema, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "lungnode.db"
    schema.upgrade(f"sqlite:///{path}")
    assert not path.with_name("lungnode.db-wal").exists(), "the file must be whole without its log"
    return path


@pytest.fixture(params=BOTH_KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'lungnode.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@dataclass
class ManualClock:
    """A clock that tests move by hand; each look at it takes a microsecond."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 3, 1, 8, 0, tzinfo=UTC))

    def __call__(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def migrated_postgres(postgres_databases: Callable[[], str]) -> str:
    """The name of a PostgreSQL database with the current schema, to be copied: that takes a fifth of migrating one."""
    url = postgres_databases()
    schema.upgrade(url)
    return str(make_url(url).database)


@pytest.fixture
def copied_postgres(postgres_server: URL, migrated_postgres: str) -> Iterator[str]:
    """The URL of a copy of it."""
    engine, name = create_engine(postgres_server, isolation_level="AUTOCOMMIT"), f"lungnode_test_{uuid4().hex[:12]}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {migrated_postgres}"))
    yield postgres_server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=BOTH_KINDS)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the current schema and nothing in it, once of each kind."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("copied_postgres")
        return url
    migrated: Path = request.getfixturevalue("migrated_sqlite")
    return f"sqlite:///{shutil.copy(migrated, tmp_path / 'lungnode.db')}"


@pytest.fixture
def database(migrated_url: str, clock: ManualClock) -> Iterator[Database]:
    """A database with the current schema, once of each kind."""
    database = Database(migrated_url, AUDIT_KEY, clock=clock)
    yield database
    database.dispose()


def received_instance(number: int = 1, *, study: str = "1.2.3", series: str = "1", **other: object) -> ReceivedInstance:
    """An instance of a CT series; ``number`` makes its UID and its content."""
    values: dict[str, object] = {
        "sop_instance_uid": f"{study}.{series}.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "study_instance_uid": study,
        "series_instance_uid": f"{study}.{series}",
        "patient": PatientAttributes("PID-1", "HOSPITAL", "CANARY^PHI", "19580203", "F"),
        "path": f"ab/{study}-{series}-{number}",
        "size_bytes": 526_000,
        "sha256": f"{number:064x}",
        "modality": "CT",
        "study_date": "20260301",
        "study_description": "CT Thorax",
        "accession_number": "ACC-7",
        "series_number": 2,
        "instance_number": number,
        "calling_ae_title": "PACS",
    }
    return ReceivedInstance(**(values | other))  # type: ignore[arg-type]


@pytest.fixture
def received() -> Callable[..., ReceivedInstance]:
    return received_instance


@pytest.fixture
def model() -> ModelIdentity:
    return ModelIdentity("nodule", "1.0", "c0ffee" + "0" * 58)


@pytest.fixture
def new_finding() -> Callable[..., NewFinding]:
    """A maker of findings on one instance of the series of ``received``."""

    def make(sop_instance_uid: str = "1.2.3.1.1", probability: float | None = 0.8, **other: object) -> NewFinding:
        interval = None if probability is None else (max(0.0, probability - 0.1), min(1.0, probability + 0.1))
        values: dict[str, object] = {
            "sop_instance_uid": sop_instance_uid,
            "frame_number": 1,
            "row": 201.5,
            "column": 99.25,
            "position_mm": (-51.5, 20.25, -140.0),
            "diameter_mm": 11.5,
            "nodule_probability": 0.97,
            "malignancy_probability": probability,
            "interval": interval,
            "prediction_set": ("malignant",),
            "attributes": {"density": "solid", "volume_mm3": 812.5},
        }
        return NewFinding(**(values | other))  # type: ignore[arg-type]

    return make
