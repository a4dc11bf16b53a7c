"""Sign-in at a real OpenID Connect provider: roles come from its groups, and nothing that is wrong gets in."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.cookies import RequestsCookieJar

from db.accounts import users
from db.accounts.provider_accounts import provider_account_id
from db.audit import trail as audit
from db.database import Database
from db.domain.accounts import Role
from tests.support.factories import sqlite_database
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET
from tests.support.service import held_port
from tests.support.webapp_doubles import CannedPredictor, FixedIntake, NoFiles, VolumeImages
from webapp.assembly import create_app
from webapp.http.server import make_server
from webapp.options import OidcProvider, WebOptions

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
        return self.visit_with_cookies(person, query)[0]

    def visit_with_cookies(self, person: str, query: str = "") -> tuple[requests.Response, RequestsCookieJar]:
        """Also gives the browser's cookies."""
        browser = requests.Session()
        browser.headers.update({**HTML, "X-Person": person})
        answer = browser.get(f"{self.url}/sign-in/provider/{query}", timeout=60)
        return answer, browser.cookies

    def spoil(self, how: str) -> None:
        requests.post(f"{self.provider}/spoil/{how}", timeout=30)

    @contextmanager
    def claims(self, **claims: object) -> Iterator[None]:
        """Let the provider send these claims while the block lasts."""
        requests.post(f"{self.provider}/claims", json=claims, timeout=30).raise_for_status()
        try:
            yield
        finally:
            requests.post(f"{self.provider}/claims", json={}, timeout=30).raise_for_status()

    def actor(self, person: str) -> str:
        """Actor of a person of this provider."""
        return f"sso:{provider_account_id(self.provider, f'id-of-{person}')}"

    def events(self, action: str) -> list[tuple[str, dict[str, object]]]:
        with self.database.read() as session:
            entries = audit.recent(session)
        events = [one.event for one in entries if one.event.action == action]
        assert {event.details["address"] for event in events} <= {"127.0.0.1"}
        return [
            (event.actor, {name: value for name, value in event.details.items() if name != "address"})
            for event in events
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("oidc")
    database = sqlite_database(folder)
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.oidc_provider"]
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


def make_server_of(database: Database, folder: Path, issuer: str, port: int) -> Any:
    options = WebOptions(
        upload_images_root=folder / "evidence",
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
    answer, cookies = site.visit_with_cookies(person, "?next=/worklist")
    assert (answer.status_code, urlsplit(answer.url).path) == (200, "/worklist")
    assert f"<bdi>{person}</bdi>" in answer.text
    page = requests.get(f"{site.url}/admin", cookies=cookies, headers=HTML, timeout=30)
    assert page.status_code == may_administer
    details = {"by": "oidc", "role": role, "display_name": person}
    assert (site.actor(person), details) in site.events("user:signed_in")


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
    answer, cookies = site.visit_with_cookies(person)
    assert answer.status_code == 403
    assert "gives you no role here" in answer.text
    assert "lungnode_session" not in cookies
    assert site.events("user:refused")[0] == ("anonymous", {"why": "role", "by": "oidc"})


@pytest.mark.parametrize("how", ["key", "issuer", "audience", "expired", "nonce"])
def test_a_wrong_identity_token_is_refused(site: Site, how: str) -> None:
    site.spoil(how)
    try:
        answer, cookies = site.visit_with_cookies("ann")
    finally:
        site.spoil("nothing")
    assert answer.status_code == 403
    assert "lungnode_session" not in cookies
    assert site.events("user:refused")[0] == ("anonymous", {"why": "provider", "by": "oidc"})
    assert site.visit("ann").status_code == 200


@pytest.mark.parametrize("query", ["", "?code=made-up&state=made-up", "?error=access_denied&state=x"])
def test_an_unrequested_callback_is_refused(site: Site, query: str) -> None:
    answer = requests.get(f"{site.url}/sign-in/provider/callback{query}", headers=HTML, timeout=30)
    assert answer.status_code == 403
    assert "lungnode_session" not in answer.cookies


def test_it_never_leads_elsewhere(site: Site) -> None:
    assert urlsplit(site.visit("ann", "?next=https://evil.example.org/").url).path == "/worklist"


def test_two_subjects_of_one_name_are_two_actors(site: Site) -> None:
    for person in ("ann", "olga"):
        with site.claims(preferred_username="Dr. Same", email="same@example.org", name="Same"):
            assert site.visit(person).status_code == 200
    (second, _), (first, _) = site.events("user:signed_in")[:2]
    assert (first, second) == (site.actor("ann"), site.actor("olga"))
    assert first != second


def test_a_subject_stays_one_actor_under_another_name_and_address(site: Site) -> None:
    for name in ("Ann", "Ann Married"):
        with site.claims(preferred_username=name, email=f"{name.split()[-1]}@example.org"):
            assert f"<bdi>{name}</bdi>" in site.visit("ann").text
    (second, _), (first, _) = site.events("user:signed_in")[:2]
    assert first == second == site.actor("ann")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Ann\nadmin", "Annadmin"),
        ("Ann\r\n\tB", "AnnB"),
        ("\u202eevil\u2066", "evil"),
        ("A\u200bn\u00adn\ufeff", "Ann"),
        ("  Ann \u2028\u00a0 B  ", "Ann B"),
        ("x" * 5000, "x" * 64),
        ("<b>Ann</b>", "&lt;b&gt;Ann&lt;/b&gt;"),
        ("\u738b\u5c0f\u6771", "\u738b\u5c0f\u6771"),
        ("\n", "?"),
        ("", "?"),
        (17, "?"),
        (None, "?"),
        (["Ann"], "?"),
        ({"a": "b"}, "?"),
        ("left out", "?"),
    ],
)
def test_the_name_is_only_shown_and_only_as_text(site: Site, name: object, shown: str) -> None:
    with site.claims(preferred_username=name):
        answer = site.visit("ann")
    assert answer.status_code == 200
    assert f"<bdi>{shown}</bdi>" in answer.text
    actor, details = site.events("user:signed_in")[0]
    assert actor == site.actor("ann")
    assert str(details["display_name"]).isprintable()


@pytest.mark.parametrize(
    "groups",
    [
        None,
        17,
        True,
        {},
        {"clinic-it": True},
        [],
        [None],
        [17, "clinic-it"],
        ["clinic-it", None],
        [["clinic-it"]],
        [{"name": "clinic-it"}],
        [{}, [], 1.5],
        "clinic-it,clinic-radiologists",
        ["clinic-it,clinic-radiologists"],
        " clinic-it",
        "CLINIC-IT",
        "x" * 1_000_000,
        ["x"] * 6000,
    ],
    ids=lambda groups: repr(groups)[:40],
)
def test_claims_of_odd_types_give_no_role_and_never_fail(site: Site, groups: object) -> None:
    with site.claims(groups=groups):
        answer, cookies = site.visit_with_cookies("ann")
    assert answer.status_code == 403
    assert "text/html" in answer.headers["Content-Type"]
    assert "lungnode_session" not in cookies
    actor, details = site.events("user:refused")[0]
    assert (actor, details["by"]) == ("anonymous", "oidc")
    assert details["why"] in ("role", "provider")  # tokens beyond 250 kB are refused before any claim is read


@pytest.mark.parametrize(
    "groups", ["clinic-it", ["canteen", "clinic-it"], [*("g" + str(n) for n in range(2000)), "clinic-it"]]
)
def test_claims_of_usual_types_give_the_role(site: Site, groups: object) -> None:
    with site.claims(groups=groups):
        assert site.visit("ann").status_code == 200
    assert site.events("user:signed_in")[0][1]["role"] == "admin"


@pytest.mark.parametrize(
    "subject", [None, "", 17, True, [], ["a"], {}, "x" * 256, "a\nb", "caf\u00e9", "left out"], ids=repr
)
def test_a_subject_of_a_wrong_type_is_refused(site: Site, subject: object) -> None:
    with site.claims(sub=subject):
        answer, cookies = site.visit_with_cookies("ann")
    assert answer.status_code == 403
    assert "lungnode_session" not in cookies


@pytest.mark.parametrize("claim", ["iat", "exp", "aud", "nonce"])
@pytest.mark.parametrize("value", ["x", [], {}, None, 10**400, -1, "1e999", [[]] * 100])
def test_other_claims_of_odd_types_never_fail(site: Site, claim: str, value: object) -> None:
    with site.claims(**{claim: value}):
        assert site.visit("ann").status_code in (200, 403)


def test_a_person_of_the_provider_can_be_disabled_here(site: Site) -> None:
    _, cookies = site.visit_with_cookies("ann")
    with site.database.begin() as session:
        users.set_disabled(session, site.actor("ann"), disabled=True)
    try:
        page = requests.get(f"{site.url}/api/v1/worklist", cookies=cookies, timeout=30)
        assert page.status_code == 401
        assert site.visit("ann").status_code == 403
        assert site.events("user:refused")[0] == ("anonymous", {"why": "disabled", "by": "oidc"})
    finally:
        with site.database.begin() as session:
            users.set_disabled(session, site.actor("ann"), disabled=False)


def test_an_open_stream_ends_with_the_session(site: Site) -> None:
    _, cookies = site.visit_with_cookies("ann")
    with requests.get(f"{site.url}/events", cookies=cookies, stream=True, timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == b"retry: 2000"
        with site.database.begin() as session:
            users.end_sessions(session, site.actor("ann"))
        assert b"event: worklist" in list(lines)  # the stream ends, long before its 55 seconds and the timeout
    assert requests.get(f"{site.url}/api/v1/worklist", cookies=cookies, timeout=30).status_code == 401
