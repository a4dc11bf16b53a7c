// Calipers: two lines on one image, the long and the short axis of the selected finding, replace its measured size.
import { eventTarget, type Types } from "@cornerstonejs/core";
import { annotation, Enums, LengthTool } from "@cornerstonejs/tools";
import type { NewSize } from "../shared/api";
import { _ } from "../shared/i18n";
import { CaliperPair } from "./caliper_pair";
import type { Pane } from "./pane";
import type { Finding, Slice } from "./types";

export type End = [row: number, column: number];
export type Axis = [End, End];

export interface DrawnLine {
  imageId: string;
  ends: [Types.Point3, Types.Point3]; // in the patient's frame
}

export class CaliperTool extends LengthTool {
  static override toolName = "Caliper";
}

interface Completed {
  annotation: {
    metadata: { toolName: string; referencedImageId?: string };
    data: { handles?: { points?: Types.Point3[] } };
  };
}

export interface CaliperCalls {
  selected(): Finding | null;
  measured(size: NewSize): Promise<void>;
  done(): void; // the mouse belongs to the window again
}

// Takes the lines that a reader draws over a pane.
export class Calipers {
  private readonly pair = new CaliperPair<DrawnLine>();

  constructor(
    private readonly pane: Pane,
    private readonly calls: CaliperCalls,
  ) {
    eventTarget.addEventListener(Enums.Events.ANNOTATION_COMPLETED, ((event: CustomEvent<Completed>) => {
      const { metadata, data } = event.detail.annotation;
      const [start, end] = data.handles?.points ?? [];
      if (metadata.toolName === CaliperTool.toolName && metadata.referencedImageId && start && end)
        void this.drawn({ imageId: metadata.referencedImageId, ends: [start, end] });
    }) as EventListener);
  }

  clear(): void {
    this.pair.clear();
    for (const { annotationUID, metadata } of annotation.state.getAllAnnotations())
      if (annotationUID && metadata?.toolName === CaliperTool.toolName)
        annotation.state.removeAnnotation(annotationUID);
    this.pane.viewport.render();
  }

  private async drawn(line: DrawnLine): Promise<void> {
    const { pane, calls } = this;
    const slice = pane.series?.slices[pane.series.imageIds.indexOf(line.imageId)];
    const problem = this.problem(slice);
    if (!slice || problem) {
      this.clear();
      pane.say(problem);
      return;
    }
    const lines = this.pair.add(line);
    if (!lines) {
      pane.say(_("Now draw the short axis on the same image."));
      return;
    }
    const axes = lines.map(({ ends }) => ends.map((end) => this.endOf(end))) as [Axis, Axis];
    this.clear();
    pane.say("");
    calls.done();
    await calls.measured({ sop_instance_uid: slice.sop_instance_uid, frame_number: slice.frame_number, axes });
  }

  // Reason to refuse a line on this slice; empty if there is none.
  private problem(slice: Slice | undefined): string {
    if (!slice) return _("Measure on an image of the current study, without MIP.");
    if (!slice.row_spacing_mm) return _("This image has no pixel spacing: nothing can be measured on it.");
    const isOfSeries = this.calls.selected()?.series_instance_uid === this.pane.series?.uid;
    return isOfSeries ? "" : _("Select a finding of this series first.");
  }

  private endOf(world: Types.Point3): End {
    const { row, column } = this.pane.pixelOf(world);
    return [Math.max(0, row), Math.max(0, column)];
  }
}
