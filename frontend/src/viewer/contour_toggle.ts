// Contours of a study in the viewer: reads the masks, and shows or hides them with a key.

import type { Mask, Masks } from "../shared/api";
import { isTyping } from "../shared/dialogs";
import { getJson } from "../shared/http";
import { type Contour, contoursOn } from "./contours";
import type { Finding, Slice } from "./types";

const KEY = "o";

// The masks of a study, read when its findings change, and whether they are shown.
export class ContourToggle {
  private masks: Mask[] = [];
  private isShown = true;
  private asked = "";

  constructor(
    private readonly studyUrl: string,
    private readonly changed: () => void,
  ) {
    document.addEventListener("keydown", (event) => {
      if (event.key !== KEY || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      event.preventDefault();
      this.isShown = !this.isShown;
      this.changed();
    });
  }

  on(slice: Slice | null, findings: Finding[], selected: string | null): Contour[] {
    this.update(findings);
    return this.isShown && slice ? contoursOn(slice, this.masks, findings, selected) : [];
  }

  // Failing to read them leaves the findings without contours until they change.
  private update(findings: Finding[]): void {
    const ids = findings.map(({ id }) => id).join();
    if (ids === this.asked) return;
    this.asked = ids;
    if (!ids) return;
    getJson<Masks>(`${this.studyUrl}/masks`, { background: true })
      .then(({ masks }) => {
        if (this.asked !== ids) return;
        this.masks = masks;
        this.changed();
      })
      .catch(() => undefined);
  }
}
