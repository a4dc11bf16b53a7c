"""Masks are checked whenever one is made, so that no damaged or hostile one is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from db.domain.errors import InvalidRecordError
from db.domain.masks import FindingAxes, FindingMask, MaskSlice, axes_json, axes_of_json

LINE = ((10.0, 20.0), (12.0, 22.5))
MASK = FindingMask(
    slices=(MaskSlice("1.2.3", 1), MaskSlice("1.2.4", 1)),
    row=10,
    column=20,
    rows=2,
    columns=3,
    runs=(1, 4, 2, 5),
    axes=FindingAxes(1, LINE, LINE),
)


def test_a_mask_knows_its_size() -> None:
    assert MASK.shape == (2, 2, 3)
    assert axes_of_json(axes_json(MASK.axes)) == MASK.axes
    assert axes_of_json(axes_json(None)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"slices": ()},
        {"slices": (MaskSlice("1.2.3", 1),)},
        {"slices": (MaskSlice("1.2.3", 1), MaskSlice("1.2.3", 1))},
        {"slices": (MaskSlice("", 1), MaskSlice("1.2.4", 1))},
        {"slices": (MaskSlice("../etc", 1), MaskSlice("1.2.4", 1))},
        {"slices": (MaskSlice("1.2.3", 0), MaskSlice("1.2.4", 1))},
        {"slices": tuple(MaskSlice(f"1.{n}", 1) for n in range(2000))},
        {"row": -1},
        {"column": 4096},
        {"row": 1.5},
        {"rows": 0},
        {"rows": True},
        {"columns": 1 << 40},
        {"runs": ()},
        {"runs": (12,)},
        {"runs": (1, 4, 2, 4)},
        {"runs": (1, 4, 2, 6)},
        {"runs": (1, -4, 15)},
        {"runs": (1, 4, 0, 7)},
        {"runs": (1.0, 11.0)},
        {"runs": ("1", 11)},
        {"runs": (float("nan"), 12)},
        {"runs": (1,) * (1 << 19)},
        {"axes": FindingAxes(2, LINE, LINE)},
        {"axes": FindingAxes(-1, LINE, LINE)},
        {"axes": FindingAxes(0, LINE, ((1.0, float("inf")), (0.0, 0.0)))},
        {"axes": FindingAxes(0, ((1e9, 0.0), (0.0, 0.0)), LINE)},
        {"axes": FindingAxes(0, ((1.0, 0.0),), LINE)},  # type: ignore[arg-type]
    ],
)
def test_a_mask_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        replace(MASK, **changes)
    assert caught.value.field.startswith("mask")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        "x",
        {"slice": "0", "long": [[0, 0], [1, 1]], "short": [[0, 0], [1, 1]]},
        {"slice": 0, "long": None, "short": [[0, 0], [1, 1]]},
        {"slice": 0, "long": [[0, 0]], "short": [[0, 0], [1, 1]]},
        {"slice": 0, "long": [[0, "0"], [1, 1]], "short": [[0, 0], [1, 1]]},
        {"slice": 0, "long": [[0, True], [1, 1]], "short": [[0, 0], [1, 1]]},
        {"slice": 0, "long": [[0, 0, 0], [1, 1]], "short": [[0, 0], [1, 1]]},
    ],
)
def test_axes_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(InvalidRecordError):
        axes_of_json(value)
