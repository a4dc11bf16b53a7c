// Findings over the images of a pane: marks, contours, and the attention map of the selected one.
import { ContourToggle } from "./contour_toggle";
import type { Contour } from "./contours";
import { type Mark, marksOnSlice, sliceIndex } from "./marks";
import type { Attention, Explanation, Overlaid } from "./overlay";
import type { Pane } from "./pane";
import type { Finding } from "./types";

export interface ShownFindings {
  findings: Finding[];
  selected: string | null;
  explanation: Explanation | null;
}

export class FindingOverlay {
  areMarksShown = true;
  private readonly contours: ContourToggle;

  constructor(changed: () => void) {
    this.contours = new ContourToggle(changed);
  }

  on(pane: Pane, shown: ShownFindings): Pick<Overlaid, "marks" | "attention" | "contours"> {
    const { findings, selected } = shown;
    return {
      marks: this.marksOn(pane, findings, selected),
      attention: attentionOn(pane, shown),
      contours: this.contoursOn(pane, findings, selected),
    };
  }

  private contoursOn({ study, slice }: Pane, findings: Finding[], selected: string | null): Contour[] {
    if (!study) return [];
    return this.contours.on(study.study_instance_uid, this.areMarksShown ? slice : null, findings, selected);
  }

  private marksOn({ series, slice, index }: Pane, findings: Finding[], selected: string | null): Mark[] {
    return this.areMarksShown && series && slice ? marksOnSlice(series, index, findings, selected) : [];
  }
}

// The map of the selected finding, on its own slice.
function attentionOn(pane: Pane, { findings, selected, explanation }: ShownFindings): Attention | null {
  const finding = findings.find(({ id }) => id === selected);
  if (!explanation || !finding || sliceIndex(pane.series, finding) !== pane.index) return null;
  const { map, opacity } = explanation;
  return { url: `/api/v1/findings/${finding.id}/attention.png?map=${map}`, opacity };
}
