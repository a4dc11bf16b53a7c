// One viewport: a stack of slices, who they belong to, the marks on them, and what mouse and wheel do there.
import { _, number } from "../../../webapp/static/words.js";
import { Enums, type StackViewport, type Types } from "@cornerstonejs/core";
import { dicomDate, find } from "./dom";
import { type Series, type Tool, cornerOffset, fitPanes, joinTools, planeOf, startEngine } from "./engine";
import { edgeLetters } from "./geometry";
import { type Mark, type Overlaid, Overlay } from "./overlay";
import { Prefetch } from "./prefetch";
import type { Edge, SeriesItem, Slice, Study, Triple } from "./types";

export interface Window {
  center: number;
  width: number;
}

export interface PaneCalls {
  shown(pane: Pane): void; // another slice is on the screen
  windowed(pane: Pane, window: Window): void;
  loaded(pane: Pane, loaded: number, all: number): void;
  picked(pane: Pane, findingId: string): void;
  marked(pane: Pane, row: number, column: number): void;
  entered(pane: Pane): void;
}

const WHEEL_STEP = 60;
const MOST_AT_ONCE = 5;
const ROUNDING_HU = 1.5; // Cornerstone rounds the window that it was given
const STILL_PX = 4; // a press that moves less is a click
const AXES = [0, 1, 2] as const;
const { Events, ViewportType } = Enums;

export class Pane {
  readonly view: HTMLDivElement;
  readonly viewport: StackViewport;
  study: Study | null = null;
  series: Series | null = null;
  tool: Tool = "window";
  private readonly overlay: Overlay;
  private prefetch: Prefetch | null = null;
  private window: Window | null = null;
  private wheel = 0;
  private isOnScreen = false; // only then does Cornerstone know where pixels are
  private press: { x: number; y: number } | null = null;
  private drawn: Overlaid = { marks: [], pending: null, attention: null };

  constructor(readonly root: HTMLElement, readonly id: string, private readonly calls: PaneCalls) {
    this.view = find<HTMLDivElement>("view", root);
    const engine = startEngine();
    engine.enableElement({ viewportId: id, element: this.view, type: ViewportType.STACK, defaultOptions: { background: [0, 0, 0] } });
    this.viewport = engine.getViewport(id) as StackViewport;
    this.overlay = new Overlay(this);
    joinTools(id);
    this.listen();
  }

  get index(): number {
    return this.viewport.getCurrentImageIdIndex();
  }

  get slice(): Slice | null {
    return this.series?.slices[this.index] ?? null;
  }

  // Show a series of a study, first at one of its slices. Its patient and date stand in the pane from then on.
  async show(study: Study, item: SeriesItem, series: Series, index: number): Promise<void> {
    this.prefetch?.close();
    this.prefetch = null;
    this.isOnScreen = false;
    this.draw({ marks: [], pending: null, attention: null });
    [this.study, this.series] = [study, series];
    find("corner-study", this.root).textContent = [dicomDate(study.study_date), item.series_description || item.modality].filter(Boolean).join(" · ");
    this.say(series.imageIds.length ? "" : _("This series has no slices that can be shown."));
    if (!series.imageIds.length) return;
    const wanted = this.window; // a new stack brings the window of its images along, which is not the reader's choice
    await this.viewport.setStack(series.imageIds, index);
    fitPanes();
    this.viewport.resetCamera();
    if (item.modality === "CT" && wanted) {
      this.setWindow(wanted);
      this.calls.windowed(this, wanted);
    }
    this.viewport.render();
    this.prefetch = new Prefetch(series, (loaded, all) => this.calls.loaded(this, loaded, all));
    this.onSlice();
    if (series.missing) this.say(_("{count} slices of this series cannot be shown.", { count: series.missing }));
  }

  frameFailed(imageId: string): void {
    if (imageId === this.series?.imageIds[this.index]) this.say(_("This slice cannot be shown."));
  }

  go(index: number): void {
    if (!this.series?.imageIds.length) return;
    const wanted = Math.min(this.series.imageIds.length - 1, Math.max(0, index));
    this.viewport.setImageIdIndex(wanted).catch((error: Error) => this.say(error.message || _("This slice cannot be shown.")));
  }

  setWindow(window: Window): void {
    this.window = window;
    this.readWindow();
    if (!this.series) return;
    this.viewport.setProperties({ voiRange: { lower: window.center - window.width / 2, upper: window.center + window.width / 2 } });
    this.viewport.render();
  }

  reset(): void {
    this.viewport.resetCamera();
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
    find("message", this.root).textContent = text;
  }

  close(): void {
    this.prefetch?.close();
    startEngine().disableElement(this.id);
    this.root.remove();
  }

  // Where the middle of a pixel is on the screen; row and column count from 0 at the middle of the first pixel.
  toCanvas(row: number, column: number): Types.Point2 {
    const plane = planeOf(this.viewport.getCurrentImageId());
    const along = (axis: 0 | 1 | 2) => plane.imagePositionPatient[axis]
      + plane.rowCosines[axis] * (column + cornerOffset()) * plane.columnPixelSpacing
      + plane.columnCosines[axis] * (row + cornerOffset()) * plane.rowPixelSpacing;
    return this.viewport.worldToCanvas([along(0), along(1), along(2)]);
  }

  toPixel(x: number, y: number): { row: number; column: number } {
    const plane = planeOf(this.viewport.getCurrentImageId());
    const world = this.viewport.canvasToWorld([x, y]);
    const along = (cosines: Triple) => AXES.reduce<number>((sum, axis) => sum + (world[axis] - plane.imagePositionPatient[axis]) * cosines[axis], 0);
    return {
      row: along(plane.columnCosines) / plane.rowPixelSpacing - cornerOffset(),
      column: along(plane.rowCosines) / plane.columnPixelSpacing - cornerOffset(),
    };
  }

  private listen(): void {
    const on = (name: string, call: (event: Event) => void) => this.view.addEventListener(name, call);
    on(Events.STACK_NEW_IMAGE, () => this.onSlice());
    on(Events.IMAGE_RENDERED, () => this.onRendered());
    on(Events.VOI_MODIFIED, () => this.onWindow());
    on("wheel", (event) => this.onWheel(event as WheelEvent));
    on("contextmenu", (event) => event.preventDefault());
    this.view.addEventListener("pointerdown", (event) => { this.press = event.button === 0 ? { x: event.clientX, y: event.clientY } : null; }, { capture: true });
    this.view.addEventListener("pointerup", (event) => this.onPointerUp(event), { capture: true });
    this.root.addEventListener("pointerdown", () => this.calls.entered(this));
    this.root.addEventListener("focusin", () => this.calls.entered(this));
    new ResizeObserver(() => fitPanes()).observe(this.view);
  }

  private onSlice(): void {
    const { slice, series } = this;
    if (!slice || !series) return;
    this.say("");
    find("readout-slice", this.root).textContent = _("Slice {number} of {count}", { number: this.index + 1, count: series.slices.length });
    find("readout-position", this.root).textContent = slice.position_mm ? `z ${number(slice.position_mm[2])} mm` : "";
    for (const [edge, letter] of Object.entries(edgeLetters(slice.orientation)) as [Edge, string][]) {
      find(`orient="${edge}"`, this.root).textContent = letter;
    }
    this.prefetch?.from(this.index);
    this.calls.shown(this);
  }

  private onRendered(): void {
    if (!this.slice) return;
    this.isOnScreen = true;
    this.root.dataset.shown = String(this.index);
    find("readout-zoom", this.root).textContent = `${Math.round(this.viewport.getZoom() * 100)} %`;
    this.overlay.draw(this.drawn);
  }

  private onWindow(): void {
    const range = this.viewport.getProperties().voiRange;
    if (!range) return;
    const told = { center: (range.lower + range.upper) / 2, width: range.upper - range.lower };
    const known = this.window;
    if (known && Math.abs(told.center - known.center) < ROUNDING_HU && Math.abs(told.width - known.width) < ROUNDING_HU) return;
    this.window = told;
    this.readWindow();
    this.calls.windowed(this, this.window);
  }

  private readWindow(): void {
    if (!this.window) return;
    find("readout-window", this.root).textContent = `C ${Math.round(this.window.center)}  W ${Math.round(this.window.width)} HU`;
  }

  private onWheel(event: WheelEvent): void {
    event.preventDefault();
    if (event.ctrlKey) {
      this.viewport.setZoom(Math.min(20, Math.max(0.3, this.viewport.getZoom() * Math.exp(-event.deltaY / 300))));
      this.viewport.render();
      return;
    }
    this.wheel += event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * WHEEL_STEP : event.deltaY;
    const steps = Math.trunc(this.wheel / WHEEL_STEP);
    if (!steps) return;
    this.wheel -= steps * WHEEL_STEP;
    this.go(this.index + Math.max(-MOST_AT_ONCE, Math.min(MOST_AT_ONCE, steps)));
  }

  // Our own click, at once: Cornerstone's waits to see whether it becomes a double click.
  private onPointerUp(event: PointerEvent): void {
    const press = this.press;
    this.press = null;
    if (!press || !this.slice || Math.hypot(event.clientX - press.x, event.clientY - press.y) > STILL_PX) return;
    const box = this.view.getBoundingClientRect();
    const at: [number, number] = [event.clientX - box.left, event.clientY - box.top];
    const { row, column } = this.toPixel(...at);
    if (row < -0.5 || column < -0.5 || row > this.slice.rows - 0.5 || column > this.slice.columns - 0.5) return;
    if (this.tool === "mark") this.calls.marked(this, Math.max(0, row), Math.max(0, column));
    else if (this.tool !== "length") {
      const hit = this.drawn.marks.find((mark: Mark) => this.overlay.contains(mark, ...at));
      if (hit) this.calls.picked(this, hit.finding.id);
    }
  }
}
