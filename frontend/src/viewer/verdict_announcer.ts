// Announcement of verdicts: undo, a choice of reasons, and the step to the next unread finding.
import type { Decision } from "./decisions";
import { axesText } from "./display";
import type { FindingList } from "./findings";
import type { Finding } from "./types";
import { countUnread, nextUnread } from "./verdict_flow";
import { VerdictToast } from "./verdict_toast";

export interface ReadingSession {
  readonly reader: string;
  readonly list: FindingList;
  readonly controls: { readonly isAdvancing: boolean };
  readonly selected: string | null;
  shownFindings(): Finding[];
  select(id: string, options?: { isCentred: boolean }): Promise<void>;
}

export class VerdictAnnouncer {
  private readonly toast: VerdictToast;

  constructor(private readonly session: ReadingSession) {
    this.toast = new VerdictToast({
      undo: () => void session.list.undo(),
      reason: ({ id, verdict }, reason) => {
        const finding = session.shownFindings().find((candidate) => candidate.id === id);
        if (finding) void session.list.decideOn(finding, verdict, reason);
      },
    });
  }

  decided(id: string, { verdict, reason }: Decision, isFirst: boolean): void {
    const { list, reader, selected, controls } = this.session;
    const findings = this.session.shownFindings();
    const isWriting = list.decisions.draft(id) !== null;
    const next =
      controls.isAdvancing && isFirst && selected === id && !isWriting ? nextUnread(findings, id, reader) : null;
    const isElsewhere = (next ?? selected) !== id;
    this.toast.said(
      { id, number: numberOf(findings, id), verdict, reason },
      countUnread(findings, reader),
      isElsewhere,
    );
    if (next) void this.session.select(next, { isCentred: true });
  }

  measured(finding: Finding): void {
    const findings = this.session.shownFindings();
    const size = finding.assessment?.size;
    if (size)
      this.toast.measured(numberOf(findings, finding.id), axesText(size), countUnread(findings, this.session.reader));
  }

  undone(finding: Finding, what: "verdict" | "mark"): void {
    const findings = this.session.shownFindings();
    const number = what === "mark" ? 0 : numberOf(findings, finding.id);
    this.toast.undone(number, countUnread(findings, this.session.reader));
    if (what === "verdict" && this.session.selected !== finding.id) void this.session.select(finding.id);
  }
}

function numberOf(findings: Finding[], id: string): number {
  return findings.findIndex((finding) => finding.id === id) + 1;
}
