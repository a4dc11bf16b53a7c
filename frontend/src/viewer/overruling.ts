// "Analyse anyway": a radiologist overrules the refusals of a study that can be overruled, and says why.

import { element, find } from "../shared/dom";
import { postJson } from "../shared/http";
import { _, recorded } from "../shared/i18n";
import type { Study } from "./types";

export class Overruling {
  private readonly button = document.querySelector<HTMLButtonElement>("[data-overrule]"); // only for those who may
  private readonly dialog = find<HTMLDialogElement>("overrule-dialog");
  private readonly reason = find<HTMLTextAreaElement>("overrule-reason");
  private readonly error = find("overrule-error");
  private study: Study | null = null;
  private isSending = false;

  constructor(
    private readonly url: string,
    private readonly requested: () => void,
  ) {
    this.button?.addEventListener("click", () => this.open());
    this.reason.addEventListener("input", () => this.showLength());
    find("overrule-cancel").addEventListener("click", () => this.cancel());
    this.dialog.addEventListener("cancel", (event) => {
      if (this.isSending) event.preventDefault();
    }); // Escape keeps the text
    find("overrule-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.send();
    });
  }

  get isOpen(): boolean {
    return this.dialog.open;
  }

  show(study: Study): void {
    this.study = study;
    if (this.button) this.button.hidden = study.overrulable.length === 0;
  }

  private open(): void {
    find("overrule-refusals").replaceChildren(...this.refusals().map((text) => element("li", {}, recorded(text))));
    this.showError("");
    this.showLength();
    this.dialog.showModal();
  }

  // Texts of the refusals to overrule; the same refusal of several series or findings is listed once.
  private refusals(): string[] {
    const { series = [], findings = [] } = this.study ?? {};
    const overrulable: string[] = this.study?.overrulable ?? [];
    const reasons = [...series, ...findings]
      .flatMap((each) => each.reasons)
      .filter(({ code }) => overrulable.includes(code));
    return [...new Set(reasons.map(({ text }) => text))];
  }

  private cancel(): void {
    this.reason.value = "";
    this.dialog.close();
  }

  private async send(): Promise<void> {
    const reason = this.reason.value.trim();
    if (this.isSending || !this.study) return;
    if (!reason) {
      this.showError(_("A reason is needed."));
      this.reason.focus();
      return;
    }
    this.setSending(true);
    try {
      await postJson(this.url, { overrule: this.study.overrulable, reason });
      this.cancel();
      this.requested();
    } catch (error) {
      this.showError((error as Error).message);
    } finally {
      this.setSending(false);
    }
  }

  private setSending(isSending: boolean): void {
    this.isSending = isSending;
    for (const button of this.dialog.querySelectorAll("button")) button.disabled = isSending;
  }

  private showLength(): void {
    const { value, maxLength } = this.reason;
    find("overrule-length").textContent = _("{count} of {limit} characters", { count: value.length, limit: maxLength });
  }

  private showError(text: string): void {
    this.error.textContent = text;
    this.error.hidden = !text;
  }
}
