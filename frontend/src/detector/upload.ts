// Sending the form: progress, and what the server answers.
import { find } from "../shared/dom";
import { _, recorded } from "../shared/i18n";

interface StoredStudy {
  url: string;
  accepted: number;
  left_out: { text: string }[];
}

interface Answer extends Partial<StoredStudy> {
  id?: string;
  error?: { message: string; reference: string };
}

export class Upload {
  private readonly submit: HTMLButtonElement;
  private readonly progress: HTMLProgressElement;

  constructor(private readonly form: HTMLFormElement) {
    this.submit = find<HTMLButtonElement>("submit", form);
    this.progress = find<HTMLProgressElement>("progress", form);
  }

  send(): void {
    const request = new XMLHttpRequest(); // fetch reports no progress of an upload
    request.open("POST", this.form.action);
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    const token = (this.form.elements.namedItem("csrf_token") as HTMLInputElement).value;
    request.setRequestHeader("X-CSRF-Token", token);
    request.upload.addEventListener("progress", ({ loaded, total }) => this.showProgress(loaded, total));
    request.addEventListener("load", () => this.show(request.status, (request.response ?? {}) as Answer));
    request.addEventListener("error", () => this.fail(_("The service is unreachable. Try again.")));
    this.clear();
    this.submit.disabled = true;
    this.form.setAttribute("aria-busy", "true");
    this.progress.value = 0;
    this.progress.hidden = false;
    this.status(_("Uploading…"));
    request.send(new FormData(this.form));
  }

  // Ready for the next upload.
  settle(): void {
    this.submit.disabled = false;
    this.form.removeAttribute("aria-busy");
    this.progress.hidden = true;
    this.status("");
  }

  // Take away what was said of an earlier upload.
  clear(): void {
    find("problem", this.form).hidden = true;
    find("received", this.form).hidden = true;
  }

  fail(message: string): void {
    this.settle();
    const problem = find("problem", this.form);
    problem.textContent = message;
    problem.hidden = false;
    problem.scrollIntoView({ block: "nearest" });
  }

  private showProgress(loaded: number, total: number): void {
    if (loaded < total) {
      this.progress.value = (100 * loaded) / total;
      return;
    }
    this.progress.removeAttribute("value"); // it is read now, for as long as that takes
    this.status(_("Reading the image…"));
  }

  private show(status: number, answer: Answer): void {
    if (status === 200 && answer.id) location.assign(`/predictions/${answer.id}`);
    else if (status === 202 && answer.url) this.showStudy(answer as StoredStudy);
    else this.fail(problemOf(answer));
  }

  // Open the study of a zip, after saying what was left out of it.
  private showStudy({ url, accepted, left_out }: StoredStudy): void {
    if (!left_out.length) {
      location.assign(url);
      return;
    }
    this.settle();
    const files = left_out.map(({ text }) => recorded(text)).join(", ");
    const parts = [_("CT images accepted: {count}", { count: accepted }), _("Left out: {files}", { files })];
    find("received-text", this.form).textContent = parts.map((part) => `${part}.`).join(" ");
    find("received-link", this.form).setAttribute("href", url);
    find("received", this.form).hidden = false;
    find("received", this.form).scrollIntoView({ block: "nearest" });
  }

  private status(text: string): void {
    find("status", this.form).textContent = text;
  }
}

function problemOf({ error }: Answer): string {
  if (!error) return _("The service did not respond. Try again.");
  return _("{reason} (reference {reference})", { reason: recorded(error.message), reference: error.reference });
}
