"""Sign-in at a real OpenID Connect provider: roles come from its groups, and nothing that is wrong gets in."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from db import audit
from db.domain import Role
from db.engine import Database
from tests.factories import sqlite_database
from tests.integration.oidc_provider import CLIENT_ID, CLIENT_SECRET
from tests.integration.service import held_port
from tests.unit.webapp.doubles import CannedPredictor, FixedIntake, NoFiles, VolumeImages
from webapp import create_app
from webapp.options import OidcProvider, WebOptions
from webapp.server import make_server

ROOT = Path(__file__).resolve().parents[2]
HTML = {"Accept": "text/html"}
ROLES = {"clinic-it": Role.ADMIN, "clinic-radiologists": Role.RADIOLOGIST}


@dataclass
class Site:
    """Our server and its provider."""

    url: str
    provider: str
    database: Database

    def visit(self, person: str, query: str = "") -> requests.Response:
        """Sign in as a browser does, being somebody at the provider; gives the page that it ends on."""
        browser = requests.Session()
        browser.headers.update({**HTML, "X-Person": person})
        answer = browser.get(f"{self.url}/sign-in/provider/{query}", timeout=60)
        answer.cookies_of_browser = browser.cookies
        return answer

    def spoil(self, how: str) -> None:
        requests.post(f"{self.provider}/spoil/{how}", timeout=30)

    def events(self, action: str) -> list[tuple[str, dict[str, object]]]:
        with self.database.read() as session:
            entries = audit.recent(session)
        return [(one.event.actor, one.event.details) for one in entries if one.event.action == action]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("oidc")
    database = sqlite_database(folder)
    command = [sys.executable, "-W", "ignore", "-m", "tests.integration.oidc_provider"]
    with (
        held_port() as port,
        subprocess.Popen(
            [*command, f"http://127.0.0.1:{port}/sign-in/provider/callback"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        provider = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        server = make_server_of(database, folder, provider, port)
        threading.Thread(target=server.run, daemon=True).start()
        yield Site(f"http://127.0.0.1:{port}", provider, database)
        server.close()
        process.terminate()
    database.dispose()


def make_server_of(database: Database, folder: Path, issuer: str, port: int):
    options = WebOptions(
        evidence_root=folder / "evidence",
        sign_ins_per_minute=1000,
        oidc=OidcProvider(
            issuer=issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, role_claim="groups", roles=ROLES
        ),
    )
    app = create_app(
        database=database,
        predictor=CannedPredictor(),
        images=VolumeImages(),
        files=NoFiles(),
        intake=FixedIntake(),
        options=options,
    )
    return make_server(app, "127.0.0.1", port, options)


@pytest.mark.parametrize(("person", "role", "may_administer"), [("ann", "radiologist", 403), ("olga", "admin", 200)])
def test_a_group_at_the_provider_gives_the_role_here(site: Site, person: str, role: str, may_administer: int) -> None:
    answer = site.visit(person, "?next=/worklist")
    assert (answer.status_code, urlsplit(answer.url).path) == (200, "/worklist")
    assert f"sso:{person}" in answer.text
    page = requests.get(f"{site.url}/admin", cookies=answer.cookies_of_browser, headers=HTML, timeout=30)
    assert page.status_code == may_administer
    assert (f"sso:{person}", {"by": "oidc", "role": role}) in site.events("user:signed_in")


def test_the_page_offers_it_and_asks_the_provider_with_pkce_and_a_nonce(site: Site) -> None:
    assert 'href="/sign-in/provider/?next=/worklist"' in requests.get(f"{site.url}/sign-in", timeout=30).text
    answer = requests.get(f"{site.url}/sign-in/provider/", allow_redirects=False, timeout=30)
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert answer.headers["Location"].startswith(f"{site.provider}/authorize?")
    assert asked["code_challenge_method"] == ["S256"]
    assert {"nonce", "state", "code_challenge"} <= set(asked)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("lungnode_provider=")
    for word in ("HttpOnly", "SameSite=Lax", "Path=/sign-in/provider"):
        assert word in cookie


@pytest.mark.parametrize("person", ["bob", "eve"])
def test_whoever_has_no_role_stays_outside(site: Site, person: str) -> None:
    answer = site.visit(person)
    assert answer.status_code == 403
    assert "gives you no role here" in answer.text
    assert "lungnode_session" not in answer.cookies_of_browser
    assert site.events("user:refused")[0] == ("anonymous", {"why": "role", "by": "oidc"})


@pytest.mark.parametrize("how", ["key", "issuer", "audience", "expired", "nonce"])
def test_an_identity_token_that_is_wrong_gets_nobody_in(site: Site, how: str) -> None:
    site.spoil(how)
    try:
        answer = site.visit("ann")
    finally:
        site.spoil("nothing")
    assert answer.status_code == 403
    assert "lungnode_session" not in answer.cookies_of_browser
    assert site.events("user:refused")[0] == ("anonymous", {"why": "provider", "by": "oidc"})
    assert site.visit("ann").status_code == 200


@pytest.mark.parametrize("query", ["", "?code=made-up&state=made-up", "?error=access_denied&state=x"])
def test_a_callback_that_nobody_asked_for_gets_nobody_in(site: Site, query: str) -> None:
    answer = requests.get(f"{site.url}/sign-in/provider/callback{query}", headers=HTML, timeout=30)
    assert answer.status_code == 403
    assert "lungnode_session" not in answer.cookies


def test_it_never_leads_elsewhere(site: Site) -> None:
    assert urlsplit(site.visit("ann", "?next=https://evil.example.org/").url).path == "/worklist"
