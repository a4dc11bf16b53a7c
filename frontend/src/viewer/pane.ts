// One viewport: a stack of slices, who they belong to, the marks on them, and what mouse and wheel do there.

import { Enums, type StackViewport, type Types } from "@cornerstonejs/core";
import { find } from "../shared/dom";
import { _ } from "../shared/i18n";
import type { Position } from "./clicks";
import {
  bitmapSize,
  cornerOffset,
  joinTools,
  planeOf,
  type Series,
  setBitmapSize,
  sizeOnScreen,
  startEngine,
  type Tool,
} from "./engine";
import { isInView, isOnImage, type Pixel, type Plane, pixelOfPoint, pointOfPixel } from "./geometry";
import { Lens } from "./lens";
import type { Mark } from "./marks";
import { type Overlaid, Overlay } from "./overlay";
import { PaneCamera } from "./pane_camera";
import { PaneInput } from "./pane_input";
import { PaneWindow } from "./pane_window";
import { Prefetch } from "./prefetch";
import { Readouts } from "./readouts";
import { depthsOf, slabRange } from "./reslice";
import { dropSlabs, slabImageIds } from "./slab";
import type { SeriesItem, Slice, Study } from "./types";
import type { Window } from "./window_level";

export interface PaneCalls {
  shown(pane: Pane): void; // another slice is on the screen
  windowed(pane: Pane, window: Window): void;
  loaded(pane: Pane, loaded: number, all: number): void;
  picked(pane: Pane, findingId: string): void;
  marked(pane: Pane, row: number, column: number): void;
  pointed(pane: Pane, row: number, column: number): void; // a click on no mark
  entered(pane: Pane): void;
}

// A finding's position in a series, and the radius of its mark.
export interface Spot {
  index: number;
  row: number;
  column: number;
  radiusMm: number;
  isCentred?: boolean; // also where it would be in view
}

const NO_SLICE = -1;
const MARGIN_PX = 8; // between a finding that is in view and the edge
const { Events, ViewportType } = Enums;

export class Pane {
  readonly view: HTMLDivElement;
  readonly viewport: StackViewport;
  study: Study | null = null;
  series: Series | null = null;
  tool: Tool = "window";
  depthsMm: number[] | null = null; // of the slices; null where they are not parallel and axial
  private slabMm = 0;
  private shownIds: string[] = []; // of the slices, or of the slabs about them
  isFollowing = false; // it shows what it does because another pane does, which must not follow it in turn
  readonly camera: PaneCamera;
  readonly lens: Lens;
  private readonly overlay: Overlay;
  private readonly readouts: Readouts;
  private prefetch: Prefetch | null = null;
  private readonly window: PaneWindow;
  private readonly observer = new ResizeObserver(() => this.fit());
  private shownIndex = NO_SLICE;
  private spot: Spot | null = null; // to be in view once its slice is shown
  private openings = 0;
  private isOpening = false;
  private isOnScreen = false; // only then does Cornerstone know where pixels are
  private drawn: Overlaid = { marks: [], pending: null, attention: null, crosshair: null };

  constructor(
    readonly root: HTMLElement,
    readonly id: string,
    private readonly calls: PaneCalls,
  ) {
    this.view = find<HTMLDivElement>("view", root);
    this.readouts = new Readouts(root);
    const engine = startEngine();
    engine.enableElement({
      viewportId: id,
      element: this.view,
      type: ViewportType.STACK,
      defaultOptions: { background: [0, 0, 0] },
    });
    this.viewport = engine.getViewport(id) as StackViewport;
    this.camera = new PaneCamera(this.viewport);
    this.window = new PaneWindow(
      this.viewport,
      () => this.series !== null && !this.isOpening,
      (window) => this.readouts.showWindow(window),
    );
    this.overlay = new Overlay(this);
    this.lens = new Lens(this);
    joinTools(id);
    this.listen();
  }

  // The slice on the screen; the one that was asked for last may still be on its way.
  get index(): number {
    return this.shownIndex;
  }

  // True while nothing that was asked for is on its way.
  get isSettled(): boolean {
    return !this.isOpening && this.asked === this.shownIndex;
  }

  get plane(): Plane {
    return planeOf(this.series?.imageIds[this.shownIndex] as string);
  }

  get slice(): Slice | null {
    return this.series?.slices[this.shownIndex] ?? null;
  }

  // Show a series of a study, first at one of its slices. Its patient and date stand in the pane from then on.
  async show(study: Study, item: SeriesItem, series: Series, index: number): Promise<void> {
    const opening = ++this.openings;
    this.prefetch?.close();
    this.prefetch = this.spot = null;
    this.isOnScreen = false;
    this.shownIndex = NO_SLICE;
    delete this.root.dataset.shown;
    this.draw({ marks: [], pending: null, attention: null, crosshair: null });
    [this.study, this.series] = [study, series];
    this.depthsMm = depthsOf(series.slices, series.imageIds.map(planeOf));
    this.readouts.showStudy(study, item);
    this.say(series.imageIds.length ? "" : _("This series has no slices that can be shown."));
    if (!series.imageIds.length) return;
    if (!(await this.setStack(series, index, opening))) return;
    this.applyWindow(item.modality);
    this.fit({ isForced: true });
    this.prefetch = new Prefetch(series, (loaded, all) => this.calls.loaded(this, loaded, all));
    this.prefetch.from(this.asked);
    if (this.spot) this.bring(this.spot);
    if (series.missing) this.say(_("{count} slices of this series cannot be shown.", { count: series.missing }));
  }

  // False where another series was opened meanwhile, or the pane closed.
  private async setStack(series: Series, index: number, opening: number): Promise<boolean> {
    const isSlab = this.slabMm > 0 && this.depthsMm !== null;
    this.shownIds = isSlab ? slabImageIds(series, this.depthsMm as number[], this.slabMm) : series.imageIds;
    this.isOpening = true; // a new stack brings the window of its images along, which is not the reader's choice
    try {
      await this.viewport.setStack(this.shownIds, index);
    } finally {
      if (opening === this.openings) this.isOpening = false;
    }
    if (opening !== this.openings) return false;
    this.window.restoreInversion();
    return true;
  }

  // Show the maximum intensity projection of slabs about the slices; 0 for the slices themselves.
  async setSlab(slabMm: number): Promise<void> {
    if (slabMm === this.slabMm) return;
    this.slabMm = slabMm;
    const { series, slice, index } = this;
    if (!series || !slice) return;
    if (!this.depthsMm) {
      this.say(_("Planes and slabs need parallel axial slices."));
      return;
    }
    const { zoom, middle } = this.camera;
    if (!(await this.setStack(series, index, ++this.openings))) return;
    if (slabMm === 0) dropSlabs();
    if (this.chosenWindow) this.setWindow(this.chosenWindow);
    this.camera.restore(zoom, middle);
    this.viewport.render();
    this.showSlab();
  }

  private showSlab(): void {
    const [first, last] = this.depthsMm ? slabRange(this.depthsMm, this.index, this.slabMm) : [0, 0];
    this.readouts.showSlab(this.depthsMm ? this.slabMm : 0, last - first + 1);
  }

  // Windows are in HU: images of other modalities keep their own.
  private applyWindow(modality: string): void {
    const { chosenWindow } = this;
    if (modality !== "CT" || !chosenWindow) {
      this.onWindow();
      return;
    }
    this.setWindow(chosenWindow);
    this.calls.windowed(this, chosenWindow);
  }

  frameFailed(imageId: string): void {
    if (imageId === this.series?.imageIds[this.asked]) this.say(_("This slice cannot be shown."));
  }

  // The slice that was asked for last.
  private get asked(): number {
    return this.viewport.getCurrentImageIdIndex();
  }

  step(by: number): void {
    this.go(this.asked + by);
  }

  go(index: number, { isFollowing = false } = {}): void {
    if (!this.series?.imageIds.length || this.isOpening) return;
    this.isFollowing = isFollowing;
    const shown = Math.min(this.series.imageIds.length - 1, Math.max(0, index));
    this.viewport
      .setImageIdIndex(shown)
      .catch((error: Error) => this.say(error.message || _("This slice cannot be shown.")));
  }

  // Go to a finding, and centre it where it would lie outside the pane.
  bring(spot: Spot): void {
    this.spot = spot;
    if (this.shownIndex === spot.index) this.bringIntoView();
    this.go(spot.index);
  }

  get chosenWindow(): Window | null {
    return this.window.window;
  }

  setWindow(window: Window): void {
    this.window.set(window);
  }

  invert(isInverted: boolean): void {
    this.window.invert(isInverted);
  }

  reset(): void {
    if (!this.slice) return;
    this.camera.reset();
    this.viewport.render();
  }

  // Fill the pane again after any change of its size: the same zoom, about the same point.
  fit({ isForced = false } = {}): void {
    const size = sizeOnScreen(this.view);
    const before = bitmapSize(this.viewport);
    if (!size || (!isForced && size.width === before.width && size.height === before.height)) return;
    if (!this.slice) {
      setBitmapSize(this.viewport, size);
      return;
    }
    const { zoom, middle } = this.camera;
    setBitmapSize(this.viewport, size);
    if (isForced) this.camera.reset();
    else this.camera.restore(zoom, middle);
    this.viewport.render();
  }

  setTool(tool: Tool): void {
    this.tool = tool;
    this.view.dataset.activeTool = tool;
  }

  draw(drawn: Partial<Overlaid>): void {
    this.drawn = { ...this.drawn, ...drawn };
    if (this.isOnScreen) this.overlay.draw(this.drawn);
  }

  say(text: string): void {
    this.readouts.say(text);
  }

  close(): void {
    this.openings += 1;
    this.observer.disconnect();
    this.prefetch?.close();
    startEngine().disableElement(this.id);
    this.root.remove();
  }

  // The middle of a pixel on the screen; row and column count from 0 at the middle of the first pixel.
  toCanvas(row: number, column: number): Types.Point2 {
    return this.viewport.worldToCanvas(this.toWorld(row, column));
  }

  private toWorld(row: number, column: number): Types.Point3 {
    return pointOfPixel(this.plane, { row, column }, cornerOffset());
  }

  toPixel(x: number, y: number): Pixel {
    return this.pixelOf(this.viewport.canvasToWorld([x, y]));
  }

  // The pixel of a point in the patient's frame, on the slice on the screen.
  pixelOf(world: Types.Point3): Pixel {
    return pixelOfPoint(this.plane, world, cornerOffset());
  }

  private listen(): void {
    const on = (name: string, call: (event: Event) => void) => this.view.addEventListener(name, call);
    on(Events.STACK_NEW_IMAGE, (event) =>
      this.onSlice((event as CustomEvent<{ imageId: string; imageIdIndex: number }>).detail),
    );
    on(Events.IMAGE_RENDERED, () => this.onRendered());
    on(Events.VOI_MODIFIED, () => this.onWindow());
    new PaneInput(this).listen();
    this.root.addEventListener("pointerdown", () => this.calls.entered(this));
    this.root.addEventListener("focusin", () => this.calls.entered(this));
    try {
      this.observer.observe(this.view, { box: "device-pixel-content-box" }); // also where only the pixels grow finer
    } catch {
      this.observer.observe(this.view); // Safari knows no such box
    }
  }

  private bringIntoView(): void {
    const { spot } = this;
    this.spot = null;
    if (!spot) return;
    const [x, y] = this.toCanvas(spot.row, spot.column);
    const [edge] = this.toCanvas(spot.row, spot.column + spot.radiusMm / this.plane.columnPixelSpacing);
    if (!spot.isCentred && isInView([x, y], Math.abs(edge - x) + MARGIN_PX, this.view.getBoundingClientRect())) return;
    this.camera.centre(this.toWorld(spot.row, spot.column));
    this.viewport.render();
  }

  private onSlice({ imageId, imageIdIndex }: { imageId: string; imageIdIndex: number }): void {
    const { series } = this;
    const slice = series?.slices[imageIdIndex];
    if (!slice || !series || this.shownIds[imageIdIndex] !== imageId) return;
    this.shownIndex = imageIdIndex;
    this.say("");
    this.readouts.showSlice(series.slices, this.index);
    this.showSlab();
    this.prefetch?.from(this.index);
    if (this.spot?.index === imageIdIndex) this.bringIntoView();
    this.calls.shown(this);
  }

  private onRendered(): void {
    if (!this.slice) return;
    this.isOnScreen = true;
    const { canvas } = this.viewport; // as large as it was drawn: never stretched to a pane that has changed since
    canvas.style.width = `${canvas.width / devicePixelRatio}px`;
    canvas.style.height = `${canvas.height / devicePixelRatio}px`;
    this.root.dataset.shown = String(this.index);
    this.readouts.showZoom(this.camera.zoom);
    this.overlay.draw(this.drawn);
  }

  private onWindow(): void {
    if (this.window.read() && this.chosenWindow) this.calls.windowed(this, this.chosenWindow);
  }

  // A click of the main button.
  click(at: Position): void {
    if (!this.slice) return;
    const pixel = this.toPixel(...at);
    if (!isOnImage(pixel, this.slice)) return;
    if (this.tool === "mark") this.calls.marked(this, Math.max(0, pixel.row), Math.max(0, pixel.column));
    else if (this.tool !== "length" && this.tool !== "size") {
      const hit = this.drawn.marks.find((mark: Mark) => this.overlay.contains(mark, ...at));
      if (hit) this.calls.picked(this, hit.finding.id);
      else this.calls.pointed(this, pixel.row, pixel.column);
    }
  }
}
