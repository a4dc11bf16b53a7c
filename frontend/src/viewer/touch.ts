// Arithmetic of fingers on a pane.
import type { Position } from "./clicks";

const MAX_PX_PER_SLICE = 12; // of a finger's way for a slice, in a short series
const SERIES_IN_PANES = 2; // heights of a pane that scroll a long series

export interface TouchPoint {
  id: number;
  at: Position; // pixels of the page, from the corner of the view
}

export interface Movement {
  scale: number; // of the distance between two fingers
  shift: Position; // of the middle between them
  about: Position; // that middle, now
}

function middleOf(points: TouchPoint[]): Position {
  const sum = points.reduce<Position>(([x, y], { at }) => [x + at[0], y + at[1]], [0, 0]);
  return [sum[0] / points.length, sum[1] / points.length];
}

function spreadOf([one, other]: TouchPoint[]): number {
  return one && other ? Math.hypot(one.at[0] - other.at[0], one.at[1] - other.at[1]) : 0;
}

// The movement from one state of the fingers to the next; none where a finger came or went.
export function touchMovement(before: TouchPoint[], after: TouchPoint[]): Movement {
  const about = after.length ? middleOf(after) : ([0, 0] as Position);
  const earlier = after.map(({ id }) => before.find((point) => point.id === id));
  const matched = earlier.filter((point) => point !== undefined);
  if (!after.length || matched.length !== after.length || before.length !== after.length)
    return { scale: 1, shift: [0, 0], about };
  const from = middleOf(matched);
  const [was, is] = [spreadOf(matched), spreadOf(after)];
  return { scale: was > 0 && is > 0 ? is / was : 1, shift: [about[0] - from[0], about[1] - from[1]], about };
}

// Pixels of a finger's way for one slice: a long series is scrolled in two heights of the pane.
export function pixelsPerSlice(heightPx: number, sliceCount: number): number {
  return Math.max(1, Math.min(MAX_PX_PER_SLICE, (heightPx * SERIES_IN_PANES) / Math.max(1, sliceCount)));
}

// Slices for the way of a finger: downwards is towards the feet, parts of a slice add up.
export class Scroller {
  private restPx = 0;

  start(): void {
    this.restPx = 0;
  }

  slicesOf(px: number, heightPx: number, sliceCount: number): number {
    const step = pixelsPerSlice(heightPx, sliceCount);
    this.restPx += px;
    const slices = Math.trunc(this.restPx / step);
    this.restPx -= slices * step;
    return slices || 0;
  }
}
