"""Nodule boundary: a star-shaped surface around the roundest bright blob near a point.

The centre is moved to the roundest bright blob near the point. From it 642 rays are sampled; the border is the
star-shaped surface that best parts values above a threshold between nodule and surrounding lung from values below
it and that is smooth, so that it follows neither vessels nor the pleura. The centre is then moved to the centroid
and the surface found once more. Beyond the edge of the volume nothing is assumed: there the surface is carried by
its neighbours, so that a volume that ends at the nodule does not tell its size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from scipy.spatial import ConvexHull, cKDTree

from inference.types import CtVolume
from inference.volumes.axis_maps import apply_maps, linear_map
from inference.volumes.blobs import derivatives, negative_laplacian

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

SEARCH_SIGMAS_MM = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0)
SEARCH_GRID_MM = 1.0
SEARCH_HALF_MM = 24.0
WALL_GRID_MM = 2.0
WALL_ABOVE_HU = -450.0
WALL_RADII_MM = (4.5, 8.0, 13.0, 20.0)
RAY_STEP_MM = 0.4
RAY_LENGTH_MM = 32.0
LUNG_HU = -850.0
DENSEST_CORE_HU = 60.0
GLASS_HU = -500.0
"""Core assumed when the border of ground glass around a solid core is sought."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Parameters tuned on the training split of the LIDC-IDRI crops; lengths in mm."""

    reach_mm: float = 7.0
    pull_mm: float = 3.0
    pull_radius: float = 0.3
    seed_ceiling_hu: float = 0.0
    border_share: float = 0.37
    softness_hu: float = 250.0
    smoothness: float = 0.3
    beyond: float = 0.25
    beyond_mm: float = 0.8
    rounds: int = 12
    pick_mm: float = 3.0
    pick_radius: float = 0.6
    size_power: float = 0.5
    edge_power: float = 1.0
    faintness: float = 0.3
    densest_core_hu: float = DENSEST_CORE_HU
    halo_share: float = 0.6
    min_contrast_hu: float = 80.0


TUNING = Tuning()


@dataclass(frozen=True, slots=True)
class _Sphere:
    """A divided icosahedron and a map from longitude and latitude to its corners."""

    directions: Doubles  # (rays, 3) unit vectors (slice, row, column)
    faces: Indices  # (triangles, 3), outward
    edges: Indices  # (pairs, 2)
    neighbours: Indices  # (rays, 6)
    map_corners: Indices  # (latitudes, longitudes, 3)
    map_weights: Doubles  # (latitudes, longitudes, 3)


@dataclass(frozen=True, slots=True)
class Surface:
    """A star-shaped border around ``centre`` (fractional index) and the values it was found between."""

    sphere: _Sphere
    centre: Doubles
    radii_mm: Doubles  # (rays,)
    profiles_hu: Floats  # (rays, steps)
    is_real: Mask  # (rays, steps)
    core_hu: float
    lung_hu: float
    border_hu: float

    @property
    def corners_mm(self) -> Doubles:
        """Ends of the rays, ``(rays, 3)`` mm from the centre."""
        return self.sphere.directions * self.radii_mm[:, None]

    @property
    def depths_mm(self) -> Doubles:
        """Distance of each sample from the centre, ``(steps,)``."""
        return np.arange(0.5, self.profiles_hu.shape[1]) * RAY_STEP_MM

    def centroid(self) -> tuple[Doubles, float]:
        """Centroid (mm from the centre) and volume (mm3) of the closed surface."""
        a, b, c = (self.corners_mm[self.sphere.faces[:, k]] for k in range(3))
        pieces = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
        volume_mm3 = float(pieces.sum())
        return (pieces[:, None] * (a + b + c) / 4.0).sum(axis=0) / volume_mm3, volume_mm3

    def contains(self, offsets_mm: Doubles) -> Mask:
        """Return a mask of the ``(..., 3)`` offsets from the centre that lie within the surface."""
        sphere = self.sphere
        lat_n, lon_n = sphere.map_corners.shape[:2]
        radius_map = (self.radii_mm[sphere.map_corners] * sphere.map_weights).sum(axis=2)
        distance = np.linalg.norm(offsets_mm, axis=-1)
        latitude = np.arccos(np.clip(offsets_mm[..., 0] / np.maximum(distance, 1e-9), -1, 1)) / np.pi * lat_n
        longitude = np.floor(np.arctan2(offsets_mm[..., 1], offsets_mm[..., 2]) / (2 * np.pi) * lon_n).astype(int)
        return distance <= radius_map[np.minimum(latitude.astype(int), lat_n - 1), longitude % lon_n]


@dataclass(frozen=True, slots=True)
class _Patch:
    """The surroundings on a cubic grid: HU, and per closing radius what is chest wall, mediastinum or diaphragm."""

    hu: Floats
    origin: Doubles  # fractional index of the middle voxel
    real: Mask
    walls: dict[float, Mask]  # on every second voxel

    def wall(self, radius_mm: float, away_mm: Doubles | None = None) -> Mask:
        """Tissue too thick to be a nodule of that radius and not at ``away_mm``; on the grid of ``WALL_GRID_MM``."""
        wall = self.walls[WALL_RADII_MM[-1]]
        for closing_mm in WALL_RADII_MM:
            if closing_mm < 1.25 * radius_mm + 1.0:
                continue
            wall = self.walls[closing_mm]
            if away_mm is None or not _on_wall(wall, away_mm[:, None, None], np.zeros(3)).any():
                break
        return wall


def find_surface(volume: CtVolume, index: tuple[float, float, float], tuning: Tuning = TUNING) -> Surface:
    """Find the border of the nodule nearest to ``index``: the best of what each wall radius proposes."""
    patch = _patch(volume, np.array(index, float))
    best, plausibility = None, -1.0
    for centre, radius_mm in _seeds(volume, patch, tuning):
        surface = _settled(volume, patch, (centre, radius_mm), _sphere(2), tuning)
        score = _plausibility(volume, patch, surface, tuning)
        if score > plausibility:
            best, plausibility = surface, score
    if best is None:
        best = _fit(volume, patch, patch.origin, 3.0, _sphere(2), tuning)
    surface = _settled(volume, patch, _ball(volume, best), _sphere(3), tuning)
    if _halo_share(surface) < tuning.halo_share:
        return surface
    centre, radius_mm = _ball(volume, surface)
    return _fit(volume, patch, centre, 1.4 * radius_mm, _sphere(3), replace(tuning, densest_core_hu=GLASS_HU))


def _halo_share(surface: Surface) -> float:
    """Share of rays on which ground glass lies outside the border; a solid core in glass is measured whole."""
    depths_mm, radii_mm = surface.depths_mm, surface.radii_mm[:, None]
    beyond = (depths_mm > radii_mm + 1.2) & (depths_mm <= radii_mm + 3.2) & surface.is_real
    has_samples = beyond.any(axis=1)
    if not has_samples.any():
        return 0.0
    hu = _row_means(surface.profiles_hu, beyond)[has_samples]
    return float(((hu > surface.lung_hu + 110.0) & (hu < surface.border_hu + 50.0)).mean())


def _settled(volume: CtVolume, patch: _Patch, ball: tuple[Doubles, float], sphere: _Sphere, tuning: Tuning) -> Surface:
    """Fit around the centre, move to the centroid and fit again."""
    surface = _fit(volume, patch, *ball, sphere, tuning)
    return _fit(volume, patch, *_ball(volume, surface), sphere, tuning)


def _ball(volume: CtVolume, surface: Surface) -> tuple[Doubles, float]:
    """Centroid (fractional index) and radius (mm) of a ball of the same volume."""
    offset_mm, volume_mm3 = surface.centroid()
    return surface.centre + offset_mm / volume.spacing_mm, float(np.cbrt(0.75 * volume_mm3 / np.pi))


def _plausibility(volume: CtVolume, patch: _Patch, surface: Surface, tuning: Tuning) -> float:
    """Rank proposals: a border all around, near the given point, not tiny and not faint."""
    depths_mm = surface.depths_mm
    inner = (depths_mm <= surface.radii_mm[:, None]) & (depths_mm > surface.radii_mm[:, None] - 2.0)
    outer = (depths_mm > surface.radii_mm[:, None] + 0.4) & (depths_mm <= surface.radii_mm[:, None] + 2.4)
    drop = _row_means(surface.profiles_hu, inner) - _row_means(surface.profiles_hu, outer)
    contrast_hu = max(surface.core_hu - surface.lung_hu, 1.0)
    edge = float(np.clip(drop / contrast_hu, 0.0, 1.0).mean())
    centre, radius_mm = _ball(volume, surface)
    distance2 = float((((centre - patch.origin) * volume.spacing_mm) ** 2).sum())
    pull2 = tuning.pick_mm**2 + (tuning.pick_radius * radius_mm) ** 2
    size = min(1.0, radius_mm / 2.0) * radius_mm**tuning.size_power
    return edge**tuning.edge_power * size * float(np.exp(-distance2 / (2 * pull2))) * contrast_hu**tuning.faintness


def _row_means(values: Floats, chosen: Mask) -> Doubles:
    return (values * chosen).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)


def _patch(volume: CtVolume, index: Doubles) -> _Patch:
    offsets_mm = np.arange(-SEARCH_HALF_MM, SEARCH_HALF_MM + 0.5, SEARCH_GRID_MM)
    maps, real, box = [], [], []
    for axis, spacing in enumerate(volume.spacing_mm):
        size = volume.volume_hu.shape[axis]
        at = index[axis] + offsets_mm / spacing
        start, stop = max(0, int(at[0]) - 1), min(size, int(at[-1]) + 3)
        box.append(slice(start, stop))
        maps.append(linear_map(at - start, stop - start, SEARCH_GRID_MM / spacing))
        real.append((at > -0.5) & (at < size - 0.5))
    hu = apply_maps(np.clip(volume.volume_hu[tuple(box)], -1000, DENSEST_CORE_HU).astype(np.float32), maps)
    tissue = hu[::2, ::2, ::2] > WALL_ABOVE_HU
    depth_mm = ndi.distance_transform_edt(np.pad(tissue, 8, mode="edge"), sampling=WALL_GRID_MM)[8:-8, 8:-8, 8:-8]
    walls = {}
    for radius_mm in WALL_RADII_MM:
        deep = depth_mm > radius_mm
        walls[radius_mm] = (
            ndi.distance_transform_edt(~deep, sampling=WALL_GRID_MM) <= radius_mm + WALL_GRID_MM / 2
            if deep.any()
            else deep
        )
    return _Patch(hu, index, real[0][:, None, None] & real[1][:, None] & real[2], walls)


def _seeds(volume: CtVolume, patch: _Patch, tuning: Tuning) -> list[tuple[Doubles, float]]:
    """Per wall the roundest bright blob within reach; its radius is that of the scale that answered strongest."""
    count = len(patch.hu)
    best: dict[int, tuple[float, Doubles, float]] = {}
    free, cleared = patch.hu, None
    for sigma_mm in SEARCH_SIGMAS_MM:
        radius_mm = sigma_mm * float(np.sqrt(3.0))
        wall = patch.wall(radius_mm)
        if wall is not cleared:
            cleared = wall
            fine = wall.repeat(2, 0).repeat(2, 1).repeat(2, 2)[:count, :count, :count]
            free = np.where(fine | ~patch.real, np.float32(LUNG_HU), np.minimum(patch.hu, tuning.seed_ceiling_hu))
        strength, offset_mm = _strongest_blob(free, sigma_mm, tuning)
        if strength > best.get(id(wall), (0.0,))[0]:
            best[id(wall)] = (strength, offset_mm, radius_mm)
    return [(patch.origin + offset_mm / volume.spacing_mm, radius_mm) for _, offset_mm, radius_mm in best.values()]


def _strongest_blob(free_hu: Floats, sigma_mm: float, tuning: Tuning) -> tuple[float, Doubles]:
    """Strength and offset (mm) of the best local maximum at one scale, preferring the middle of the patch."""
    reach = int(tuning.reach_mm / SEARCH_GRID_MM) + 3
    blur = _gaussian_map(len(free_hu), sigma_mm / SEARCH_GRID_MM)
    middle = len(free_hu) // 2
    smooth = apply_maps(free_hu, [blur[middle - reach : middle + reach + 1]] * 3)
    response = negative_laplacian(smooth)
    inner = response[1:-1, 1:-1, 1:-1]
    highest = ndi.maximum_filter(response, 3)[1:-1, 1:-1, 1:-1]
    maxima = np.argwhere((inner >= highest) & (inner > 0.01)) + 2
    if not len(maxima):
        return 0.0, np.zeros(3)
    gradient, hessian = derivatives(smooth, maxima)
    bend = -np.linalg.eigvalsh(hessian)
    flattest, steepest = np.maximum(bend[:, 2], 0.0), np.maximum(bend[:, 0], 1e-6)
    shift = np.clip(-np.linalg.solve(hessian - 1e-6 * np.eye(3), gradient[..., None])[..., 0], -1, 1)
    offset_mm = (maxima + shift - reach) * SEARCH_GRID_MM
    distance2 = (offset_mm**2).sum(axis=1)
    pull2 = tuning.pull_mm**2 + 3.0 * (tuning.pull_radius * sigma_mm) ** 2
    strength = sigma_mm**2 * flattest * np.sqrt(flattest / steepest) * np.exp(-distance2 / (2 * pull2))
    strength[distance2 > tuning.reach_mm**2] = 0.0
    top = int(np.argmax(strength))
    return float(strength[top]), offset_mm[top]


@cache
def _gaussian_map(size: int, sigma: float) -> Floats:
    distance = np.arange(size)[:, None] - np.arange(size)[None]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _fit(
    volume: CtVolume, patch: _Patch, centre: Doubles, radius_mm: float, sphere: _Sphere, tuning: Tuning
) -> Surface:
    length_mm = min(RAY_LENGTH_MM, 2.5 * radius_mm + 6.0)
    depths_mm = np.arange(0.5, length_mm / RAY_STEP_MM) * RAY_STEP_MM
    offsets_mm = sphere.directions.T[..., None] * depths_mm  # (3, rays, steps)
    profiles, real = _profiles(volume, centre, offsets_mm)
    away_mm = (centre - patch.origin) * volume.spacing_mm
    walled = _on_wall(patch.wall(radius_mm, away_mm), offsets_mm, away_mm)
    core = profiles[:, depths_mm <= max(0.8, 0.5 * radius_mm)]
    core_hu = min(float(np.quantile(core, 0.7)), tuning.densest_core_hu)
    shell = profiles[:, (depths_mm > 1.2 * radius_mm + 1.0) & (depths_mm < 2.2 * radius_mm + 4.0)]
    lung = shell[shell < -600.0]
    lung_hu = float(np.median(lung)) if lung.size > 50 else LUNG_HU
    border_hu = lung_hu + tuning.border_share * (core_hu - lung_hu)
    gain = np.clip((profiles - border_hu) / tuning.softness_hu, -0.5, 0.5)
    gain[walled] = -0.5
    gain *= real * RAY_STEP_MM
    ball = np.argmax(gain.cumsum(axis=1).sum(axis=0))
    ball_mm = float(np.clip(depths_mm[ball] + RAY_STEP_MM / 2, 0.5 * radius_mm, 2.0 * radius_mm + 1.0))
    beyond = np.maximum(0.0, depths_mm - ball_mm) / (tuning.beyond * ball_mm + tuning.beyond_mm)
    total = (gain * np.exp(-(beyond**2))).cumsum(axis=1)
    edges_mm = depths_mm + RAY_STEP_MM / 2
    radii_mm = np.full(len(profiles), ball_mm)
    neighbours = sphere.neighbours
    for _ in range(tuning.rounds):
        smooth_mm = radii_mm[neighbours].mean(axis=1)
        radii_mm = edges_mm[
            np.argmax(total - tuning.smoothness / ball_mm * (edges_mm[None] - smooth_mm[:, None]) ** 2, axis=1)
        ]
    radii_mm = (radii_mm + radii_mm[neighbours].mean(axis=1)) / 2.0
    return Surface(sphere, centre, radii_mm, profiles, real, core_hu, lung_hu, border_hu)


def _profiles(volume: CtVolume, centre: Doubles, offsets_mm: Doubles) -> tuple[Floats, Mask]:
    """HU along every ray (edge values beyond the volume) and where the volume is."""
    at = centre[:, None, None] + offsets_mm / np.array(volume.spacing_mm)[:, None, None]
    size = np.array(volume.volume_hu.shape)
    lowest, highest = at.min(axis=(1, 2)), at.max(axis=(1, 2))
    real = np.ones(at.shape[1:], bool)
    for axis in np.flatnonzero((lowest <= -0.5) | (highest >= size - 0.5)):
        real &= (at[axis] > -0.5) & (at[axis] < size[axis] - 0.5)
    low = np.clip(np.floor(lowest).astype(int), 0, size - 1)
    high = np.clip(np.ceil(highest).astype(int) + 1, low + 1, size)
    crop = volume.volume_hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.float32)
    return ndi.map_coordinates(crop, at - low[:, None, None], order=1, mode="nearest"), real


def _on_wall(wall: Mask, offsets_mm: Doubles, away_mm: Doubles) -> Mask:
    """Mark the samples on the wall; what is beyond the patch counts as its edge."""
    flat = np.zeros(offsets_mm.shape[1:], np.int32)
    for axis in range(3):
        steps = (offsets_mm[axis] + (away_mm[axis] + SEARCH_HALF_MM + WALL_GRID_MM / 2)) * (1.0 / WALL_GRID_MM)
        flat = flat * wall.shape[axis] + np.clip(steps, 0, wall.shape[axis] - 1).astype(np.int32)
    return wall.ravel()[flat]


@cache
def _sphere(divisions: int) -> _Sphere:
    golden = (1.0 + np.sqrt(5.0)) / 2.0
    signs = [(a, b) for a in (-1, 1) for b in (-1, 1)]
    corners = np.array([np.roll((0.0, a, b * golden), k) for k in range(3) for a, b in signs])
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    faces = ConvexHull(corners).simplices
    for _ in range(divisions):
        corners, faces = _divided(corners, faces)
    a, b, c = (corners[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    faces[inward] = faces[inward][:, ::-1]
    tree = cKDTree(corners)
    neighbours = tree.query(corners, k=7)[1][:, 1:]
    polar = (np.arange(60) + 0.5) / 60 * np.pi
    azimuth = (np.arange(120) + 0.5) / 120 * 2 * np.pi
    grid = np.stack(
        np.broadcast_arrays(
            np.cos(polar)[:, None], np.sin(polar)[:, None] * np.sin(azimuth), np.sin(polar)[:, None] * np.cos(azimuth)
        ),
        axis=-1,
    )
    distance, nearest = tree.query(grid, k=3)
    weights = 1.0 / (distance + 1e-3)
    edges = np.unique(np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    return _Sphere(corners, faces, edges, neighbours, nearest, weights / weights.sum(axis=2, keepdims=True))


def _divided(corners: Doubles, faces: Indices) -> tuple[Doubles, Indices]:
    """Split each triangle in four, new corners on the unit sphere."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    middles = corners[unique].sum(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    ab, bc, ca = (which.reshape(-1, 3)[:, k] + len(corners) for k in range(3))
    a, b, c = faces.T
    smaller = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
    return np.concatenate([corners, middles]), smaller
