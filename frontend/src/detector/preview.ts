// The chosen file: its name and size, a hint, and its image.
import { find } from "../shared/dom";
import { _, number } from "../shared/i18n";
import type { SliceMark } from "./slice_mark";
import { exceededLimit, type FileKind, HEAD_BYTES, kindOf, readableSize } from "./upload_file";

const HINTS: Record<FileKind, string> = {
  png: "",
  jpeg: "",
  dicom: _("Click the nodule in the image to analyse it."),
  zip: _("A zip of a DICOM series: it is stored as a study in the worklist."),
  other: _("Unsupported file. Use PNG, JPEG, DICOM or a zip."),
};

export class Preview {
  private readonly image: HTMLImageElement;
  private file: File | null = null;
  private url = "";

  constructor(
    private readonly form: HTMLFormElement,
    private readonly slice: SliceMark,
  ) {
    this.image = find<HTMLImageElement>("preview", form);
  }

  // Reason why a file is not sent; empty if it is.
  async obstacle(file: File): Promise<string> {
    return this.tooLarge(file, await kindOfFile(file).catch(() => "other" as const));
  }

  async show(file: File | null): Promise<void> {
    this.reset(file);
    if (!file) return;
    find("file-name", this.form).textContent = file.name;
    find("file-size", this.form).textContent = readableSize(file.size, number);
    const kind = await kindOfFile(file);
    if (this.file !== file) return; // another was chosen meanwhile
    const obstacle = this.tooLarge(file, kind);
    const hint = find("file-hint", this.form);
    hint.textContent = obstacle || HINTS[kind];
    hint.hidden = !hint.textContent;
    if (kind === "dicom") find<HTMLDetailsElement>("nodule-position", this.form).open = true;
    if (kind === "png" || kind === "jpeg") {
      this.showImage(URL.createObjectURL(file));
      return;
    }
    this.showMissing(true);
    if (kind === "dicom" && !obstacle) await this.drawDicom(file);
  }

  private reset(file: File | null): void {
    this.file = file;
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = "";
    this.image.hidden = true;
    find("drop-prompt", this.form).hidden = file !== null;
    find("drop-preview", this.form).hidden = file === null;
    find("slice", this.form).hidden = true;
    this.showMissing(false);
  }

  private showImage(url: string): void {
    this.url = url;
    this.image.onload = () => {
      this.image.hidden = false;
      this.showMissing(false);
      this.slice.draw();
    };
    this.image.onerror = () => this.showMissing(true);
    this.image.src = url;
  }

  private showMissing(isMissing: boolean): void {
    find<Element>("no-preview", this.form).toggleAttribute("hidden", !isMissing);
  }

  // A browser reads no DICOM: the server draws it, and stores nothing.
  private async drawDicom(file: File): Promise<void> {
    const body = new FormData();
    body.append("image", file);
    const token = (this.form.elements.namedItem("csrf_token") as HTMLInputElement).value;
    const headers = { Accept: "application/json", "X-CSRF-Token": token };
    const response = await fetch("/predict/preview", { method: "POST", body, headers }).catch(() => null);
    if (!response?.ok) return; // the answer will say why
    const image = await response.blob();
    if (this.file !== file) return; // another was chosen meanwhile
    this.showImage(URL.createObjectURL(image));
    this.slice.show(this.url);
    find("slice", this.form).hidden = false;
  }

  private tooLarge(file: File, kind: FileKind): string {
    const { maxImageMb, maxUploadMb } = this.form.dataset;
    const size = exceededLimit(file.size, kind, { imageMib: Number(maxImageMb), zipMib: Number(maxUploadMb) });
    return size === null ? "" : _("The file is larger than {size} MiB.", { size });
  }
}

async function kindOfFile(file: File): Promise<FileKind> {
  return kindOf(new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer()));
}
