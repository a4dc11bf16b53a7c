"""An app over a real SQLite database, with in-memory doubles for the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from db.accounts import passwords, tokens, users
from db.database import Database
from db.domain.accounts import Role
from tests.support.webapp_doubles import (
    DATABASE_FILE,
    CannedPredictor,
    FixedIntake,
    NoFiles,
    VolumeImages,
    new_database,
    open_database,
)
from webapp.accounts.identity import SESSION_COOKIE
from webapp.assembly import create_app
from webapp.options import WebOptions
from webapp.ports import StoredFiles

PASSWORD = "correct horse battery"


@dataclass
class Web:
    """An app with all that it was given."""

    app: Flask
    database: Database
    predictor: CannedPredictor
    images: VolumeImages
    intake: FixedIntake
    options: WebOptions
    tokens: dict[Role, str] = field(default_factory=dict)

    def client(self) -> FlaskClient:
        """A browser without cookies."""
        return self.app.test_client()

    def bearer(self, role: Role) -> dict[str, str]:
        """Headers of a program of this role."""
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    def signed_in(self, role: Role) -> tuple[FlaskClient, str]:
        """A browser that is signed in, and its form token."""
        client = self.client()
        response = sign_in(client, role.value, PASSWORD)
        assert response.status_code == 303, response.text
        page = client.get("/", headers={"Accept": "text/html"}).text
        return client, page.split('name="csrf-token" content="')[1].split('"')[0]


def sign_in(client: FlaskClient, name: str, password: str, **fields: str) -> TestResponse:
    """Fill in the form as a browser does."""
    page = client.get("/sign-in").text
    token = page.split('name="csrf_token" value="')[-1].split('"')[0]  # the last: signing out is a form too
    return client.post("/sign-in", data={"csrf_token": token, "name": name, "password": password, **fields})


def session_cookie(client: FlaskClient) -> str:
    """Value of the session's cookie in a browser that is signed in."""
    cookie = client.get_cookie(SESSION_COOKIE)
    assert cookie is not None
    return cookie.value


def built_path(rule: Rule, values: Mapping[str, object]) -> str:
    """Path of a route with values for its converters."""
    built = rule.build({name: values[name] for name in rule.arguments})
    assert built is not None
    return built[1]


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database that tests copy."""
    folder = tmp_path_factory.mktemp("blank")
    new_database(folder).dispose()
    return folder / DATABASE_FILE


@pytest.fixture
def database(tmp_path: Path, blank: Path) -> Iterator[Database]:
    shutil.copyfile(blank, tmp_path / DATABASE_FILE)
    opened = open_database(tmp_path)
    yield opened
    opened.dispose()


class CompiledTemplates(BytecodeCache):
    """Templates that an earlier app has compiled; a changed template has another checksum."""

    def __init__(self) -> None:
        self._by_key: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._by_key:
            bucket.bytecode_from_string(self._by_key[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._by_key[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session")
def compiled_templates() -> CompiledTemplates:
    return CompiledTemplates()


@pytest.fixture
def make_web(tmp_path: Path, database: Database, compiled_templates: CompiledTemplates) -> Callable[..., Web]:
    def make(files: StoredFiles | None = None, **changes: object) -> Web:
        options = WebOptions(**{"upload_images_root": tmp_path / "evidence", "auth_required": False, **changes})  # type: ignore[arg-type]
        predictor, images, intake = CannedPredictor(), VolumeImages(), FixedIntake()
        app = create_app(
            database=database,
            predictor=predictor,
            images=images,
            files=files or NoFiles(),
            intake=intake,
            options=options,
        )
        app.testing = False
        app.jinja_env.bytecode_cache = compiled_templates
        return Web(app, database, predictor, images, intake, options)

    return make


@pytest.fixture
def web(make_web: Callable[..., Web]) -> Web:
    """Sign-in off, as on a loopback bind."""
    return make_web()


@pytest.fixture(scope="session")
def cheap_passwords() -> Iterator[None]:
    """Hash passwords in a millisecond; db's own tests take the real price."""
    before = dict(passwords.SCRYPT)
    passwords.SCRYPT.update(n=2**4)
    yield
    passwords.SCRYPT.update(before)


@pytest.fixture
def locked(make_web: Callable[..., Web], cheap_passwords: None) -> Web:
    """Sign-in on, with one person and one program of each role."""
    web = make_web(auth_required=True)
    with web.database.begin() as session:
        for role in Role:
            users.add_user(session, role.value, PASSWORD, role)
            web.tokens[role] = tokens.create_token(session, f"program-{role.value}", role)[0]
    return web
