// Mouse and touch on a pane: wheel, clicks, double clicks and gestures. Buttons with a tool are Cornerstone's.
import { zoomAfterWheel } from "./camera";
import { onClick, type Position } from "./clicks";
import type { Pane } from "./pane";
import { Scroller, type TouchPoint, touchMovement } from "./touch";
import { WheelSlices } from "./wheel";

export class PaneInput {
  private readonly wheel = new WheelSlices();
  private readonly scroller = new Scroller();
  private points: TouchPoint[] = [];

  constructor(private readonly pane: Pane) {}

  listen(): void {
    const { pane } = this;
    pane.view.addEventListener("wheel", (event) => this.onWheel(event));
    pane.view.addEventListener("contextmenu", (event) => event.preventDefault());
    pane.view.addEventListener("dblclick", (event) => this.onDoubleClick(event));
    onClick(pane.view, (at) => pane.click(at));
    for (const name of ["touchstart", "touchmove", "touchend", "touchcancel"] as const)
      pane.root.addEventListener(name, (event) => this.onTouch(event), { capture: true, passive: false });
  }

  private positionOf({ clientX, clientY }: { clientX: number; clientY: number }): Position {
    const box = this.pane.view.getBoundingClientRect();
    return [clientX - box.left, clientY - box.top];
  }

  private onWheel(event: WheelEvent): void {
    event.preventDefault();
    const { pane } = this;
    if (event.ctrlKey) {
      if (pane.slice) pane.camera.zoomTo(zoomAfterWheel(pane.camera.zoom, event.deltaY), this.positionOf(event));
      return;
    }
    const slices = this.wheel.slicesOf(event as WheelEvent & { wheelDeltaY?: number });
    if (slices) pane.step(slices);
  }

  private onDoubleClick(event: MouseEvent): void {
    const { tool, slice, camera } = this.pane;
    if (slice && tool !== "mark" && tool !== "length" && tool !== "size") camera.toggleCloseUp(this.positionOf(event));
  }

  // One finger scrolls unless another tool was chosen for it; two pinch and pan, whatever the tool.
  private onTouch(event: TouchEvent): void {
    const { pane } = this;
    if (event.target instanceof Node && !pane.view.contains(event.target)) return; // a button over the image
    const points = [...event.touches].map((touch) => ({ id: touch.identifier, at: this.positionOf(touch) }));
    const isOurs = points.length > 1 || this.points.length > 1 || pane.tool === "window";
    if (isOurs) event.stopPropagation();
    if (isOurs && event.type === "touchmove") this.onMove(points);
    if (points.length !== this.points.length) this.scroller.start();
    this.points = points;
  }

  private onMove(points: TouchPoint[]): void {
    const { pane } = this;
    const { scale, shift, about } = touchMovement(this.points, points);
    if (points.length === 1) {
      const slices = this.scroller.slicesOf(shift[1], pane.view.clientHeight, pane.series?.slices.length ?? 0);
      if (slices) pane.step(slices);
    } else if (points.length === 2 && pane.slice) {
      pane.camera.panBy(shift);
      pane.camera.zoomTo(pane.camera.zoom * scale, about);
    }
  }
}
