// Ticks beside the slider of slices: where in the series the findings lie.
import { find, svg } from "../shared/dom";

const HEIGHT = 4;

// Left edge and width of each tick, in slices.
export function tickSpans(indices: number[], count: number): { x: number; width: number }[] {
  const width = Math.max(count / 300, 0.3);
  return indices.filter((index) => index >= 0).map((index) => ({ x: index + 0.5 - width / 2, width }));
}

export function drawTicks(indices: number[], sliceCount: number): void {
  const ticks = find<SVGElement>("ticks");
  const count = Math.max(sliceCount, 1);
  ticks.setAttribute("viewBox", `0 0 ${count} ${HEIGHT}`);
  ticks.replaceChildren(
    ...tickSpans(indices, count).map(({ x, width }) => svg("rect", { x, y: 0, width, height: HEIGHT })),
  );
}
