// The reporting text of the accepted findings: copied at once, with the category of a guideline where the reader asks.
import { element, find } from "../shared/dom";
import { _ } from "../shared/i18n";
import { CategoryForm } from "./category_form";
import { isReported, type Reported, reportLine } from "./report_text";
import { GUIDELINES, type Guideline } from "./words";

export class ReportDialog {
  private readonly dialog = find<HTMLDialogElement>("report-dialog");
  private readonly field = find<HTMLTextAreaElement>("report-text");
  private readonly status = find("report-status");
  private readonly guideline = find<HTMLSelectElement>("report-guideline");
  private readonly form: CategoryForm;
  private reported: Reported[] = [];

  // `findings` gives all that the list shows; the accepted ones are reported.
  constructor(private readonly findings: () => Reported[]) {
    this.form = new CategoryForm(find("report-category"), () => this.write());
    for (const [value, name] of Object.entries(GUIDELINES)) this.guideline.append(element("option", { value }, name));
    this.guideline.addEventListener("change", () => {
      this.form.show(this.guideline.value as Guideline | "", this.reported);
      this.write();
    });
    find("report-copy").addEventListener("click", () => void this.copy());
    document.querySelector("[data-report]")?.addEventListener("click", () => this.open());
  }

  open(): void {
    this.reported = this.findings().filter(({ finding }) => isReported(finding));
    this.guideline.value = ""; // a category is never there by itself
    this.guideline.disabled = this.reported.length === 0;
    this.form.show("", this.reported);
    this.write();
    this.dialog.showModal();
    if (this.reported.length > 0) void this.copy();
    else this.say(_("No finding is accepted yet."));
  }

  private write(): void {
    const template = this.dialog.dataset.template ?? "";
    const lines = this.reported.map((reported) => reportLine(reported, template));
    const category = this.form.text();
    this.field.value = [...lines, ...(category ? [category] : [])].join("\n");
    this.say("");
  }

  private async copy(): Promise<void> {
    const isCopied = await this.toClipboard();
    this.say(isCopied ? _("Copied to the clipboard.") : _("The browser does not allow copying. Press Ctrl+C."));
  }

  // The clipboard's own interface needs HTTPS or localhost; elsewhere the selected text is copied.
  private async toClipboard(): Promise<boolean> {
    try {
      await navigator.clipboard.writeText(this.field.value);
      return true;
    } catch {
      this.field.focus();
      this.field.select();
      return document.execCommand("copy");
    }
  }

  private say(text: string): void {
    this.status.textContent = text;
  }
}
