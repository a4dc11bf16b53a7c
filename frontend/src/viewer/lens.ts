// The magnifier: a round lens that follows the pointer over a pane and enlarges what is drawn there.
import { Enums } from "@cornerstonejs/core";
import { element } from "../shared/dom";
import type { Position } from "./clicks";
import type { Pane } from "./pane";

const SIDE_PX = 220;
const MAGNIFICATION = 2.5;

export interface Source {
  x: number;
  y: number;
  side: number;
}

// The square of the bitmap that a lens shows; `ratio` is pixels of the bitmap for one of the page.
export function lensSource([x, y]: Position, sidePx: number, magnification: number, ratio: number): Source {
  const side = (sidePx / magnification) * ratio;
  return { x: x * ratio - side / 2, y: y * ratio - side / 2, side };
}

export class Lens {
  private readonly canvas = element("canvas", { class: "lens", "data-lens": true, "aria-hidden": "true" });
  private at: Position | null = null;
  private isOn = false;

  constructor(private readonly pane: Pane) {
    const { view } = pane;
    this.canvas.hidden = true;
    pane.root.append(this.canvas);
    view.addEventListener("pointermove", ({ clientX, clientY }) => {
      const box = view.getBoundingClientRect();
      this.at = [clientX - box.left, clientY - box.top];
      this.draw();
    });
    view.addEventListener("pointerleave", () => {
      this.at = null;
      this.draw();
    });
    view.addEventListener(Enums.Events.IMAGE_RENDERED, () => this.draw());
  }

  show(isOn: boolean): void {
    this.isOn = isOn;
    this.draw();
  }

  private draw(): void {
    const { canvas, at } = this;
    canvas.hidden = !this.isOn || !at;
    const context = canvas.getContext("2d");
    if (canvas.hidden || !at || !context) return;
    const side = Math.round(SIDE_PX * devicePixelRatio);
    if (canvas.width !== side) canvas.width = canvas.height = side;
    const source = lensSource(at, SIDE_PX, MAGNIFICATION, devicePixelRatio);
    context.fillRect(0, 0, side, side);
    context.drawImage(this.pane.viewport.canvas, source.x, source.y, source.side, source.side, 0, 0, side, side);
    canvas.style.left = `${at[0] - SIDE_PX / 2}px`;
    canvas.style.top = `${at[1] - SIDE_PX / 2}px`;
  }
}
