"""Puts the phantom together: shapes, bones, vessels, airways, nodules, then blur and noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dicom_node.phantom.anatomy import (
    AIR_HU,
    CAGE,
    FAT_HU,
    LUNG_HU,
    MUSCLE_HU,
    RIB_THICKNESS_MM,
    SPLEEN,
    STOMACH,
    Build,
    Plane,
    apex_cover,
    body_outline,
    cage_scale,
    core_cover,
    diaphragm_mm,
    fat_thickness,
    heart_parts,
)
from dicom_node.phantom.geometry import FULL, Array, Grid, Tube, blend, cover_tubes, tubes_along
from dicom_node.phantom.nodules import Cover, Surroundings, paint_nodule, place
from dicom_node.phantom.noise import KERNELS, Enlarger, SliceFilter, noise_profile, smooth_field
from dicom_node.phantom.skeleton import CARTILAGE_HU, CORTEX_HU, MARROW_HU, paint_spine, paint_sternum, skeleton
from dicom_node.phantom.spec import Phantom, PhantomSpec, PlacedNodule
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

LIVER_HU, SPLEEN_HU, STOMACH_HU, GAS_HU = 62.0, 52.0, 22.0, -960.0
TWIGS_PER_LUNG = 850


@dataclass(slots=True)
class _Canvas:
    """The volume while it is being painted."""

    spec: PhantomSpec
    grid: Grid
    plane: Plane
    build: Build
    rng: np.random.Generator
    volume: Array
    lung: Cover
    scratch: Cover
    dome: Array
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
    NoPlaceError
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
    plane, build = Plane.of(grid), Build.drawn(rng)
    empty = np.zeros(shape, np.uint8)
    dome = diaphragm_mm(plane, build)
    return _Canvas(spec, grid, plane, build, rng, np.empty(shape, np.float32), empty, np.zeros(shape, np.uint8), dome)


def _find_lungs(canvas: _Canvas, middle: list[Tube]) -> None:
    """Cover of the lungs: what the mediastinum and the diaphragm leave of the cage."""
    cover_tubes(canvas.grid, canvas.scratch, [tube.scaled(1.0, 3.2) for tube in middle])
    whole, _ = heart_parts(canvas.build)
    plane, thickness = canvas.plane, canvas.spec.slice_spacing_mm
    for number, z in enumerate(canvas.heights):
        cage = plane.inside(CAGE * np.float32(cage_scale(z) * canvas.build.width))
        lung = cage * apex_cover(plane, z) * np.clip(0.5 + (z - canvas.dome) / max(thickness, 0.8), 0, 1)
        lung *= 1 - np.maximum(core_cover(plane, z), canvas.scratch[number] * np.float32(1 / FULL))
        lung *= 1 - plane.cover(whole.depth(plane.x, plane.y, z) + 5)
        canvas.lung[number] = lung * FULL
    canvas.scratch[:] = 0


def _paint_base(canvas: _Canvas) -> None:
    """Everything that is a shape in the slice."""
    texture = smooth_field(canvas.rng, canvas.grid, 14.0)
    fine = smooth_field(canvas.rng, canvas.grid, 2.6, across=160)
    enlarge, enlarge_fine = (Enlarger.of(part.shape[1], canvas.grid.shape) for part in (texture, fine))
    for number, z in enumerate(canvas.heights):
        hu = canvas.volume[number]
        hu[:] = AIR_HU
        _paint_table(canvas, hu)
        _paint_wall(canvas, z, hu)
        _paint_abdomen(canvas, z, hu)
        paint_spine(canvas.plane, z, hu)
        paint_sternum(canvas.plane, z, hu)
        _paint_heart(canvas, z, hu)
        grain = enlarge(texture[number]) * 11 + np.maximum(enlarge_fine(fine[number]), -1) * 20
        lung_hu = LUNG_HU + 0.24 * canvas.plane.y + grain + _fissures(canvas, z)
        hu += canvas.lung[number] * np.float32(1 / FULL) * (lung_hu - hu)


def _paint_table(canvas: _Canvas, hu: Array) -> None:
    plane = canvas.plane
    curve = 118 * canvas.build.width - np.square(plane.x) / 900
    sheet = plane.cover(1.1 - np.abs(plane.y - curve - 3)) + plane.cover(0.9 - np.abs(plane.y - curve - 22))
    within = plane.cover(190 - np.abs(plane.x))
    foam = plane.cover(8.5 - np.abs(plane.y - curve - 12.5)) * within
    hu += foam * (-955 - hu)
    hu += sheet * within * (-420 - hu)


def _paint_wall(canvas: _Canvas, z: float, hu: Array) -> None:
    """Skin, fat, muscle with its fat planes, and the soft tissue inside the cage."""
    plane, build = canvas.plane, canvas.build
    skin = body_outline(z, build)
    muscle = skin - fat_thickness(z, build)
    cage = CAGE * np.float32(cage_scale(z) * build.width) + np.float32(RIB_THICKNESS_MM)
    muscle = np.maximum(muscle, cage + 2)
    hu += plane.inside(skin) * (40 - hu)
    hu += plane.inside(skin - 1.6) * (FAT_HU - hu)
    hu += plane.inside(muscle) * (MUSCLE_HU - hu)
    gap = np.take(muscle - cage, plane.angle_index)
    inner = plane.radius - np.take(cage, plane.angle_index)
    for share, width, phase in ((0.3, 1.2, 0.0), (0.7, 0.9, 2.2)):
        wave = 2.4 * np.sin(plane.x / 13 + z / 9 + phase) + 1.8 * np.sin(plane.y / 9 - z / 15)
        breaks = width * np.sin(plane.x / 31 + phase) * np.cos(plane.y / 27 - z / 60 + phase) + 0.35
        line = np.minimum(breaks - np.abs(inner - share * gap - wave), gap / 6 - 1)
        hu += plane.cover(line) * 0.9 * (FAT_HU - hu)
    for side in (-1, 1):
        hu += plane.ellipse((side * 24.0, 86.0), (19.0, 15.0), 2.4) * (MUSCLE_HU - hu)
    fat = plane.inside(cage - RIB_THICKNESS_MM + 1.2)
    if z > 60:
        upper = float(np.clip((z - 60) / 40, 0, 1))
        fat *= np.maximum(1 - upper, plane.ellipse((0.0, 2.0), (36.0, 48.0), 2.5))
    hu += fat * (FAT_HU - hu)


def _paint_abdomen(canvas: _Canvas, z: float, hu: Array) -> None:
    """Diaphragm, liver, stomach, spleen: what lies under the domes."""
    plane, lift = canvas.plane, canvas.spec.contrast_hu
    under = np.clip(0.5 + (canvas.dome - z) / max(canvas.spec.slice_spacing_mm, 0.8), 0, 1)
    if not under.any():
        return
    cage = np.float32(cage_scale(z) * canvas.build.width) * CAGE
    under *= plane.inside(cage + 1)
    hu += under * (MUSCLE_HU - 6 - hu)
    inner = np.clip(0.5 + (canvas.dome - 4 - z) / max(canvas.spec.slice_spacing_mm, 0.8), 0, 1) * plane.inside(cage - 3)
    hu += inner * (FAT_HU + 4 - hu)
    low = float(np.clip((-85 - z) / 60, 0, 1))
    edge = 24 + 34 * np.cos(np.clip(plane.y / 60, -1.5, 1.5)) - 44 * low - 10 * np.sin(plane.y / 14)
    liver = inner * plane.cover(edge - plane.x) * plane.cover(np.hypot(plane.x - 4, plane.y - 40) - 27)
    hu += liver * (LIVER_HU + 0.22 * lift - hu)
    depth = STOMACH.depth(plane.x, plane.y, z)
    stomach, lumen = inner * plane.cover(depth), inner * plane.cover(depth - 4)
    hu += stomach * (48 + 0.1 * lift - hu)
    hu += lumen * (np.where(plane.y < -24, GAS_HU, STOMACH_HU).astype(np.float32) - hu)
    spleen = inner * plane.cover(SPLEEN.depth(plane.x, plane.y, z)) * (1 - stomach)
    hu += spleen * (SPLEEN_HU + 0.28 * lift - hu)


def _paint_heart(canvas: _Canvas, z: float, hu: Array) -> None:
    whole, chambers = heart_parts(canvas.build)
    plane, lift = canvas.plane, canvas.spec.contrast_hu
    outside = whole.depth(plane.x, plane.y, z)
    if not (outside > -6).any():
        return
    hu += plane.cover(outside + 4.4) * (48 - hu)
    hu += plane.cover(outside + 3.2) * (FAT_HU - hu)
    hu += plane.cover(outside - 1.5 + 2 * np.sin(plane.x / 11) * np.sin(plane.y / 13 + z / 9)) * (50 + 0.3 * lift - hu)
    for chamber, share in zip(chambers, (0.95, 0.9, 0.95, 1.0), strict=True):
        hu += plane.cover(chamber.depth(plane.x, plane.y, z)) * (BLOOD_HU + share * lift - hu)


def _fissures(canvas: _Canvas, z: float) -> Array:
    """Extra density of the oblique fissures (both sides) and the horizontal one (right), in HU."""
    plane = canvas.plane
    slope, width = 0.95, max(canvas.spec.slice_spacing_mm * 0.7, 0.8)
    tilt = 0.12 * np.abs(plane.x) + 5 * np.sin(plane.x / 22)
    oblique = np.clip(1 - np.abs(z - (-12 + slope * plane.y + tilt)) / (width + 0.7), 0, 1)
    level = 8 + 5 * np.sin(plane.x / 25) + 0.06 * plane.y
    horizontal = (
        np.clip(1 - np.abs(z - level) / (width + 0.5), 0, 1) * (plane.x < 0) * (z > -12 + slope * plane.y + tilt)
    )
    return (110 * oblique + 60 * horizontal).astype(np.float32)


def _twig_ends(canvas: _Canvas, side: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Random places in one lung, at least a few millimetres apart from the next slice's."""
    grid = canvas.grid
    step = max(1, round(3.0 / grid.spacing_mm[1]))
    inside = canvas.lung[:, ::step, ::step] > FULL * 3 // 4
    inside &= ((grid.axis(2)[::step] > 0) == (side > 0))[None, None, :]
    found = np.argwhere(inside)
    if not len(found):
        return np.empty((0, 3))
    picked = found[canvas.rng.permutation(len(found))[:count]] + canvas.rng.uniform(
        -0.5, 0.5, (min(count, len(found)), 3)
    )
    picked *= (1, step, step)
    return (picked * grid.spacing_mm + grid.origin_mm[::-1])[:, ::-1]


_ARTERY_ROOTS = {-1: ((-48.0, 14.0, -8.0), (-0.5, 0.3, -0.6)), 1: ((50.0, 23.0, -6.0), (0.5, 0.3, -0.6))}
_VEIN_ROOTS = {
    -1: (((-42.0, -8.0, 12.0), (-0.7, -0.3, 0.5)), ((-42.0, 22.0, -24.0), (-0.7, 0.4, -0.4))),
    1: (((42.0, -10.0, 14.0), (0.7, -0.3, 0.5)), ((44.0, 24.0, -26.0), (0.7, 0.4, -0.4))),
}


def _grow_trees(canvas: _Canvas) -> None:
    """Arteries and veins of both lungs; the artery tree of each side comes first, for the bronchi."""
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
    bones = skeleton(canvas.build, heights[0] - 20, heights[-1] + 20)
    canvas.paint(bones.cartilage, CARTILAGE_HU)
    canvas.paint(bones.bones, CORTEX_HU)
    canvas.paint(bones.marrow, MARROW_HU)


def _paint_tubes(canvas: _Canvas, vessels: dict[str, list[Tube]], airways: dict[str, list[Tube]]) -> Cover:
    """Oesophagus, vessels and airways; returns the cover of the vessels."""
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
    for wanted in canvas.spec.nodules:
        placed.append(place(canvas.grid, around, wanted, placed, rng))
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
