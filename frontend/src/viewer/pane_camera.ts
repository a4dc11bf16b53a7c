// The camera of a pane: zoom, pan, close-up, and the same view after a change of size or of images.
import type { StackViewport, Types } from "@cornerstonejs/core";
import { boundedZoom, centredOn, middleHolding } from "./camera";
import type { Position } from "./clicks";
import { bitmapSize } from "./engine";

const CLOSE_UP = 3; // zoom of a double click
const FITTED = 1.02; // less is the zoom of the image that fits

export class PaneCamera {
  private fitScale = 1; // Cornerstone's zoom at which the image fits: 1, or, drawing without WebGL, pixels for a pixel

  constructor(private readonly viewport: StackViewport) {}

  get zoom(): number {
    return this.viewport.getZoom() / this.fitScale;
  }

  // The point of the patient in the middle of what is drawn.
  get middle(): Types.Point3 {
    const { width, height } = bitmapSize(this.viewport);
    return this.viewport.canvasToWorld([width / 2 / devicePixelRatio, height / 2 / devicePixelRatio]);
  }

  // Show the image as it fits.
  reset(): void {
    this.viewport.resetCamera();
    this.fitScale = this.viewport.getZoom();
  }

  // Show a point in the middle, at a zoom, after a change of size or of images.
  restore(zoom: number, middle: Types.Point3): void {
    this.reset();
    this.viewport.setZoom(zoom * this.fitScale);
    this.centre(middle);
  }

  centre(point: Types.Point3): void {
    this.viewport.setCamera(centredOn(point, this.viewport.getCamera() as Required<Types.ICamera>));
  }

  // Zoom about a point of the view, which stays under the cursor.
  zoomTo(zoom: number, about: Position): void {
    const [before, middle] = [this.viewport.canvasToWorld([...about]), this.middle];
    this.viewport.setZoom(boundedZoom(zoom) * this.fitScale);
    this.centre(middleHolding(middle, before, this.viewport.canvasToWorld([...about])));
    this.viewport.render();
  }

  // Move the image by pixels of the page.
  panBy([x, y]: Position): void {
    const { width, height } = bitmapSize(this.viewport);
    this.centre(this.viewport.canvasToWorld([width / 2 / devicePixelRatio - x, height / 2 / devicePixelRatio - y]));
    this.viewport.render();
  }

  // A close-up of a point, or, from one, the image that fits.
  toggleCloseUp(at: Position): void {
    if (this.zoom > FITTED) this.reset();
    else {
      const point = this.viewport.canvasToWorld([...at]);
      this.viewport.setZoom(CLOSE_UP * this.fitScale);
      this.centre(point);
    }
    this.viewport.render();
  }
}
