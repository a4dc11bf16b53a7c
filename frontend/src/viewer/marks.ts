// Marks of findings on a slice: which ones, how large, and where on the screen.
import { distanceMm, markRadiusMm, type Pixel, type Plane } from "./geometry";
import type { Finding, Slice } from "./types";

const REACH = 1.6; // of a click, in squared radii

export interface Mark {
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

type ToCanvas = (row: number, column: number) => ArrayLike<number>;

// The index of a finding's own slice in a series; -1 where it has none there.
export function sliceIndex(
  series: { uid: string; slices: Slice[] } | null,
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

// The marks on the slice at an index: circles of findings that reach it, numbered on their own slice.
export function marksOnSlice(
  series: { uid: string; slices: Slice[] },
  index: number,
  findings: Finding[],
  selected: string | null,
): Mark[] {
  const position = series.slices[index]?.position_mm ?? null;
  return findings.flatMap((finding, number) => {
    const own = sliceIndex(series, finding);
    if (own < 0) return [];
    const isOwn = own === index;
    const distance = isOwn ? 0 : distanceMm(position, series.slices[own]?.position_mm ?? null);
    const radiusMm = markRadiusMm(finding, distance);
    if (radiusMm === null) return [];
    const classes = [finding.origin, finding.verdict, !isOwn && "near", finding.id === selected && "selected"];
    return [{ finding, radiusMm, classes: classes.filter(Boolean).join(" "), label: isOwn ? String(number + 1) : "" }];
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
