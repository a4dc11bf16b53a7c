// Contours of studies in the viewer: reads the masks, and shows or hides them with a key.

import type { Mask, Masks } from "../shared/api";
import { isTyping } from "../shared/dialogs";
import { getJson } from "../shared/http";
import { type Contour, contoursOn } from "./contours";
import type { Finding, Slice } from "./types";

const KEY = "o";

// The masks of one study, read when its findings change.
class StudyMasks {
  masks: Mask[] = [];
  private asked = "";

  constructor(
    private readonly studyUid: string,
    private readonly changed: () => void,
  ) {}

  // Failing to read them leaves the findings without contours until they change.
  update(findings: Finding[]): void {
    const ids = findings.map(({ id }) => id).join();
    if (ids === this.asked) return;
    this.asked = ids;
    if (!ids) return;
    getJson<Masks>(`/api/v1/studies/${this.studyUid}/masks`, { background: true })
      .then(({ masks }) => {
        if (this.asked !== ids) return;
        this.masks = masks;
        this.changed();
      })
      .catch(() => undefined);
  }
}

// The masks of the studies in the panes, and whether they are shown.
export class ContourToggle {
  private readonly studies = new Map<string, StudyMasks>();
  private isShown = true;

  constructor(private readonly changed: () => void) {
    document.addEventListener("keydown", (event) => {
      if (event.key !== KEY || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      event.preventDefault();
      this.isShown = !this.isShown;
      this.changed();
    });
  }

  // Contours of a study's findings on a slice of it.
  on(studyUid: string, slice: Slice | null, findings: Finding[], selected: string | null): Contour[] {
    const study = this.studies.get(studyUid) ?? new StudyMasks(studyUid, this.changed);
    this.studies.set(studyUid, study);
    study.update(findings);
    return this.isShown && slice ? contoursOn(slice, study.masks, findings, selected) : [];
  }
}
