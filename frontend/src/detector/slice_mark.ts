// The slice of a DICOM file, as the server draws it, and the nodule that is marked on it by row and column.
import { find } from "../shared/dom";
import { pixelAt } from "./upload_file";

export class SliceMark {
  private readonly image: HTMLImageElement;
  private readonly mark: Element;
  private readonly row: HTMLInputElement;
  private readonly column: HTMLInputElement;

  constructor(form: HTMLFormElement) {
    this.image = find<HTMLImageElement>("slice-image", form);
    this.mark = find<Element>("slice-mark", form);
    this.row = form.elements.namedItem("row") as HTMLInputElement;
    this.column = form.elements.namedItem("column") as HTMLInputElement;
    for (const field of [this.row, this.column]) field.addEventListener("input", () => this.draw());
    this.image.addEventListener("load", () => this.draw());
    this.image.addEventListener("click", (event) => this.setPoint(event));
  }

  show(url: string): void {
    this.image.src = url;
  }

  draw(): void {
    const { naturalWidth, naturalHeight } = this.image;
    const isShown = this.row.value !== "" && this.column.value !== "" && naturalWidth > 0;
    this.mark.toggleAttribute("hidden", !isShown);
    if (!isShown) return;
    this.mark.setAttribute("viewBox", `0 0 ${naturalWidth} ${naturalHeight}`);
    const circle = this.mark.querySelector("circle");
    circle?.setAttribute("cx", String(Number(this.column.value) + 0.5));
    circle?.setAttribute("cy", String(Number(this.row.value) + 0.5));
    circle?.setAttribute("r", String(naturalWidth / 40));
  }

  private setPoint(event: MouseEvent): void {
    const { naturalWidth, naturalHeight } = this.image;
    if (!naturalWidth) return; // it is still on its way, and has no rows or columns yet
    const box = this.image.getBoundingClientRect();
    this.row.value = String(pixelAt((event.clientY - box.top) / box.height, naturalHeight));
    this.column.value = String(pixelAt((event.clientX - box.left) / box.width, naturalWidth));
    this.draw();
  }
}
