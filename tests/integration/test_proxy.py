"""Behind a real nginx each client has its own address: rate limits, delays of sign-ins, audit events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from db.accounts import passwords, users
from db.audit import trail as audit
from db.database import Database
from db.domain.accounts import Role
from tests.support.factories import sqlite_database
from tests.support.nginx import running_nginx
from tests.support.webapp_doubles import CannedPredictor, FixedIntake, NoFiles, VolumeImages
from webapp.assembly import create_app
from webapp.http.server import make_server
from webapp.options import WebOptions

PASSWORD = "correct horse battery"
LIMIT = 3


class SourceAddress(HTTPAdapter):
    """Connects from one of the addresses of loopback, as a client of its own does."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, source_address=(self._address, 0))


@dataclass
class Site:
    """nginx, and our server behind it."""

    url: str
    database: Database

    def client(self, address: str, **headers: str) -> requests.Session:
        client = requests.Session()
        client.mount("http://", SourceAddress(address))
        client.headers.update(headers)
        return client

    def sign_in(self, address: str, name: str, password: str, **headers: str) -> int:
        client = self.client(address, **headers)
        page = client.get(f"{self.url}/sign-in", timeout=60).text
        token = page.split('name="csrf_token" value="')[-1].split('"')[0]
        form = {"csrf_token": token, "name": name, "password": password}
        return client.post(f"{self.url}/sign-in", data=form, timeout=60, allow_redirects=False).status_code

    def addresses(self, action: str) -> list[object]:
        with self.database.read() as session:
            return [one.event.details["address"] for one in audit.recent(session) if one.event.action == action]


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(passwords, "SCRYPT", {"n": 2**4, "r": 8, "p": 1})
    database = sqlite_database(tmp_path)
    with database.begin() as session:
        for name in ("ann", "bob"):
            users.add_user(session, name, PASSWORD, Role.RADIOLOGIST)
    options = WebOptions(
        upload_images_root=tmp_path / "evidence",
        trusted_proxies=tuple(map(ip_network, getattr(request, "param", ("127.0.0.1/32",)))),
        **SETTINGS.get(request.node.originalname, {}),
    )
    app = create_app(
        database=database,
        predictor=CannedPredictor(),
        images=VolumeImages(),
        files=NoFiles(),
        intake=FixedIntake(),
        options=options,
    )
    server = make_server(app, "127.0.0.1", 0, options)
    threading.Thread(target=server.run, daemon=True).start()
    with running_nginx(tmp_path, server.effective_port) as proxy:
        yield Site(f"http://127.0.0.1:{proxy.port}", database)
    server.close()
    database.dispose()


SETTINGS: dict[str, Any] = {
    "test_each_client_has_its_own_rate_limit": {"sign_ins_per_minute": LIMIT},
    "test_without_the_setting_all_clients_share_one": {"sign_ins_per_minute": LIMIT},
}


def test_each_client_has_its_own_rate_limit(site: Site) -> None:
    statuses = [site.sign_in("127.0.0.2", f"unknown {number}", "wrong") for number in range(LIMIT + 2)]
    assert statuses == [401] * LIMIT + [429] * 2
    assert site.sign_in("127.0.0.2", "ann", PASSWORD, **{"X-Forwarded-For": "192.0.2.77"}) == 429
    assert site.sign_in("127.0.0.3", "ann", PASSWORD) == 303
    assert site.addresses("user:signed_in") == ["127.0.0.3"]
    assert set(site.addresses("user:refused")) == {"127.0.0.2"}


@pytest.mark.parametrize("site", [()], indirect=True)
def test_without_the_setting_all_clients_share_one(site: Site) -> None:
    for number in range(LIMIT):
        site.sign_in("127.0.0.2", f"unknown {number}", "wrong", **{"X-Forwarded-For": "192.0.2.77"})
    assert site.sign_in("127.0.0.3", "ann", PASSWORD) == 429
    assert set(site.addresses("user:refused")) == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["ann", "unknown"])
def test_wrong_passwords_of_one_client_lock_no_colleague_out(site: Site, name: str) -> None:
    for _ in range(5):
        assert site.sign_in("127.0.0.2", name, "wrong") == 401
    assert site.sign_in("127.0.0.2", name, PASSWORD, **{"X-Forwarded-For": "127.0.0.3"}) == 429
    assert site.sign_in("127.0.0.3", "ann", PASSWORD) == 303
    assert site.sign_in("127.0.0.2", "bob", PASSWORD) == 303
