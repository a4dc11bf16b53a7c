"""The store of unsaved verdicts and comments."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[3] / "webapp" / "static" / "drafts.js"
SETUP = """
class Tab {
  constructor(entries = {}) { Object.assign(this, entries); }
  getItem(key) { return this[key] ?? null; }
  setItem(key, value) { this[key] = value; }
  removeItem(key) { delete this[key]; }
}
const { DraftStore, dropAllDrafts } = await import(process.argv[1]);
const draft = { verdict: "accept", reason: "", comment: "text", error: "", isPending: false };
"""


@pytest.fixture
def run(tmp_path: Path) -> object:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node")
    module = tmp_path / "drafts.mjs"
    module.write_text(MODULE.read_text(encoding="utf-8"), encoding="utf-8")

    def result_of(script: str) -> object:
        command = [node, "--input-type=module", "-e", f"{SETUP}{script}", module.as_uri()]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return result_of


TAB = """
const tab = new Tab({ worklist: "?q=a" });
const first = new DraftStore("1.2", "anna", tab);
first.put("f1", { ...draft, isPending: true });
"""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param("console.log(JSON.stringify(first.get('f1').comment))", "text", id="stored"),
        pytest.param("console.log(JSON.stringify(first.get('f2')))", None, id="another finding"),
        pytest.param(
            "const again = new DraftStore('1.2', 'anna', tab).get('f1');"
            "console.log(JSON.stringify([again.comment, again.isPending]))",
            ["text", False],
            id="after a reload nothing is on its way",
        ),
        pytest.param(
            "console.log(JSON.stringify(new DraftStore('1.2.3', 'anna', tab).findings))", [], id="another study"
        ),
        pytest.param(
            "new DraftStore('1.2.3', 'anna', tab); console.log(new DraftStore('1.2', 'anna', tab).size)",
            1,
            id="another study in between",
        ),
        pytest.param(
            "const other = new DraftStore('1.2', 'bert', tab).size;"
            "console.log(JSON.stringify([other, new DraftStore('1.2', 'anna', tab).size]))",
            [0, 0],
            id="another reader",
        ),
        pytest.param("first.drop('f1'); console.log(JSON.stringify(Object.keys(tab)))", ["worklist"], id="dropped"),
        pytest.param(
            "dropAllDrafts(tab); console.log(JSON.stringify(Object.keys(tab)))", ["worklist"], id="signed out"
        ),
        pytest.param(
            "for (const [key, text] of Object.entries({ a: '{', b: 'null', c: '[]', d: '{\"reader\":\"anna\"}' }))"
            " tab.setItem('lungnode draft 1.2 ' + key, text);"
            "console.log(JSON.stringify(new DraftStore('1.2', 'anna', tab).findings))",
            ["f1"],
            id="damaged entries",
        ),
        pytest.param(
            "tab.setItem = () => { throw new Error('full'); }; first.put('f2', draft); console.log(first.size)",
            2,
            id="storage is full",
        ),
        pytest.param(
            "const store = new DraftStore('1.2', 'anna', null); store.put('f1', draft); store.clear();"
            "console.log(store.size)",
            0,
            id="no storage",
        ),
    ],
)
def test_a_draft_is_stored_for_its_reader_alone(run: object, script: str, expected: object) -> None:
    assert callable(run)
    assert run(TAB + script) == expected
