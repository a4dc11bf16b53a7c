// Values as the viewer shows them.
import { element, svg } from "../shared/dom";
import { _, day, number, recorded } from "../shared/i18n";

export function millimetres(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? "–" : `${number(value, digits)} mm`;
}

// Long and short axis, as in 15.2 × 12.1 mm.
export function axesText({ long_mm, short_mm }: { long_mm: number; short_mm: number }): string {
  return `${number(long_mm, 1)} × ${millimetres(short_mm)}`;
}

export function dicomDate(text: string): string {
  return /^\d{8}$/.test(text) ? day(text) : text || _("no date");
}

// The displayed probability, with its interval as a bar if there is one.
export function probabilityBar(displayed: string, interval: [number, number] | null): HTMLElement {
  const value = element("span", { class: "value" }, recorded(displayed));
  if (!interval) return element("span", { class: "prob muted" }, value);
  const [low, high] = interval;
  const bar = svg(
    "svg",
    { class: "prob-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 3.5, width: 100, height: 3, rx: 1 }),
    svg("rect", { class: "interval", x: low * 100, y: 2, width: (high - low) * 100, height: 6, rx: 1 }),
  );
  return element("span", { class: "prob num" }, value, bar);
}
