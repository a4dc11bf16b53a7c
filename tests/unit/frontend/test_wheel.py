"""Slices for what wheels and trackpads report."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[3] / "frontend" / "src" / "viewer" / "wheel.js"
PIXEL, LINE, PAGE = 0, 1, 2
SCRIPT = """
const { WheelSlices } = await import(process.argv[1]);
const wheel = new WheelSlices();
const movements = JSON.parse(process.argv[2]);
console.log(JSON.stringify(movements.map((movement) => wheel.slicesOf(movement))));
"""


def movements(deltas: list[float], mode: int, ticks: float | None, every_ms: float) -> list[dict[str, float]]:
    """Wheel events: ``ticks`` is what ``wheelDeltaY`` counts for each, or for each pixel where it is fractional."""
    events = []
    for number, delta in enumerate(deltas):
        event = {"deltaY": delta, "deltaMode": mode, "timeStamp": 1000 + number * every_ms}
        if ticks is not None:
            event["wheelDeltaY"] = -delta * ticks if ticks == 3 else -ticks * (1 if delta > 0 else -1)
        events.append(event)
    return events


@pytest.mark.parametrize(
    ("deltas", "mode", "ticks", "slices"),
    [
        pytest.param([100] * 20, PIXEL, 120, 20, id="Chromium on Windows"),
        pytest.param([-100] * 20, PIXEL, 120, -20, id="upwards"),
        pytest.param([66.7] * 20, PIXEL, 120, 20, id="browser zoom 150 %"),
        pytest.param([33.3] * 20, PIXEL, 120, 20, id="one line a notch"),
        pytest.param([300] * 4, PIXEL, 120, 4, id="nine lines a notch"),
        pytest.param([200, 300], PIXEL, 240, 4, id="two notches in one event"),
        pytest.param([100] * 7, PIXEL, None, 7, id="no ticks"),
        pytest.param([3] * 5, LINE, None, 5, id="three lines"),
        pytest.param([1] * 5, LINE, None, 5, id="one line"),
        pytest.param([6] * 2, LINE, None, 4, id="two notches of lines"),
        pytest.param([0.5] * 12, LINE, None, 2, id="parts of lines"),
        pytest.param([3] * 5, LINE, 120, 5, id="Firefox"),
        pytest.param([1, -1, 1], PAGE, None, 1, id="pages"),
        pytest.param([4] * 100, PIXEL, 3, 4, id="trackpad"),
        pytest.param([4, 20, 60, 60, 56], PIXEL, 3, 2, id="flick of a trackpad"),
        pytest.param([4, 40, 56], PIXEL, 3, 1, id="flick with a notch's ticks"),
        pytest.param([60, -60, 60, -60], PIXEL, 3, 0, id="to and fro"),
        pytest.param([10] * 9 + [-10] * 10, PIXEL, 3, -1, id="turned before a slice was reached"),
        pytest.param([0, 0], PIXEL, None, 0, id="sideways"),
    ],
)
def test_slices_of_a_wheel(deltas: list[float], mode: int, ticks: float | None, slices: int) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node")
    events = json.dumps(movements(deltas, mode, ticks, 16))
    command = [node, "--input-type=module", "-e", SCRIPT, MODULE.as_uri(), events]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert sum(json.loads(done.stdout)) == slices
