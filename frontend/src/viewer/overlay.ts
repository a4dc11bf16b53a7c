// Overlay of the image: circles of findings, the point that is being analysed, the attention, a scale.

import { find, svg } from "../shared/dom";
import { _ } from "../shared/i18n";
import { type Contour, pathOf } from "./contours";
import { crosshairLines } from "./crosshair";
import { type Pixel, scaleLengthMm } from "./geometry";
import { type Ellipse, ellipseOf, isHit, type Mark } from "./marks";
import type { Pane } from "./pane";

export type MapName = "attention" | "gradient";

export interface Explanation {
  map: MapName;
  opacity: number;
}

export interface Attention {
  url: string;
  opacity: number;
}

export interface Overlaid {
  marks: Mark[];
  pending: { row: number; column: number } | null;
  attention: Attention | null;
  contours?: Contour[];
  crosshair: Crosshair | null;
}

export interface Crosshair extends Pixel {
  gapMm: number; // about its middle
}

export class Overlay {
  private readonly root: SVGSVGElement;
  private readonly scale: SVGSVGElement;
  private drawn = "";

  constructor(private readonly pane: Pane) {
    this.root = find<SVGSVGElement>("overlay", pane.root);
    this.scale = find<SVGSVGElement>("scale", pane.root);
  }

  draw({ marks, pending, attention, crosshair, contours = [] }: Overlaid): void {
    if (!this.pane.slice) {
      this.root.replaceChildren();
      this.drawn = "";
      return;
    }
    const parts = [
      ...(attention ? [this.attention(attention)] : []),
      ...(crosshair ? this.crosshair(crosshair) : []),
      ...contours.flatMap((contour) => this.contour(contour)),
      ...marks.flatMap((mark) => this.mark(mark)),
      ...(pending ? [this.circle(pending.row, pending.column, 6, "pending")] : []),
    ];
    const drawn = parts.map((part) => part.outerHTML).join("");
    if (drawn !== this.drawn) this.root.replaceChildren(...parts); // every rendering comes here; most move nothing
    this.drawn = drawn;
    this.drawScale();
  }

  contains(mark: Mark, x: number, y: number): boolean {
    return isHit(this.ellipse(mark.row, mark.column, mark.radiusMm), x, y);
  }

  private mark(mark: Mark): SVGElement[] {
    const { finding, row, column, radiusMm, classes, label } = mark;
    const halo = this.circle(row, column, radiusMm, `halo ${classes}`); // readable on white
    const circle = this.circle(row, column, radiusMm, `mark ${classes}`);
    circle.dataset.mark = finding.id;
    if (!label) return [halo, circle];
    const { cx, cy, rx, ry } = this.ellipse(row, column, radiusMm);
    return [halo, circle, svg("text", { x: cx + rx * 0.8, y: cy - ry * 0.8, class: classes }, label)];
  }

  private contour({ finding, classes, outline, axes }: Contour): SVGElement[] {
    const toCanvas = (row: number, column: number) => this.pane.toCanvas(row, column);
    const part = (name: string, segments: Contour["outline"]) =>
      svg("path", { d: pathOf(segments, toCanvas), class: `${name} ${classes}`, [`data-${name}`]: finding });
    const rim = svg("path", { d: pathOf(outline, toCanvas), class: "contour-rim" }); // readable on white
    return [rim, part("contour", outline), ...(axes.length > 0 ? [part("axes", axes)] : [])];
  }

  private crosshair({ row, column, gapMm }: Crosshair): SVGElement[] {
    const { cx, cy, rx } = this.ellipse(row, column, gapMm);
    const names = { vertical: "sagittal", horizontal: "coronal" };
    const view = this.pane.view.getBoundingClientRect();
    return crosshairLines([cx, cy], rx, view, names).map((line) => svg("path", line));
  }

  private circle(row: number, column: number, radiusMm: number, classes: string): SVGEllipseElement {
    return svg("ellipse", { ...this.ellipse(row, column, radiusMm), class: classes });
  }

  private ellipse(row: number, column: number, radiusMm: number): Ellipse {
    const { pane } = this;
    return ellipseOf((...pixel) => pane.toCanvas(...pixel), pane.plane, { row, column }, radiusMm);
  }

  private attention({ url, opacity }: Attention): SVGElement {
    const { rows, columns } = this.pane.slice as { rows: number; columns: number };
    const [x, y] = this.pane.toCanvas(-0.5, -0.5);
    const [right, bottom] = this.pane.toCanvas(rows - 0.5, columns - 0.5);
    return svg("image", {
      href: url,
      x,
      y,
      width: right - x,
      height: bottom - y,
      opacity,
      preserveAspectRatio: "none",
      "data-attention-image": true,
      onerror: () => this.pane.say(_("This map cannot be shown.")),
    });
  }

  private drawScale(): void {
    const { plane } = this.pane;
    const [, top] = this.pane.toCanvas(0, 0);
    const [, below] = this.pane.toCanvas(1 / plane.rowPixelSpacing, 0);
    const perMm = Math.abs(below - top);
    const mm = scaleLengthMm(perMm);
    this.scale.toggleAttribute("hidden", !this.pane.slice?.row_spacing_mm);
    const height = mm * perMm;
    const text = svg(
      "text",
      { x: 8, y: height + 14, "text-anchor": "middle" },
      mm >= 10 ? `${mm / 10} cm` : `${mm} mm`,
    );
    const d = `M15 .5H5M15 ${height - 0.5}H5M10 .5V${height - 0.5}`;
    this.scale.replaceChildren(svg("path", { d, class: "halo" }), svg("path", { d }), text);
  }
}
