// Crops of the nodules for the list of findings, drawn from the slices that the pane loads anyway.
import { imageLoader } from "@cornerstonejs/core";
import { element } from "../shared/dom";
import { type CropBox, cropBox, drawnInCrop } from "./crop_geometry";
import type { Series } from "./engine";
import { sliceIndex } from "./marks";
import { greyValues } from "./reslice";
import { hounsfield } from "./slab";
import type { Finding, Slice } from "./types";
import { PRESETS, rangeOf, type Window } from "./window_level";

const SIDE_PX = 112; // twice the size on the page
const FIELD_MM = 40;
const LARGEST_SHARE = 0.6; // of the field that a nodule takes

export class Crops {
  private readonly canvases = new Map<string, HTMLCanvasElement>();
  private readonly drawn = new Set<string>();

  // The crop of a finding; it stays dark until its slice is here.
  canvas({ id }: Finding): HTMLCanvasElement {
    const canvas =
      this.canvases.get(id) ??
      element("canvas", { class: "crop", width: SIDE_PX, height: SIDE_PX, "aria-hidden": "true", "data-crop": id });
    this.canvases.set(id, canvas);
    return canvas;
  }

  // Draw the crops of findings of a series, from their own slices.
  async draw(series: Series, findings: Finding[]): Promise<void> {
    for (const finding of findings) {
      const index = sliceIndex(series, finding);
      if (index < 0 || this.drawn.has(finding.id)) continue;
      this.drawn.add(finding.id);
      await this.drawOne(finding, series.slices[index] as Slice, series.imageIds[index] as string).catch(() =>
        this.drawn.delete(finding.id),
      );
    }
  }

  private async drawOne(finding: Finding, slice: Slice, imageId: string): Promise<void> {
    const image = await imageLoader.loadAndCacheImage(imageId);
    const fieldMm = Math.max(FIELD_MM, (finding.diameter_mm ?? 0) / LARGEST_SHARE);
    const box: CropBox = cropBox(finding, slice, fieldMm);
    const { lower, upper } = rangeOf(PRESETS.lung as Window);
    const values = drawnInCrop(hounsfield(image), slice.columns, slice.rows, box);
    const grey = greyValues(values, lower, upper, false) as Uint8ClampedArray<ArrayBuffer>;
    const part = element("canvas", { width: box.width, height: box.height });
    part.getContext("2d")?.putImageData(new ImageData(grey, box.width, box.height), 0, 0);
    const canvas = this.canvas(finding);
    canvas.getContext("2d")?.drawImage(part, 0, 0, SIDE_PX, SIDE_PX);
    canvas.dataset.drawn = "yes";
  }
}
