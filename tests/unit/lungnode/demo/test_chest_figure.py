"""The picture of the educational page is the one that its script makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungnode.demo import chest_figure


@pytest.mark.slow
def test_the_picture_is_made_by_its_script(tmp_path: Path) -> None:
    chest_figure.main(tmp_path)
    drawn, shipped = (
        np.asarray(Image.open(folder / "slice.png").convert("RGB"), dtype=float)
        for folder in (tmp_path, chest_figure.PICTURES)
    )
    assert drawn.shape == shipped.shape == (chest_figure.HEIGHT_PX, chest_figure.WIDTH_PX, 3)
    assert np.abs(drawn - shipped).mean() < 2
