// Multiplanar reconstruction: coronal and sagittal planes beside the slices, linked by a crosshair.
import { cache } from "@cornerstonejs/core";
import { find } from "../shared/dom";
import { _ } from "../shared/i18n";
import type { Series } from "./engine";
import type { Pixel } from "./geometry";
import type { Crosshair } from "./overlay";
import type { Pane } from "./pane";
import { PlaneView } from "./plane_view";
import { across, pointAt, type VoxelPoint } from "./planes_geometry";
import type { PlaneName, Stack } from "./reslice";
import { hounsfield } from "./slab";
import type { Triple } from "./types";
import type { Window } from "./window_level";

const NAMES: PlaneName[] = ["coronal", "sagittal"];
const UNMEASURED_GAP_MM = 8; // from the crosshair's middle to its lines, without a finding
const CLOSE_UP = 2; // zoom of the planes through a finding

export interface Target extends Pixel {
  slice?: number; // the one that is shown
  gapMm?: number; // radius that stays free of lines
}

export interface PlanesDisplay {
  slabMm: number;
  window: Window;
  isInverted: boolean;
}

export class Planes {
  point: VoxelPoint | null = null;
  private views: PlaneView[] = [];
  private series: Series | null = null;
  private stack: Stack | null = null;
  private gapMm = UNMEASURED_GAP_MM;
  private version = 0; // of the stack's pixels
  private frame = 0;

  constructor(
    private readonly pane: Pane,
    private readonly display: () => PlanesDisplay,
    private readonly changed: () => void,
  ) {}

  get isOpen(): boolean {
    return this.views.length > 0;
  }

  get crosshair(): Crosshair | null {
    return this.isOpen && this.point ? { row: this.point.row, column: this.point.column, gapMm: this.gapMm } : null;
  }

  // Open the planes through a finding, or through the middle of the slice.
  open(finding: Target | null): void {
    if (this.isOpen || !this.pane.slice || !this.use(this.pane.series)) return;
    const template = find<HTMLTemplateElement>("plane-template");
    const panes = find("panes");
    this.views = NAMES.map((name) => {
      const root = (template.content.cloneNode(true) as DocumentFragment).firstElementChild as HTMLElement;
      root.dataset.plane = name;
      panes.append(root);
      return new PlaneView(root, name, {
        pointed: (plane, pixel, pixelMm) => this.move(plane, pixel, pixelMm),
        scrolled: (plane, by) => this.scroll(plane, by),
      });
    });
    panes.classList.add("planes");
    this.pane.fit(); // at once, before the next picture of the page
    this.label();
    this.goTo(finding ?? this.middle);
    if (finding) for (const view of this.views) view.centre(CLOSE_UP);
  }

  close(): void {
    if (!this.isOpen) return;
    for (const view of this.views) view.close();
    this.views = [];
    find("panes").classList.remove("planes");
    this.pane.fit();
    this.changed();
  }

  // Move the crosshair, within the slice that is shown unless another one is named.
  goTo({ row, column, slice, gapMm }: Target): void {
    if (!this.isOpen) return;
    this.gapMm = gapMm ?? UNMEASURED_GAP_MM;
    this.point = { row, column, slice: slice ?? this.pane.index };
    this.draw();
    this.changed();
  }

  // Put the crosshair into the middle of each plane.
  centre(): void {
    for (const view of this.views) view.centre();
  }

  private get middle(): Target {
    const { rows = 1, columns = 1 } = this.pane.slice ?? {};
    return { row: (rows - 1) / 2, column: (columns - 1) / 2 };
  }

  // The pane shows another slice, or another series.
  follow(): void {
    if (!this.isOpen || !this.point) return;
    if (this.pane.series !== this.series) {
      if (!this.use(this.pane.series)) {
        this.close();
        return;
      }
      this.label();
      this.goTo(this.middle);
      for (const view of this.views) view.reset();
    }
    this.point = { ...this.point, slice: this.pane.index };
    this.drawSoon();
  }

  // Draw with the next picture of the page: slices, windows and pointers change more often.
  drawSoon(): void {
    if (!this.isOpen) return;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  reset(): void {
    for (const view of this.views) view.reset();
  }

  private draw(): void {
    const { stack, point, gapMm } = this;
    if (!stack || !point || !this.isOpen) return;
    this.fill(stack);
    for (const view of this.views) view.show({ stack, point, gapMm, ...this.display() }, this.version);
    if (stack.slices.every((slice) => slice !== null)) performance.mark("viewer:planes");
  }

  // Take over the series' geometry; false where its slices make no planes.
  private use(series: Series | null): boolean {
    this.series = series;
    this.stack = null;
    const [depthsMm, slice] = [this.pane.depthsMm, series?.slices[0]];
    if (!series || !slice || !depthsMm) {
      this.pane.say(_("Planes and slabs need parallel axial slices."));
      return false;
    }
    this.stack = {
      rows: slice.rows,
      columns: slice.columns,
      rowMm: slice.row_spacing_mm ?? 1,
      columnMm: slice.column_spacing_mm ?? 1,
      depthsMm,
      slices: series.imageIds.map(() => null),
    };
    return true;
  }

  private fill(stack: Stack): void {
    this.series?.imageIds.forEach((imageId, index) => {
      const image = stack.slices[index] ? undefined : cache.getImage(imageId);
      if (!image) return;
      stack.slices[index] = hounsfield(image);
      this.version += 1;
    });
  }

  private label(): void {
    const { plane, series } = { plane: this.pane.plane, series: this.series };
    const [first, last] = [series?.slices[0]?.position_mm, series?.slices.at(-1)?.position_mm];
    if (!first || !last) return;
    const length = Math.hypot(last[0] - first[0], last[1] - first[1], last[2] - first[2]);
    const towardsFeet = [0, 1, 2].map((axis) => ((last[axis] ?? 0) - (first[axis] ?? 0)) / length) as Triple;
    for (const view of this.views) view.label(plane, towardsFeet);
  }

  private move(name: PlaneName, pixel: [number, number], pixelMm: number): void {
    if (this.stack && this.point) this.take(pointAt(name, this.stack, pixelMm, pixel, this.point));
  }

  private scroll(name: PlaneName, by: number): void {
    if (this.stack && this.point) this.take(across(name, this.stack, by, this.point));
  }

  private take(point: VoxelPoint): void {
    const { slice } = point;
    this.point = point;
    if (slice !== this.pane.index) this.pane.go(slice);
    this.drawSoon();
    this.changed();
  }
}
