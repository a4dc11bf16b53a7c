"""Assembly of the phantom: shapes, bones, vessels, airways, nodules, then blur and noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dicom_node.phantom.anatomy import Build, Plane
from dicom_node.phantom.geometry import FULL, Array, Grid, Tube, blend, cover_tubes, tubes_along
from dicom_node.phantom.nodules import Cover, Surroundings, paint_nodule, place_nodule
from dicom_node.phantom.noise import KERNELS, Enlarger, SliceFilter, noise_profile, smooth_field
from dicom_node.phantom.skeleton import CARTILAGE_HU, CORTEX_HU, MARROW_HU, skeleton
from dicom_node.phantom.spec import Phantom, PhantomSpec, PlacedNodule
from dicom_node.phantom.tissues import Chest
from dicom_node.phantom.vasculature import (
    BLOOD_HU,
    LEFT_BRONCHUS,
    OESOPHAGUS,
    RIGHT_BRONCHUS,
    TRACHEA,
    GrowthRule,
    Tree,
    bronchi,
    great_vessels,
    grow,
)

TWIGS_PER_LUNG = 850


@dataclass(slots=True)
class _Canvas:
    """The volume being painted."""

    spec: PhantomSpec
    grid: Grid
    chest: Chest
    rng: np.random.Generator
    volume: Array
    lung: Cover
    scratch: Cover
    trees: list[Tree] = field(default_factory=list)

    @property
    def heights(self) -> list[float]:
        return [float(z) for z in self.grid.axis(0)]

    def paint(self, tubes: list[Tube], hu: float, within: Cover | None = None) -> None:
        cover_tubes(self.grid, self.scratch, tubes)
        if within is not None:
            np.minimum(self.scratch, within, out=self.scratch)
        blend(self.volume, self.scratch, hu)
        self.scratch[:] = 0


def make_phantom(spec: PhantomSpec | None = None) -> Phantom:
    """Generate a chest CT; the same spec gives the same voxels.

    Raises
    ------
    NoSpaceForNoduleError
        A nodule that was asked for does not fit into the part of the lungs that the series shows.
    """
    spec = spec or PhantomSpec()
    canvas = _start(spec)
    vessels = great_vessels()
    airways = {name: tubes_along(*path) for name, path in _AIRWAYS.items()}
    _find_lungs(canvas, [tube for group in (*vessels.values(), *airways.values()) for tube in group])
    _paint_base(canvas)
    if spec.vessels:
        _grow_trees(canvas)
    _paint_bones(canvas)
    vessel_cover = _paint_tubes(canvas, vessels, airways)
    nodules = _paint_nodules(canvas, vessel_cover)
    volume_hu = _reconstruct(canvas)
    return Phantom(spec, volume_hu, canvas.grid.spacing_mm, canvas.grid.origin_mm, nodules)


_AIRWAYS = {"trachea": TRACHEA, "right main bronchus": RIGHT_BRONCHUS, "left main bronchus": LEFT_BRONCHUS}


def _start(spec: PhantomSpec) -> _Canvas:
    shape = (spec.slices, spec.rows, spec.columns)
    spacing = (spec.slice_spacing_mm, spec.pixel_spacing_mm, spec.pixel_spacing_mm)
    x, y, z = (-(size - 1) / 2 * mm for size, mm in zip(shape[::-1], spacing[::-1], strict=True))
    grid = Grid(shape, spacing, (x, y, z))
    rng = np.random.default_rng(spec.seed)
    chest = Chest.of(Plane.of(grid), Build.drawn(rng), spec.contrast_hu, spec.slice_spacing_mm)
    lung, scratch = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    return _Canvas(spec, grid, chest, rng, np.empty(shape, np.float32), lung, scratch)


def _find_lungs(canvas: _Canvas, middle: list[Tube]) -> None:
    """Return the cover of the lungs: the cage without mediastinum and diaphragm."""
    cover_tubes(canvas.grid, canvas.scratch, [tube.scaled(1.0, 3.2) for tube in middle])
    for number, z in enumerate(canvas.heights):
        canvas.lung[number] = canvas.chest.lung_cover(z, canvas.scratch[number]) * FULL
    canvas.scratch[:] = 0


def _paint_base(canvas: _Canvas) -> None:
    """Paint all shapes of the slices."""
    texture = smooth_field(canvas.rng, canvas.grid, 14.0)
    fine = smooth_field(canvas.rng, canvas.grid, 2.6, across=160)
    enlarge, enlarge_fine = (Enlarger.of(part.shape[1], canvas.grid.shape) for part in (texture, fine))
    for number, z in enumerate(canvas.heights):
        grain = enlarge(texture[number]) * 11 + np.maximum(enlarge_fine(fine[number]), -1) * 20
        canvas.chest.paint(z, canvas.volume[number], canvas.lung[number], grain)


def _twig_ends(canvas: _Canvas, side: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return random points in one lung, at least a few millimetres from those of the next slice."""
    grid = canvas.grid
    step = max(1, round(3.0 / grid.spacing_mm[1]))
    inside = canvas.lung[:, ::step, ::step] > FULL * 3 // 4
    inside &= ((grid.axis(2)[::step] > 0) == (side > 0))[None, None, :]
    points = np.argwhere(inside)
    if not len(points):
        return np.empty((0, 3))
    picked = points[canvas.rng.permutation(len(points))[:count]] + canvas.rng.uniform(
        -0.5, 0.5, (min(count, len(points)), 3)
    )
    picked *= (1, step, step)
    return (picked * grid.spacing_mm + grid.origin_mm[::-1])[:, ::-1]


_ARTERY_ROOTS = {-1: ((-48.0, 14.0, -8.0), (-0.5, 0.3, -0.6)), 1: ((50.0, 23.0, -6.0), (0.5, 0.3, -0.6))}
_VEIN_ROOTS = {
    -1: (((-42.0, -8.0, 12.0), (-0.7, -0.3, 0.5)), ((-42.0, 22.0, -24.0), (-0.7, 0.4, -0.4))),
    1: (((42.0, -10.0, 14.0), (0.7, -0.3, 0.5)), ((44.0, 24.0, -26.0), (0.7, 0.4, -0.4))),
}


def _grow_trees(canvas: _Canvas) -> None:
    """Return arteries and veins of both lungs; the artery tree of each side comes first, for the bronchi."""
    count = round(
        TWIGS_PER_LUNG * float(np.clip(0.8 / canvas.spec.pixel_spacing_mm, 0.25, 1))
    )  # large pixels hide twigs
    for side in (-1, 1):
        ends = _twig_ends(canvas, side, count)
        if len(ends) < 2:
            canvas.trees += [Tree([], [])]
            continue
        canvas.trees.append(grow(*_ARTERY_ROOTS[side], ends, GrowthRule(), canvas.rng))
    for side in (-1, 1):
        ends = _twig_ends(canvas, side, count * 3 // 4)
        upper = ends[:, 2] > -0.55 * ends[:, 1] - 8
        for root, mine in zip(_VEIN_ROOTS[side], (ends[upper], ends[~upper]), strict=True):
            if len(mine) > 1:
                canvas.trees.append(grow(*root, mine, GrowthRule(bend=0.12), canvas.rng))


def _paint_bones(canvas: _Canvas) -> None:
    heights = canvas.heights
    bones = skeleton(canvas.chest.build, heights[0] - 20, heights[-1] + 20)
    canvas.paint(bones.cartilage, CARTILAGE_HU)
    canvas.paint(bones.bones, CORTEX_HU)
    canvas.paint(bones.marrow, MARROW_HU)


def _paint_tubes(canvas: _Canvas, vessels: dict[str, list[Tube]], airways: dict[str, list[Tube]]) -> Cover:
    """Paint oesophagus, vessels and airways; return the cover of the vessels."""
    lift = canvas.spec.contrast_hu
    canvas.paint(tubes_along(*OESOPHAGUS), 42.0)
    large = [tube for group in airways.values() for tube in group]
    small = [tube for side, tree in zip((-1, 1), canvas.trees, strict=False) for tube in bronchi(tree, side)]
    canvas.paint([tube.scaled(1.12, 0.6) for tube in large], 15.0)
    canvas.paint([tube.scaled(1.08, 0.6) for tube in small], 15.0, canvas.lung)
    veins = [tube for name, group in vessels.items() if "vein" in name or "cava" in name for tube in group]
    canvas.paint([tube for name, group in vessels.items() for tube in group], BLOOD_HU + lift)
    canvas.paint([tube for tube in veins if tube.start[2] > 40], BLOOD_HU + 1.3 * lift)
    cover_tubes(canvas.grid, canvas.scratch, [tube for tree in canvas.trees for tube in tree.tubes])
    trees = np.minimum(canvas.scratch, canvas.lung)
    blend(canvas.volume, trees, BLOOD_HU + 0.75 * lift)
    canvas.scratch[:] = 0
    canvas.paint(large, -985.0)
    canvas.paint(small, -985.0, canvas.lung)
    return trees


def _paint_nodules(canvas: _Canvas, vessel_cover: Cover) -> tuple[PlacedNodule, ...]:
    if not canvas.spec.nodules:
        return ()
    rng = np.random.default_rng([canvas.spec.seed, 7])
    around = Surroundings.of(canvas.grid, canvas.lung, vessel_cover)
    placed: list[PlacedNodule] = []
    for nodule_spec in canvas.spec.nodules:
        placed.append(place_nodule(canvas.grid, around, nodule_spec, placed, rng))
    for nodule in placed:
        paint_nodule(canvas.grid, canvas.volume, canvas.scratch, nodule, rng)
    return tuple(placed)


def _reconstruct(canvas: _Canvas) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Blur by the kernel, add its noise, and round to whole HU."""
    kernel = KERNELS[canvas.spec.kernel]
    response = SliceFilter.of(canvas.grid, kernel)
    out = np.empty(canvas.volume.shape, np.int16)
    rng = np.random.default_rng([canvas.spec.seed, 11])
    for number, z in enumerate(canvas.heights):
        noise = None
        if canvas.spec.noise_hu > 0:
            white = rng.standard_normal(canvas.volume.shape[1:], dtype=np.float32)
            noise = white * noise_profile(canvas.grid, z) * np.float32(canvas.spec.noise_hu * kernel.noise_factor)
        out[number] = np.clip(np.rint(response.apply(canvas.volume[number], noise)), -1024, 3071)
    return out
