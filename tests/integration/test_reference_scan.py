"""One whole research scan that no model was trained on: its nodule is found, first, where four readers saw it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.loading import Models
from training.data.series_io import read_scan

READERS_PLACE = (56.9, 85.0, -115.0)
"""LPS mm: column 317, row 365, z -125 to -105 mm (rated 5/5/5/4)."""


@pytest.mark.data
def test_the_nodule_of_the_reference_scan_is_the_first_finding(research_data: Path, shipped_models: Models) -> None:
    archive = research_data / "lidc_idri_dicom" / "LIDC-IDRI-0001.tar.xz"
    if not archive.is_file():
        pytest.skip("needs LIDC-IDRI-0001; see docs/data.md")
    volume = read_scan(archive)
    first = shipped_models.nodule.analyse(volume).findings[0]
    assert np.linalg.norm(np.subtract(volume.position_mm(first.index), READERS_PLACE)) < 5.0
    assert first.malignancy_probability is not None
    assert first.malignancy_probability > 0.9
    assert first.nodule_probability is not None
    assert first.nodule_probability > 0.9
