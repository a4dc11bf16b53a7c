"""One part of a value that is no number costs that part alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node.sandbox.dicom_json import instance_json
from tests.support.intake import ct_dataset, part10


def with_bytes(content: bytes, keyword_bytes: bytes, replacement: bytes) -> bytes:
    assert len(keyword_bytes) == len(replacement)
    assert content.count(keyword_bytes) == 1
    return content.replace(keyword_bytes, replacement)


@pytest.mark.parametrize(
    ("written", "described"),
    [
        (b"1.5\\2.5 ", [1.5, 2.5]),
        (b"1.5\\abc ", [1.5, None]),
        (b"\\\\2.5\\3 ", [None, None, 2.5, 3]),
        (b"1,5\\2.5 ", [None, 2.5]),
        (b"NaN\\2.5 ", [None, 2.5]),
        (b"1e2\\2.5\0", [100.0, 2.5]),
    ],
)
def test_a_part_that_is_no_number_is_null(tmp_path: Path, written: bytes, described: list[float | None]) -> None:
    ds = ct_dataset()
    ds.PixelSpacing = ["7.25", "8.2"]
    content = part10(ds)
    path = tmp_path / "instance"
    path.write_bytes(with_bytes(content, b"7.25\\8.2", written))
    element = json.loads(instance_json(path, "bulk"))["00280030"]
    assert element == {"vr": "DS", "Value": described}
