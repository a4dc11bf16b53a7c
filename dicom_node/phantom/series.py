"""Phantom as a DICOM series, one CT instance a slice."""

from __future__ import annotations

from pathlib import Path

from dicom_node.phantom.spec import Phantom
from dicom_node.phantom.writer import (
    SeriesIdentity,
    SeriesLayout,
    save_instance,
    series_common,
    slice_instance,
)


def write_series(
    phantom: Phantom,
    folder: Path,
    identity: SeriesIdentity | None = None,
    *,
    transfer_syntax: str = "explicit",
) -> tuple[Path, ...]:
    """Write a phantom into ``folder``, and return the files, slices from feet to head.

    Parameters
    ----------
    transfer_syntax
        One of ``TRANSFER_SYNTAXES``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    who = (identity or SeriesIdentity()).resolved(repr(phantom.spec))
    layout = SeriesLayout(phantom.spacing_mm, phantom.origin_mm, kernel=phantom.spec.kernel.upper())
    common = series_common(who, layout)
    return tuple(
        save_instance(slice_instance(common, layout, slice_hu, index), folder / f"{index:05d}.dcm", transfer_syntax)
        for index, slice_hu in enumerate(phantom.volume_hu)
    )
