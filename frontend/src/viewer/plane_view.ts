// A coronal or sagittal plane of the series, with the crosshair of the other planes.
import { element, find, svg } from "../shared/dom";
import { _ } from "../shared/i18n";
import { boundedZoom, zoomAfterWheel } from "./camera";
import type { Position } from "./clicks";
import { crosshairLines } from "./crosshair";
import type { Plane } from "./geometry";
import {
  fitted,
  type Placement,
  type PlaneCamera,
  pictureOf,
  placementOf,
  planeLetters,
  type VoxelPoint,
} from "./planes_geometry";
import { greyValues, type PlaneName, type Resliced, reslice, type Stack } from "./reslice";
import type { Edge, Triple } from "./types";
import { WheelSlices } from "./wheel";
import { rangeOf, type Window } from "./window_level";

const CLOSE_UP = 3;

export interface PlaneCalls {
  pointed(name: PlaneName, pixel: [number, number], pixelMm: number): void;
  scrolled(name: PlaneName, by: number): void;
}

export interface Shown {
  stack: Stack;
  point: VoxelPoint;
  slabMm: number;
  window: Window;
  isInverted: boolean;
  gapMm: number; // about the crosshair's middle
}

export class PlaneView {
  private readonly view: HTMLElement;
  private readonly canvas: HTMLCanvasElement;
  private readonly overlay: SVGSVGElement;
  private readonly picture = document.createElement("canvas");
  private readonly wheel = new WheelSlices();
  private readonly observer = new ResizeObserver(() => this.draw());
  private camera: PlaneCamera | null = null;
  private resliced: Resliced | null = null;
  private shown: Shown | null = null;
  private key = ""; // of what the picture shows

  constructor(
    readonly root: HTMLElement,
    readonly name: PlaneName,
    private readonly calls: PlaneCalls,
  ) {
    this.view = find("plane-view", root);
    this.canvas = element("canvas", { class: "plane-canvas" });
    this.view.append(this.canvas);
    this.overlay = find<SVGSVGElement>("plane-overlay", root);
    this.listen();
    this.observer.observe(this.view);
  }

  close(): void {
    this.observer.disconnect();
    this.root.remove();
  }

  label(plane: Plane, towardsFeet: Triple): void {
    for (const [edge, letter] of Object.entries(planeLetters(this.name, plane, towardsFeet)) as [Edge, string][])
      find(`plane-orient="${edge}"`, this.root).textContent = letter;
  }

  // Show a plane through a point; `version` changes with the pixels of the stack.
  show(shown: Shown, version: number): void {
    this.shown = shown;
    const { point, slabMm, window, isInverted } = shown;
    const at = Math.round(this.name === "coronal" ? point.row : point.column);
    const key = JSON.stringify([version, at, slabMm, window, isInverted]);
    if (key !== this.key) {
      this.resliced = reslice(shown.stack, this.name, at, slabMm);
      this.paint(this.resliced, window, isInverted);
      this.camera ??= fitted(this.resliced);
    }
    this.key = key;
    const title = this.name === "coronal" ? _("Coronal") : _("Sagittal");
    find("plane-title", this.root).textContent = slabMm > 0 ? `${title} · MIP ${slabMm} mm` : title;
    this.root.dataset.at = String(at);
    this.draw();
  }

  // Put the point into the middle.
  centre(zoom?: number): void {
    const { camera, resliced, shown } = this;
    if (!camera || !resliced || !shown) return;
    [camera.x, camera.y] = pictureOf(this.name, shown.stack, resliced.pixelMm, shown.point);
    if (zoom) camera.zoom = zoom;
    this.draw();
  }

  reset(): void {
    if (this.resliced) this.camera = fitted(this.resliced);
    this.draw();
  }

  private paint({ width, height, values }: Resliced, window: Window, isInverted: boolean): void {
    const { lower, upper } = rangeOf(window);
    Object.assign(this.picture, { width, height });
    const grey = greyValues(values, lower, upper, isInverted) as Uint8ClampedArray<ArrayBuffer>;
    this.picture.getContext("2d")?.putImageData(new ImageData(grey, width, height), 0, 0);
  }

  private get placement(): Placement | null {
    const { resliced, camera } = this;
    return resliced && camera && placementOf(resliced, camera, this.view.getBoundingClientRect());
  }

  private draw(): void {
    const { placement, resliced, shown, canvas } = this;
    const { width, height } = this.view.getBoundingClientRect();
    if (!placement || !resliced || !shown || width < 2 || height < 2) return;
    const ratio = devicePixelRatio;
    const size = { width: Math.round(width * ratio), height: Math.round(height * ratio) };
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
    const context = canvas.getContext("2d");
    if (!context) return;
    context.fillStyle = "#000";
    context.fillRect(0, 0, size.width, size.height);
    const scale = placement.scale * ratio;
    const [left, top] = [placement.left * ratio, placement.top * ratio];
    context.drawImage(this.picture, left, top, resliced.width * scale, resliced.height * scale);
    const [x, y] = pictureOf(this.name, shown.stack, resliced.pixelMm, shown.point);
    const centre: Position = [
      placement.left + (x + 0.5) * placement.scale,
      placement.top + (y + 0.5) * placement.scale,
    ];
    const gap = (shown.gapMm / resliced.pixelMm) * placement.scale;
    const names = { vertical: this.name === "coronal" ? "sagittal" : "coronal", horizontal: "axial" };
    this.overlay.replaceChildren(
      ...crosshairLines(centre, gap, { width, height }, names).map((line) => svg("path", line)),
    );
  }

  private pixelAt({ clientX, clientY }: MouseEvent): [number, number] | null {
    const { placement } = this;
    const box = this.view.getBoundingClientRect();
    if (!placement) return null;
    const { left, top, scale } = placement;
    return [(clientX - box.left - left) / scale - 0.5, (clientY - box.top - top) / scale - 0.5];
  }

  private point(event: MouseEvent): void {
    const pixel = this.pixelAt(event);
    if (pixel && this.resliced) this.calls.pointed(this.name, pixel, this.resliced.pixelMm);
  }

  private listen(): void {
    const { view } = this;
    view.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      view.setPointerCapture(event.pointerId);
      this.point(event);
    });
    view.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.point(event);
      else if (event.buttons & 4) this.pan(event);
    });
    view.addEventListener("contextmenu", (event) => event.preventDefault());
    view.addEventListener("dblclick", (event) => this.toggleCloseUp(event));
    view.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
  }

  private pan({ movementX, movementY }: PointerEvent): void {
    const { camera, placement } = this;
    if (!camera || !placement) return;
    camera.x -= movementX / placement.scale;
    camera.y -= movementY / placement.scale;
    this.draw();
  }

  private toggleCloseUp(event: MouseEvent): void {
    const pixel = this.pixelAt(event);
    if (!this.camera || !pixel) return;
    if (this.camera.zoom > 1) this.reset();
    else this.camera = { x: pixel[0], y: pixel[1], zoom: CLOSE_UP };
    this.draw();
  }

  private onWheel(event: WheelEvent): void {
    event.preventDefault();
    const { camera } = this;
    const pixel = this.pixelAt(event);
    if (event.ctrlKey && camera && pixel) {
      const zoom = boundedZoom(zoomAfterWheel(camera.zoom, event.deltaY));
      const share = camera.zoom / zoom; // the pixel under the cursor stays there
      this.camera = { x: pixel[0] + (camera.x - pixel[0]) * share, y: pixel[1] + (camera.y - pixel[1]) * share, zoom };
      this.draw();
      return;
    }
    const by = this.wheel.slicesOf(event as WheelEvent & { wheelDeltaY?: number });
    if (by) this.calls.scrolled(this.name, by);
  }
}
