// The crosshair of a plane: the lines in which the two other planes cut it.
import type { Position } from "./clicks";
import type { Size } from "./geometry";

const MIN_GAP_PX = 10; // the point itself stays free of lines

export interface Line {
  d: string;
  class: string;
  [attribute: string]: string;
}

// Each line twice, a dark one below, so that it is readable on white; no line where the point lies outside.
export function crosshairLines(
  [x, y]: Position,
  gapPx: number,
  { width, height }: Size,
  names: { vertical: string; horizontal: string },
): Line[] {
  const gap = Math.max(MIN_GAP_PX, gapPx);
  const vertical = `M${x} 0V${Math.max(0, y - gap)}M${x} ${Math.min(height, y + gap)}V${height}`;
  const horizontal = `M0 ${y}H${Math.max(0, x - gap)}M${Math.min(width, x + gap)} ${y}H${width}`;
  const lines = [
    ...(x >= 0 && x <= width ? [{ d: vertical, name: names.vertical }] : []),
    ...(y >= 0 && y <= height ? [{ d: horizontal, name: names.horizontal }] : []),
  ];
  return ["line-halo", "line"].flatMap((kind) => lines.map(({ d, name }) => ({ d, class: `${kind} ${name}` })));
}
