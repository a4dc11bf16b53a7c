// Coronal and sagittal planes of a stack of axial slices, and maximum intensity projections (MIP) of slabs.
import type { Plane } from "./geometry";
import type { Slice, Triple } from "./types";

const MIN_AXIAL_COSINE = 0.9; // cosine between the slices' normal and the patient's axis
const SAME_COSINE = 1e-3;
const MAX_SHEAR_MM = 1; // in-plane offset of the slices over the stack, as a tilted gantry makes it
const MAX_GAP = 1.6; // median spacings; a wider gap between slices stays black
const INDICES = [0, 1, 2] as const;

export type Pixels = ArrayLike<number>;
export type PlaneName = "coronal" | "sagittal";
export const SLABS_MM = [0, 5, 8, 10]; // thickness of a slab; 0 for the plane alone

// Parallel slices from head to feet on one grid.
export interface Stack {
  rows: number;
  columns: number;
  rowMm: number; // between rows
  columnMm: number; // between columns
  depthsMm: number[]; // of the slices, from the first; ascending
  slices: (Pixels | null)[]; // HU; null while a slice is on its way
}

// A resliced plane: square pixels, NaN where nothing is known.
export interface Resliced {
  width: number;
  height: number;
  pixelMm: number;
  values: Float32Array;
}

// Depths of slices along their normal from the first; null where they are no stack that can be resliced.
export function depthsOf(slices: Slice[], planes: Plane[]): number[] | null {
  const [first, slice] = [planes[0], slices[0]];
  if (!first || !slice || slices.length < 2 || planes.length !== slices.length) return null;
  const normal = crossed(first.rowCosines, first.columnCosines);
  if (Math.abs(normal[2]) < MIN_AXIAL_COSINE) return null;
  const depths: number[] = [];
  for (const [index, plane] of planes.entries()) {
    const { rows, columns, position_mm } = slices[index] as Slice;
    if (!position_mm || rows !== slice.rows || columns !== slice.columns || !isSameGrid(plane, first)) return null;
    const away = INDICES.map((axis) => plane.imagePositionPatient[axis] - first.imagePositionPatient[axis]) as Triple;
    const depth = dot(away, normal);
    if (Math.hypot(...INDICES.map((axis) => away[axis] - depth * normal[axis])) > MAX_SHEAR_MM) return null;
    depths.push(Math.abs(depth));
  }
  return depths.every((depth, index) => index === 0 || depth > (depths[index - 1] as number)) ? depths : null;
}

function isSameGrid(a: Plane, b: Plane): boolean {
  const pairs = [
    ...INDICES.flatMap((axis) => [
      [a.rowCosines[axis], b.rowCosines[axis]],
      [a.columnCosines[axis], b.columnCosines[axis]],
    ]),
    [a.rowPixelSpacing, b.rowPixelSpacing],
    [a.columnPixelSpacing, b.columnPixelSpacing],
  ] as [number, number][];
  return pairs.every(([one, other]) => Math.abs(one - other) < SAME_COSINE);
}

const dot = (a: Triple, b: Triple) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const crossed = (a: Triple, b: Triple): Triple => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

export function medianSpacing(depthsMm: number[]): number {
  const spacings = depthsMm.slice(1).map((depth, index) => depth - (depthsMm[index] as number));
  return spacings.sort((a, b) => a - b)[Math.floor(spacings.length / 2)] ?? 0;
}

// Indices, first and last, of the slices that a slab about one of them touches.
export function slabRange(depthsMm: number[], index: number, slabMm: number): [number, number] {
  const at = depthsMm[index] ?? 0;
  const reach = (slabMm + medianSpacing(depthsMm)) / 2 - 1e-6;
  let [first, last] = [index, index];
  if (slabMm <= 0) return [first, last];
  while (first > 0 && at - (depthsMm[first - 1] as number) < reach) first -= 1;
  while (last + 1 < depthsMm.length && (depthsMm[last + 1] as number) - at < reach) last += 1;
  return [first, last];
}

// The greatest values of several slices, pixel by pixel.
export function maximumOf(slices: Pixels[], into: Float32Array | Int16Array): void {
  const [first, ...others] = slices;
  if (!first) return;
  for (let at = 0; at < into.length; at += 1) into[at] = first[at] as number;
  for (const slice of others)
    for (let at = 0; at < into.length; at += 1)
      if ((slice[at] as number) > (into[at] as number)) into[at] = slice[at] as number;
}

// Lines of the grid, first and last, that a slab about one of them touches.
export function linesOf(at: number, count: number, spacingMm: number, slabMm: number): [number, number] {
  const middle = Math.min(count - 1, Math.max(0, Math.round(at)));
  const reach = slabMm > 0 ? Math.max(0, Math.round((slabMm / spacingMm - 1) / 2)) : 0;
  return [Math.max(0, middle - reach), Math.min(count - 1, middle + reach)];
}

// A coronal plane at a row, or a sagittal one at a column; with a thickness, the MIP of that slab.
export function reslice(stack: Stack, name: PlaneName, at: number, slabMm: number): Resliced {
  const isCoronal = name === "coronal";
  const width = isCoronal ? stack.columns : stack.rows;
  const pixelMm = isCoronal ? stack.columnMm : stack.rowMm;
  const [first, last] = isCoronal
    ? linesOf(at, stack.rows, stack.rowMm, slabMm)
    : linesOf(at, stack.columns, stack.columnMm, slabMm);
  const lines = stack.slices.map((slice) => slice && lineOf(slice, stack.columns, { isCoronal, width, first, last }));
  return { pixelMm, ...interpolated(lines, stack.depthsMm, width, pixelMm) };
}

interface Lines {
  isCoronal: boolean;
  width: number;
  first: number;
  last: number;
}

function lineOf(slice: Pixels, columns: number, { isCoronal, width, first, last }: Lines): Float32Array {
  const line = new Float32Array(width).fill(-Infinity);
  for (let number = first; number <= last; number += 1) {
    const [start, step] = isCoronal ? [number * columns, 1] : [number, columns];
    for (let x = 0; x < width; x += 1) line[x] = Math.max(line[x] as number, slice[start + x * step] as number);
  }
  return line;
}

function interpolated(
  lines: (Float32Array | null)[],
  depthsMm: number[],
  width: number,
  pixelMm: number,
): Pick<Resliced, "width" | "height" | "values"> {
  const height = Math.max(1, Math.round((depthsMm.at(-1) ?? 0) / pixelMm) + 1);
  const values = new Float32Array(width * height).fill(NaN);
  const widest = MAX_GAP * medianSpacing(depthsMm);
  let below = 0;
  for (let y = 0; y < height; y += 1) {
    const depth = y * pixelMm;
    while (below < depthsMm.length - 2 && (depthsMm[below + 1] as number) <= depth) below += 1;
    const [from, to] = [depthsMm[below] ?? 0, depthsMm[below + 1] ?? 0];
    const [line, next] = [lines[below], lines[below + 1]];
    if (!line || !next || to - from > widest) continue;
    const weight = Math.min(1, (depth - from) / (to - from));
    for (let x = 0; x < width; x += 1)
      values[y * width + x] = (line[x] as number) * (1 - weight) + (next[x] as number) * weight;
  }
  return { width, height, values };
}

// Grey values, RGBA, of values in HU between two bounds; what is not known is black.
export function greyValues(values: Float32Array, lower: number, upper: number, isInverted: boolean): Uint8ClampedArray {
  const grey = new Uint8ClampedArray(values.length * 4);
  const scale = 255 / Math.max(1, upper - lower);
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at] as number;
    const level = Math.min(255, Math.max(0, (value - lower) * scale));
    const shown = Number.isNaN(value) ? 0 : isInverted ? 255 - level : level;
    grey[4 * at] = grey[4 * at + 1] = grey[4 * at + 2] = shown;
    grey[4 * at + 3] = 255;
  }
  return grey;
}
