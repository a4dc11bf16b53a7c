"""Size of the generated chest CT that benchmarks analyse, and the arguments that set it."""

from __future__ import annotations

import argparse

from dicom_node.phantom.spec import PhantomSpec

FIELD_MM = 358.4
"""Width of the field of view where pixels stay in the validated range."""
WIDEST_PIXEL_MM = 0.95


def add_size(options: argparse.ArgumentParser) -> None:
    """Add ``--slices``, ``--length`` and ``--rows``."""
    options.add_argument("--slices", type=int, default=300)
    options.add_argument("--length", type=float, default=300.0, help="of the scan, in mm")
    options.add_argument("--rows", type=int, default=512, help="and as many columns")


def chest_spec(slices: int, length_mm: float, rows: int) -> PhantomSpec:
    """Specify a series of square slices; few rows make pixels wider up to what is analysed, then the field narrower."""
    return PhantomSpec(slices, length_mm / slices, rows, rows, min(FIELD_MM / rows, WIDEST_PIXEL_MM))
