// Leaving the viewer: a reader is asked first where something of theirs is not saved.
import { ask } from "../shared/dialogs";
import { find } from "../shared/dom";
import type { FindingList } from "./findings";

export class Leaving {
  private isQuiet = false; // the page leaves by itself: the session has ended, and drafts stay in the tab

  constructor(private readonly list: FindingList) {
    document.addEventListener("lungnode:leaving", () => {
      this.isQuiet = true;
    });
    addEventListener("pageshow", () => {
      this.isQuiet = false;
    });
    addEventListener("beforeunload", (event) => {
      if (this.isUnsaved && !this.isQuiet) event.preventDefault();
    });
    document.addEventListener("submit", (event) => this.onSubmit(event), { capture: true });
  }

  private get isUnsaved(): boolean {
    return this.list.decisions.unsaved.length > 0;
  }

  // True if the page may be left, after saving or dropping what is not saved.
  async isAllowed(): Promise<boolean> {
    await this.list.decisions.settled;
    if (!this.isUnsaved) return true;
    const answer = await ask(find<HTMLDialogElement>("leave"));
    if (answer === "save") return this.list.saveAll();
    if (answer === "discard") this.list.decisions.dropAll();
    return answer === "discard";
  }

  private onSubmit(event: SubmitEvent): void {
    const form = event.target as HTMLFormElement;
    if (form.method !== "post" || !this.isUnsaved) return; // signing out
    event.preventDefault();
    event.stopPropagation();
    void this.isAllowed().then((isAllowed) => {
      if (isAllowed) form.requestSubmit();
    });
  }
}
