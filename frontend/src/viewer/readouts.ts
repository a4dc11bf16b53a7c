// The texts in the corners of a pane: study, slice, position, orientation, window and zoom.
import { find } from "../shared/dom";
import { _, number } from "../shared/i18n";
import { dicomDate } from "./display";
import { edgeLetters } from "./geometry";
import { imageNumber } from "./marks";
import type { Edge, SeriesItem, Slice, Study } from "./types";
import type { Window } from "./window_level";

export class Readouts {
  constructor(private readonly root: HTMLElement) {}

  showStudy(study: Study, item: SeriesItem): void {
    const parts = [dicomDate(study.study_date), item.series_description || item.modality];
    this.write("corner-study", parts.filter(Boolean).join(" · "));
  }

  // The image by the number that the list of findings has too, and its position in the stack.
  showSlice(slices: Slice[], index: number): void {
    const slice = slices[index] as Slice;
    const [image, position] = [imageNumber(slices, slice), { number: index + 1, count: slices.length }];
    this.write(
      "readout-slice",
      image === null
        ? _("Slice {number} of {count}", position)
        : _("Image {image} ({number} of {count})", { ...position, image }),
    );
    this.write("readout-position", slice.position_mm ? `z ${number(slice.position_mm[2])} mm` : "");
    for (const [edge, letter] of Object.entries(edgeLetters(slice.orientation)) as [Edge, string][])
      this.write(`orient="${edge}"`, letter);
  }

  showWindow({ center, width }: Window): void {
    this.write("readout-window", `C ${Math.round(center)}  W ${Math.round(width)} HU`);
  }

  // The thickness of a slab and the slices that it holds; nothing for a single slice.
  showSlab(slabMm: number, sliceCount: number): void {
    const values = { mm: slabMm, count: sliceCount };
    const text = sliceCount === 1 ? _("MIP {mm} mm (1 slice)", values) : _("MIP {mm} mm ({count} slices)", values);
    this.write("readout-slab", slabMm > 0 ? text : "");
  }

  showZoom(zoom: number): void {
    this.write("readout-zoom", `${Math.round(zoom * 100)} %`);
  }

  say(text: string): void {
    this.write("message", text);
  }

  private write(name: string, text: string): void {
    find(name, this.root).textContent = text;
  }
}
