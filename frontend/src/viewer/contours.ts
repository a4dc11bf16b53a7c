// Contours of measured findings: the outline of the mask on a slice, and the long and the short axis as a cross.

import type { Mask } from "../shared/api";
import type { Finding, Slice } from "./types";

type Point = [row: number, column: number];
export type Segment = [Point, Point];

export interface Contour {
  finding: string;
  classes: string;
  outline: Segment[]; // edges of pixels between inside and outside
  axes: Segment[];
}

// Voxels of one slice of a mask, row by row; null where the runs do not fill the box.
function voxelsOf({ runs, slices, rows, columns }: Mask, index: number): boolean[] | null {
  const size = rows * columns;
  if (runs.reduce((sum, length) => sum + length, 0) !== slices.length * size) return null;
  const voxels: boolean[] = [];
  let start = 0;
  for (const [number, length] of runs.entries()) {
    const from = Math.max(start, index * size);
    const to = Math.min(start + length, (index + 1) * size);
    for (let at = from; at < to; at += 1) voxels.push(number % 2 === 1);
    start += length;
  }
  return voxels;
}

// Edges of pixels that part the inside of a mask from its outside, in pixels; the centre of the first is 0, 0.
export function outlineOf(mask: Mask, index: number): Segment[] {
  const voxels = voxelsOf(mask, index);
  if (!voxels) return [];
  const { rows, columns } = mask;
  const isInside = (row: number, column: number) =>
    row >= 0 && column >= 0 && row < rows && column < columns && voxels[row * columns + column] === true;
  const edges: Segment[] = [];
  for (let row = 0; row <= rows; row += 1)
    for (let column = 0; column <= columns; column += 1) {
      const [y, x] = [mask.row + row - 0.5, mask.column + column - 0.5];
      const here = isInside(row, column);
      if (here !== isInside(row - 1, column))
        edges.push([
          [y, x],
          [y, x + 1],
        ]);
      if (here !== isInside(row, column - 1))
        edges.push([
          [y, x],
          [y + 1, x],
        ]);
    }
  return edges;
}

// Contours of findings on a slice; axes that a reader measured replace those of the mask.
export function contoursOn(
  slice: Pick<Slice, "sop_instance_uid" | "frame_number">,
  masks: Mask[],
  findings: Finding[],
  selected: string | null,
): Contour[] {
  return findings.flatMap((finding) => {
    const mask = masks.find(({ finding_id }) => finding_id === finding.id) ?? null;
    const index = mask ? mask.slices.findIndex((one) => isSameFrame(one, slice)) : -1;
    const outline = mask && index >= 0 ? outlineOf(mask, index) : [];
    const axes = axesOn(slice, finding, mask, index);
    const classes = [finding.origin, finding.verdict, finding.id === selected && "selected"].filter(Boolean).join(" ");
    return index >= 0 || axes.length > 0 ? [{ finding: finding.id, classes, outline, axes }] : [];
  });
}

// Axes of a finding on a slice, whose index in the mask is known.
function axesOn(slice: Frame, { assessment }: Finding, mask: Mask | null, index: number): Segment[] {
  const size = assessment?.size;
  if (size) return isSameFrame(size, slice) ? [size.long_axis, size.short_axis] : [];
  return mask?.axes && mask.axes.slice_index === index ? [mask.axes.long, mask.axes.short] : [];
}

type Frame = Pick<Slice, "sop_instance_uid" | "frame_number">;
const isSameFrame = (one: Frame, other: Frame) =>
  one.sop_instance_uid === other.sop_instance_uid && one.frame_number === other.frame_number;

// Path data of segments on the screen.
export function pathOf(segments: Segment[], toCanvas: (row: number, column: number) => ArrayLike<number>): string {
  const at = ([row, column]: Point) => {
    const { 0: x = 0, 1: y = 0 } = toCanvas(row, column);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  };
  return segments.map(([from, to]) => `M${at(from)}L${at(to)}`).join("");
}
