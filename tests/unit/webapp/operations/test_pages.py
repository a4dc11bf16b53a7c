"""Pages: headers, no inline code, every page opens, and the package needs no torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import webapp
from db.domain.accounts import Role
from tests.unit.webapp.conftest import Web
from tests.unit.webapp.reading.test_studies import shown_study
from webapp.templating import age_at, dicom_date, duration, person_name, sentence

HTML = {"Accept": "text/html"}
STATIC = Path(webapp.__file__).parent / "static"


def every_page(web: Web) -> dict[str, str]:
    study = shown_study(web)
    paths = ("/", "/detector", "/model", "/worklist", f"/studies/{study.study_instance_uid}", "/nothing")
    return {path: web.client().get(path, headers=HTML).text for path in paths}


def test_pages_hold_no_inline_code_or_style(web: Web) -> None:
    for path, page in every_page(web).items():
        assert not re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page), path
        assert "<style" not in page, path
        assert not re.findall(r"<[^>]*\s(?:style|on[a-z]+)=", page), path
        assert "javascript:" not in page, path


def test_pages_load_nothing_from_elsewhere(web: Web) -> None:
    for path, page in every_page(web).items():
        addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page)
        assert [address for address in addresses if re.match(r"(?:[a-z]+:)?//", address)] == [], path


def test_static_files_load_nothing_from_elsewhere() -> None:
    for path in (*STATIC.rglob("*.css"), *STATIC.rglob("*.js")):
        result = re.findall(
            r"""(?:url\(|from |import\(|fetch\()\s*["'](?:https?:)?//""", path.read_text(encoding="utf-8")
        )
        assert result == [], path.name


def test_every_file_that_a_page_names_is_there(web: Web) -> None:
    client = web.client()
    for page in every_page(web).values():
        for address in set(re.findall(r'"(/static/[^"]+)"', page)):
            response = client.get(address)
            assert response.status_code == 200, address
            response.close()
    for module in STATIC.rglob("*.js"):
        for name in re.findall(r'(?:from|import) ?"(\.[^"]+)"', module.read_text(encoding="utf-8")):
            assert (module.parent / name).is_file(), (module.name, name)


@pytest.mark.parametrize("path", ["/", "/worklist", "/livez", "/nothing", "/api/v1/worklist", "/static/tokens.css"])
def test_every_answer_has_the_safety_headers(web: Web, path: str) -> None:
    response = web.client().get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in response.headers
    response.close()


@pytest.mark.parametrize("path", ["/worklist", "/api/v1/worklist", "/detector", "/model_status", "/nothing"])
def test_pages_with_patients_are_not_cached(web: Web, path: str) -> None:
    assert web.client().get(path).headers["Cache-Control"] == "no-store"


def test_static_files_are_cached_by_content(web: Web) -> None:
    for address, expected in (("/static/tokens.css?v=1", "immutable"), ("/static/tokens.css", "no-cache")):
        response = web.client().get(address)
        assert expected in response.headers["Cache-Control"]
        assert response.headers["ETag"]
        response.close()


def test_the_form_works_without_scripts(web: Web) -> None:
    page = web.client().get("/detector").text
    assert '<form class="upload-grid" method="post" action="/predict" enctype="multipart/form-data"' in page
    for name in ("image", "age", "sex", "smoking_pack_years", "family_history", "symptoms", "row", "column"):
        assert f'name="{name}"' in page


@pytest.mark.parametrize(
    "text",
    ["50–80", "pack-years", "96 of 100", "second reader", "never a diagnosis", "NELSON", "Fleischner", "100 dots"],
)
def test_the_educational_page_has_its_sections(web: Web, text: str) -> None:
    assert text in web.client().get("/").text


def test_pages_show_only_what_a_role_may_use(locked: Web) -> None:
    study = shown_study(locked)
    url = f"/studies/{study.study_instance_uid}"
    reader, _ = locked.signed_in(Role.RADIOLOGIST)
    auditor, _ = locked.signed_in(Role.AUDITOR)
    assert 'data-may-decide="yes"' in reader.get(url).text
    assert 'data-tool="mark"' in reader.get(url).text
    page = auditor.get(url).text
    assert 'data-may-decide="no"' in page
    for text in ('data-tool="mark"', "data-again", "data-complete"):
        assert text not in page
    assert 'href="/detector"' not in auditor.get("/worklist").text
    assert 'href="/worklist"' not in locked.client().get("/").text


def test_errors_are_pages_for_people_and_json_for_programs(web: Web) -> None:
    page = web.client().get("/nothing", headers=HTML)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "Page not found" in page.text
    error = web.client().get("/nothing").get_json()["error"]
    assert error["code"] == "not_found"
    assert set(error) == {"code", "message", "reference"}


def test_a_wrong_method_lists_the_allowed_ones(web: Web) -> None:
    response = web.client().post("/worklist")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_the_icon_that_browsers_ask_for_is_there(web: Web) -> None:
    response = web.client().get("/favicon.ico")
    assert response.mimetype == "image/svg+xml"
    response.close()


def test_importing_and_making_the_app_loads_no_torch_and_no_dicom_network() -> None:
    code = (
        "import sys, webapp, webapp.assembly, webapp.ports, webapp.http.server\n"
        "print([name for name in ('torch', 'torchvision', 'pynetdicom', 'pydicom', 'dicom_node')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Q^Dr^Jr", "Doe, Dr Jane Q, Jr"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou · 山田, 太郎 · やまだ, たろう"),
        ("", "(no name)"),
        ("^^^^", "(no name)"),
        ("Plain", "Plain"),
        ("a^b^c^d^e^f^g", "a, d b c, e"),
    ],
)
def test_person_names_are_read(text: str, expected: str) -> None:
    assert person_name(text) == expected


def test_reasons_read_as_sentences() -> None:
    assert [sentence(text) for text in ("no lung in view", "Done.", " why? ", "")] == [
        "No lung in view.",
        "Done.",
        "Why?",
        "",
    ]


def test_dates_ages_and_durations_are_read() -> None:
    assert dicom_date("20260131") == "2026-01-31"
    assert dicom_date("20269999") == "20269999"
    assert age_at("19610215", "20260114") == "64 y"
    assert age_at("20260215", "20260114") == ""
    assert age_at("", "20260114") == ""
    assert [duration(value) for value in (5, 90, 7200, 200_000)] == ["5 s", "2 min", "2 h", "2 d"]
