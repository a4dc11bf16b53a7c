// Histogram of scores of labelled held-out nodules, benign and malignant, with the bin of one score marked.

import { element, svg } from "../shared/dom";
import { _ } from "../shared/i18n";
import type { Histogram } from "./types";

const WIDE = 200;
const HALF = 34; // malignant above the line, benign below

export function isHistogram(value: unknown): value is Histogram {
  const { edges, benign, malignant } = (value ?? {}) as Partial<Histogram>;
  const counts = [benign, malignant];
  return (
    Array.isArray(edges) &&
    edges.length > 1 &&
    counts.every((part) => Array.isArray(part) && part.length === edges.length - 1)
  );
}

function bars(counts: number[], edges: number[], most: number, kind: "benign" | "malignant"): SVGElement[] {
  return counts.map((count, index) => {
    const [from, to] = [edges[index] as number, edges[index + 1] as number];
    const height = (count / most) * HALF;
    return svg("rect", {
      class: kind,
      x: from * WIDE + 0.5,
      y: kind === "malignant" ? HALF - height : HALF + 2,
      width: Math.max((to - from) * WIDE - 1, 0.5),
      height,
    });
  });
}

function binOf(value: number, edges: number[]): number {
  const index = edges.findIndex(
    (edge, at) =>
      at + 1 < edges.length && value >= edge && (value < (edges[at + 1] as number) || at + 2 === edges.length),
  );
  return Math.max(0, index);
}

// A range of scores; the outermost ones are open.
function scores(from: number, to: number): string {
  const [low, high] = [Math.round(from * 100), Math.round(to * 100)];
  if (low <= 0) return _("below {high} %", { high });
  return high >= 100 ? _("{low} % or more", { low }) : _("{low} to {high} %", { low, high });
}

export function histogramFigure({ edges, benign, malignant }: Histogram, value: number): HTMLElement {
  const most = Math.max(1, ...benign, ...malignant);
  const at = Math.min(Math.max(value, edges[0] as number), edges.at(-1) as number) * WIDE;
  const bin = binOf(value, edges);
  const [rated, others] = [malignant[bin] as number, benign[bin] as number];
  const around = _("Of {n} test nodules scored {range}: {malignant} rated malignant, {benign} rated benign.", {
    n: rated + others,
    range: scores(edges[bin] as number, edges[bin + 1] as number),
    malignant: rated,
    benign: others,
  });
  const picture = svg(
    "svg",
    {
      class: "histogram",
      viewBox: `0 0 ${WIDE} ${2 * HALF + 2}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": around,
      "data-histogram": true,
    },
    ...bars(malignant, edges, most, "malignant"),
    ...bars(benign, edges, most, "benign"),
    svg("line", { class: "axis", x1: 0, x2: WIDE, y1: HALF + 1, y2: HALF + 1 }),
    svg("line", { class: "here", x1: at, x2: at, y1: 0, y2: 2 * HALF + 2, "data-here": true }),
  );
  return element(
    "figure",
    { class: "known" },
    picture,
    element(
      "figcaption",
      { class: "small muted" },
      element("span", { class: "key malignant" }, _("malignant")),
      element("span", { class: "key benign" }, _("benign")),
      around,
    ),
  );
}
