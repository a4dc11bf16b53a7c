// The line about the last verdict: its finding, its reasons by number, and undo. It stays until the next one.
import { element, find } from "../shared/dom";
import { _ } from "../shared/i18n";
import { REASONS, VERDICT_WORDS } from "./finding_terms";
import type { Verdict } from "./types";

export interface Said {
  id: string;
  number: number; // of the finding in the list
  verdict: Verdict;
  reason: string;
}

export interface ToastCalls {
  undo(): void;
  reason(said: Said, reason: string): void;
}

export class VerdictToast {
  private readonly root = find("verdict-toast");
  private readonly text = find("verdict-text", this.root);
  private readonly reasons = find("verdict-reasons", this.root);

  constructor(private readonly calls: ToastCalls) {
    find("verdict-undo", this.root).addEventListener("click", () => calls.undo());
  }

  // Say a verdict; `unread` findings are left. Reasons are offered where the list does not show them.
  said(said: Said, unread: number, hasReasons: boolean): void {
    const { number, verdict, reason } = said;
    const word = reason ? `${VERDICT_WORDS[verdict]}: ${_(reason)}` : VERDICT_WORDS[verdict];
    this.show(_("Finding {number}: {verdict}.", { number, verdict: word }), unread);
    this.reasons.replaceChildren(...(hasReasons && !reason ? this.choices(said) : []));
  }

  measured(number: number, size: string, unread: number): void {
    this.show(_("Finding {number}: {size}.", { number, size }), unread);
    this.reasons.replaceChildren();
  }

  undone(number: number, unread: number): void {
    this.show(number > 0 ? _("Finding {number}: undone.", { number }) : _("Mark removed."), unread);
    this.reasons.replaceChildren();
  }

  hide(): void {
    this.root.hidden = true;
  }

  private show(text: string, unread: number): void {
    this.text.textContent = unread > 0 ? text : `${text} ${_("All findings have a verdict.")}`;
    this.root.hidden = false;
    document.querySelector("[data-finish]")?.classList.toggle("ready", unread === 0);
  }

  private choices(said: Said): HTMLElement[] {
    return REASONS[said.verdict].map((reason, index) =>
      element(
        "button",
        { type: "button", class: "button small", onclick: () => this.calls.reason(said, reason) },
        element("kbd", { "aria-hidden": "true" }, `⇧${index + 1}`),
        _(reason),
      ),
    );
  }
}
