// Marks of findings on a slice: which ones, how large, and where on the screen.
import {
  distanceFromPlaneMm,
  distanceMm,
  isOnImage,
  markRadiusMm,
  type Pixel,
  type Plane,
  pixelOfPoint,
  planeOfSlice,
} from "./geometry";
import type { Finding, Slice } from "./types";

const REACH = 1.6; // of a click, in squared radii
const ROUNDING_MM = 0.05; // of positions

export interface Mark extends Pixel {
  finding: Finding;
  radiusMm: number;
  label: string; // its number in the list; empty beside its own slice
  classes: string;
}

export interface Ellipse {
  cx: number;
  cy: number;
  rx: number;
  ry: number;
}

export interface Stack {
  uid: string;
  frameOfReference: string;
  slices: Slice[];
}

// A finding's slice in a series, and its pixel there.
export interface SlicePoint extends Pixel {
  index: number;
  isOwn: boolean; // of the analysed series
}

type ToCanvas = (row: number, column: number) => ArrayLike<number>;

// The index of a finding's own slice in a series; -1 where it has none there.
export function sliceIndex(
  series: Pick<Stack, "uid" | "slices"> | null,
  finding: Pick<Finding, "series_instance_uid" | "sop_instance_uid" | "frame_number">,
): number {
  if (!series || finding.series_instance_uid !== series.uid) return -1;
  return series.slices.findIndex(
    ({ sop_instance_uid, frame_number }) =>
      sop_instance_uid === finding.sop_instance_uid && frame_number === finding.frame_number,
  );
}

// The number of a slice's image: its frame in a multi-frame object, else its Instance Number; null where it has none.
export function imageNumber(slices: Slice[], { frame_number, instance_number }: Slice): number | null {
  return slices.some((slice) => slice.frame_number > 1) ? frame_number : instance_number;
}

// A finding's point in its own series, or on the nearest slice of another one in its frame of reference that covers it.
export function slicePointOf(series: Stack | null, finding: Finding): SlicePoint | null {
  if (!series) return null;
  const own = sliceIndex(series, finding);
  if (own >= 0) return { index: own, row: finding.row, column: finding.column, isOwn: true };
  if (series.uid === finding.series_instance_uid || !sharesFrame(series, finding)) return null;
  const distances = series.slices.map((slice) => distanceOf(slice, finding));
  const index = distances.indexOf(Math.min(...distances));
  const [slice, plane] = [series.slices[index], series.slices[index] && planeOfSlice(series.slices[index])];
  if (!slice || !plane || (distances[index] as number) > reachMm(series.slices, index)) return null;
  const pixel = pixelOfPoint(plane, finding.position_mm);
  return isOnImage(pixel, slice) ? { index, ...pixel, isOwn: false } : null;
}

function sharesFrame(series: Stack, { frame_of_reference_uid }: Finding): boolean {
  return series.frameOfReference !== "" && series.frameOfReference === frame_of_reference_uid;
}

function distanceOf(slice: Slice, { position_mm }: Finding): number {
  const plane = planeOfSlice(slice);
  return plane ? distanceFromPlaneMm(plane, position_mm) : Infinity;
}

// Half the distance to the farther neighbour of a slice: how far from its middle a slice covers the patient.
function reachMm(slices: Slice[], index: number): number {
  const at = slices[index]?.position_mm ?? null;
  const gaps = [slices[index - 1], slices[index + 1]].map((slice) => distanceMm(at, slice?.position_mm ?? null) ?? 0);
  return Math.max(...gaps) / 2 + ROUNDING_MM;
}

// The marks on the slice at an index: circles of findings that reach it, numbered on their own slice.
export function marksOnSlice(series: Stack, index: number, findings: Finding[], selected: string | null): Mark[] {
  const slice = series.slices[index];
  return findings.flatMap((finding, number) => {
    const point = slicePointOf(series, finding);
    if (!slice || !point) return [];
    const isNearest = point.index === index;
    const centre = series.slices[point.index]?.position_mm ?? null;
    const radiusMm = markRadiusMm(finding, isNearest ? 0 : distanceMm(slice.position_mm, centre));
    if (radiusMm === null) return [];
    const classes = [finding.origin, finding.verdict, !isNearest && "near", finding.id === selected && "selected"];
    const label = isNearest ? String(number + 1) : "";
    return [
      { finding, row: point.row, column: point.column, radiusMm, classes: classes.filter(Boolean).join(" "), label },
    ];
  });
}

// A circle in the patient as the screen shows it.
export function ellipseOf(toCanvas: ToCanvas, plane: Plane, { row, column }: Pixel, radiusMm: number): Ellipse {
  const { 0: cx = 0, 1: cy = 0 } = toCanvas(row, column);
  const { 0: right = 0 } = toCanvas(row, column + radiusMm / plane.columnPixelSpacing);
  const { 1: below = 0 } = toCanvas(row + radiusMm / plane.rowPixelSpacing, column);
  return { cx, cy, rx: Math.abs(right - cx), ry: Math.abs(below - cy) };
}

// True if a click hits a mark: a little outside counts.
export function isHit({ cx, cy, rx, ry }: Ellipse, x: number, y: number): boolean {
  return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= REACH;
}
