// A reader's verdicts on findings, and the change by a new one.
import type { Draft } from "../shared/drafts";
import type { Decision } from "./decisions";
import type { Assessment, Finding, Verdict } from "./types";

// The latest verdict, if it is this reader's own: no other reader's text is sent under their name.
export function ownAssessment({ assessment }: Finding, reader: string): Assessment | null {
  return assessment?.reader === reader ? assessment : null;
}

export function isOwnMark({ origin, created_by }: Finding, reader: string): boolean {
  return origin === "reader" && created_by === reader;
}

// Action that a reader can undo: the own verdict, or the mark itself where there is none.
export function undoable(finding: Finding, reader: string): "verdict" | "mark" | null {
  if (ownAssessment(finding, reader)) return "verdict";
  return isOwnMark(finding, reader) ? "mark" : null;
}

// The decision that a verdict or a reason makes, and the text of the comment field. Another verdict starts without a
// reason; a comment that is being written stays unsaved until its reader saves it.
export function nextDecision(
  verdict: Verdict,
  reason: string | undefined,
  own: Assessment | null,
  draft: Draft | null,
): { decision: Decision; typed: string } {
  const same = [draft, own].find((decision) => decision?.verdict === verdict);
  const comment = own?.comment ?? "";
  return {
    decision: { verdict, reason: reason ?? same?.reason ?? "", comment },
    typed: draft?.comment ?? comment,
  };
}

// Findings that an analysis has replaced while a reader wrote about them.
export function replacedFindings(unsaved: string[], findings: Finding[]): string[] {
  return unsaved.filter((id) => !findings.some((finding) => finding.id === id));
}
