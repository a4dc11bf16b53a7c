// Positions in the patient: orientation letters, distances between slices, what lies near a slice.
import type { Edge, Finding, Slice, Triple } from "./types";

const AXES = [
  ["L", "R"],
  ["P", "A"],
  ["H", "F"],
] as const; // +x, +y, +z of the patient (PS3.3 C.7.6.2.1.1)
const OBLIQUE = 0.4;
const UNMEASURED_MM = 8; // a mark's size where there is no diameter
const AIR_MM = 3; // between a nodule and its mark
const SCALES_MM = [200, 100, 50, 20, 10, 5];
const LONGEST_SCALE_PX = 150;
const INDICES = [0, 1, 2] as const;

// The plane of a frame as Cornerstone draws it; a frame without position or spacing gets defaults.
export interface Plane {
  imagePositionPatient: Triple;
  rowCosines: Triple;
  columnCosines: Triple;
  rowPixelSpacing: number;
  columnPixelSpacing: number;
}

export interface Pixel {
  row: number; // counted from 0 at the middle of the first pixel
  column: number;
}

export interface Size {
  width: number;
  height: number;
}

export function letters(direction: number[]): string {
  return AXES.map(([plus, minus], axis) => ({
    size: Math.abs(direction[axis] ?? 0),
    letter: (direction[axis] ?? 0) >= 0 ? plus : minus,
  }))
    .filter(({ size }) => size >= OBLIQUE)
    .sort((a, b) => b.size - a.size)
    .map(({ letter }) => letter)
    .join("");
}

// Letters at the edges of an image whose rows run along the first three cosines and columns along the last three.
export function edgeLetters(orientation: number[] | null): Record<Edge, string> {
  if (!orientation) return { left: "", right: "", top: "", bottom: "" };
  const row = orientation.slice(0, 3);
  const column = orientation.slice(3);
  const opposite = (direction: number[]) => direction.map((part) => -part);
  return { left: letters(opposite(row)), right: letters(row), top: letters(opposite(column)), bottom: letters(column) };
}

// Readers scroll from the head to the feet, whatever order the slices have.
export function fromTheHead(slices: Slice[]): Slice[] {
  const first = slices[0]?.position_mm;
  const last = slices.at(-1)?.position_mm;
  return first && last && last[2] > first[2] ? [...slices].reverse() : slices;
}

export function distanceMm(a: Triple | null, b: Triple | null): number | null {
  return a && b ? Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) : null;
}

// Radius in millimetres of a finding's circle on a slice that lies so far away; null where it does not reach.
export function markRadiusMm(finding: Finding, distance: number | null): number | null {
  const radius = (finding.diameter_mm ?? UNMEASURED_MM) / 2;
  if (distance === null || distance >= radius) return null;
  return Math.sqrt(radius ** 2 - distance ** 2) + AIR_MM;
}

// The slice that lies nearest to a height in the patient; null where slices have no place.
export function nearestSlice(slices: Slice[], z: number): number | null {
  let nearest: number | null = null;
  let least = Infinity;
  slices.forEach(({ position_mm }, index) => {
    const away = position_mm ? Math.abs(position_mm[2] - z) : Infinity;
    if (away < least) [nearest, least] = [index, away];
  });
  return nearest;
}

// The height in the middle of a stack; null where its slices have no place.
function middleMm(slices: Slice[]): number | null {
  const first = slices[0]?.position_mm;
  const last = slices.at(-1)?.position_mm;
  return first && last ? (first[2] + last[2]) / 2 : null;
}

// Height in one stack that corresponds to height 0 in another, where only their middles are known to correspond.
export function linkOffsetMm(stack: Slice[], other: Slice[]): number {
  const [middle, otherMiddle] = [middleMm(stack), middleMm(other)];
  return middle === null || otherMiddle === null ? 0 : otherMiddle - middle;
}

// The point of the patient where the middle of a pixel is drawn; cornerOffset is how many pixels further it is drawn.
export function pointOfPixel(plane: Plane, { row, column }: Pixel, cornerOffset = 0): Triple {
  const along = (axis: 0 | 1 | 2) =>
    plane.imagePositionPatient[axis] +
    plane.rowCosines[axis] * (column + cornerOffset) * plane.columnPixelSpacing +
    plane.columnCosines[axis] * (row + cornerOffset) * plane.rowPixelSpacing;
  return [along(0), along(1), along(2)];
}

// The pixel at a point of the patient, projected onto the plane; the inverse of pointOfPixel.
export function pixelOfPoint(plane: Plane, point: Readonly<Triple>, cornerOffset = 0): Pixel {
  const along = (cosines: Triple) =>
    INDICES.reduce<number>((sum, axis) => sum + (point[axis] - plane.imagePositionPatient[axis]) * cosines[axis], 0);
  return {
    row: along(plane.columnCosines) / plane.rowPixelSpacing - cornerOffset,
    column: along(plane.rowCosines) / plane.columnPixelSpacing - cornerOffset,
  };
}

// The plane of a slice; null where it has no position, orientation or spacing.
export function planeOfSlice(slice: Slice): Plane | null {
  const { position_mm, orientation, row_spacing_mm, column_spacing_mm } = slice;
  if (!position_mm || !orientation || !row_spacing_mm || !column_spacing_mm) return null;
  return {
    imagePositionPatient: position_mm,
    rowCosines: [orientation[0], orientation[1], orientation[2]],
    columnCosines: [orientation[3], orientation[4], orientation[5]],
    rowPixelSpacing: row_spacing_mm,
    columnPixelSpacing: column_spacing_mm,
  };
}

// The distance of a point of the patient from a plane, in millimetres.
export function distanceFromPlaneMm(plane: Plane, point: Readonly<Triple>): number {
  const [a, b] = [plane.rowCosines, plane.columnCosines];
  const normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const from = plane.imagePositionPatient;
  return Math.abs(INDICES.reduce<number>((sum, axis) => sum + (point[axis] - from[axis]) * (normal[axis] ?? 0), 0));
}

// True if a point lies on a pixel of an image; pixels reach half a pixel beyond their middles.
export function isOnImage({ row, column }: Pixel, { rows, columns }: { rows: number; columns: number }): boolean {
  return row >= -0.5 && column >= -0.5 && row <= rows - 0.5 && column <= columns - 0.5;
}

// True if a circle lies inside a pane; of one larger than the pane, as much as fits about its middle.
export function isInView([x, y]: readonly [number, number], radius: number, { width, height }: Size): boolean {
  const margin = Math.min(radius, width / 2, height / 2);
  return x >= margin && y >= margin && x <= width - margin && y <= height - margin;
}

// The longest length that a scale bar can show in its room.
export function scaleLengthMm(pxPerMm: number): number {
  return SCALES_MM.find((length) => length * pxPerMm <= LONGEST_SCALE_PX) ?? 5;
}
