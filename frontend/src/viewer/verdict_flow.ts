// The order of reading: the next finding without the reader's verdict, reasons by number, and what can be undone.
import { ownAssessment, undoable } from "./own_decisions";
import type { Finding } from "./types";

// The first finding after one that has no verdict of this reader, round the end; null where there is none.
export function nextUnread(findings: Finding[], from: string | null, reader: string): string | null {
  const at = findings.findIndex(({ id }) => id === from);
  const order = [...findings.slice(at + 1), ...findings.slice(0, Math.max(0, at))];
  return order.find((finding) => !ownAssessment(finding, reader))?.id ?? null;
}

export function countUnread(findings: Finding[], reader: string): number {
  return findings.filter((finding) => !ownAssessment(finding, reader)).length;
}

// The choice with a number of the keyboard, from 1; null where there are not so many.
export function numbered(choices: string[], number: number): string | null {
  return choices[number - 1] ?? null;
}

// Findings with a verdict or mark of the reader that the server has recorded, the latest last.
export class History {
  private readonly entries: string[] = [];

  add(id: string): void {
    this.entries.push(id);
  }

  // It was undone otherwise.
  remove(id: string): void {
    const at = this.entries.lastIndexOf(id);
    if (at >= 0) this.entries.splice(at, 1);
  }

  // The finding whose latest verdict or mark is undone next; entries that cannot be undone any more are dropped.
  take(findings: Finding[], reader: string): Finding | null {
    for (let id = this.entries.pop(); id !== undefined; id = this.entries.pop()) {
      const finding = findings.find((candidate) => candidate.id === id);
      if (finding && undoable(finding, reader)) return finding;
    }
    return null;
  }
}
