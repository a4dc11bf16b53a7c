"""The bundled modules: compressed, kept for ever, and allowed just what decoding needs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.support.webapp_doubles import add_study
from tests.unit.webapp.conftest import Web
from webapp.http import bundles

MODULE = b"export const answer = 42;\n" * 20


@pytest.fixture(autouse=True)
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("built/viewer.js", "built/parts/codec-abc.wasm", "tokens.css"):
        path = tmp_path / "static" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MODULE)
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(MODULE))
    monkeypatch.setattr(bundles, "STATIC", tmp_path / "static")


def fetched(web: Web, path: str, accepted: str = "gzip, br") -> TestResponse:
    return web.client().get(path, headers={"Accept-Encoding": accepted}, buffered=True)


@pytest.mark.parametrize(
    ("name", "mimetype"),
    [("built/viewer.js", "text/javascript"), ("built/parts/codec-abc.wasm", "application/wasm")],
)
def test_a_browser_that_takes_gzip_gets_it(web: Web, name: str, mimetype: str) -> None:
    answer = fetched(web, f"/static/{name}")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.mimetype == mimetype
    assert gzip.decompress(answer.data) == MODULE


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0"])
def test_others_get_it_plain(web: Web, accepted: str) -> None:
    answer = fetched(web, "/static/built/viewer.js", accepted)
    assert "Content-Encoding" not in answer.headers
    assert answer.data == MODULE


def test_only_what_was_bundled_is_sent_compressed(web: Web) -> None:
    assert fetched(web, "/static/tokens.css").data == MODULE
    assert fetched(web, "/static/built/none.js").status_code == 404


def test_files_named_by_content_are_immutable(web: Web) -> None:
    assert "immutable" in fetched(web, "/static/built/parts/codec-abc.wasm").headers["Cache-Control"]
    assert "immutable" in fetched(web, "/static/built/viewer.js?v=1234").headers["Cache-Control"]
    assert fetched(web, "/static/built/viewer.js").headers["Cache-Control"] == "no-cache"


def test_only_the_viewer_and_its_workers_may_compile_codecs(web: Web) -> None:
    viewer = f"/studies/{add_study(web.database).study_instance_uid}"
    for path, may in (
        (viewer, True),
        ("/static/built/viewer.js", True),
        ("/worklist", False),
        ("/static/tokens.css", False),
    ):
        policy = fetched(web, path).headers["Content-Security-Policy"]
        assert ("'wasm-unsafe-eval'" in policy, "worker-src 'self'" in policy) == (may, may), path
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy
