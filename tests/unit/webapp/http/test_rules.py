"""URL rules build the URLs that werkzeug's own build."""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType

import pytest
from werkzeug.routing import Map, Rule

from webapp.http.routing import HexIdConverter, LazyRule, UidConverter

RULES: tuple[tuple[str, dict[str, object], str], ...] = (
    ("/", {}, "/"),
    ("/", {"page": 2, "q": "a b"}, "/?page=2&q=a+b"),
    ("/studies/<uid:study>", {"study": "1.2.840"}, "/studies/1.2.840"),
    ("/studies/<uid:study>/uploads/<hex_id:key>", {"study": "1", "key": "0" * 32}, f"/studies/1/uploads/{'0' * 32}"),
    ("/static/<path:filename>", {"filename": "built/ä.js", "v": "1"}, "/static/built/%C3%A4.js?v=1"),
)


@pytest.mark.parametrize("kind", [Rule, LazyRule])
@pytest.mark.parametrize(("rule", "values", "url"), RULES)
def test_urls_are_built(kind: type[Rule], rule: str, values: dict[str, object], url: str) -> None:
    rules = Map([kind(rule, endpoint="page")], converters={"uid": UidConverter, "hex_id": HexIdConverter})
    adapter = rules.bind("localhost")
    assert adapter.build("page", values) == adapter.build("page", values) == url
    assert adapter.build("page", values, append_unknown=False) == url.partition("?")[0]
    assert adapter.match(adapter.build("page", values, append_unknown=False))[0] == "page"


def test_a_rule_is_compiled_when_a_url_is_first_built() -> None:
    class Watched(LazyRule):
        compiled = 0

        @staticmethod
        def _get_func_code(code: CodeType, name: str) -> Callable[..., tuple[str, str]]:
            Watched.compiled += 1
            return LazyRule._get_func_code(code, name)

    rules = Map([Watched("/a/<name>", endpoint="a"), Watched("/b", endpoint="b")])
    adapter = rules.bind("localhost")
    assert adapter.match("/b")[0] == "b"
    assert Watched.compiled == 0
    assert [adapter.build("a", {"name": name}) for name in "xy"] == ["/a/x", "/a/y"]
    assert Watched.compiled == 1
