// The study as it is known: what the server sent, and the changes of its findings since.
import { byMalignancy, largestSeries } from "./order";
import type { Finding, SeriesItem, Study } from "./types";

const SETTLED = ["analysed", "not_analysed", "failed"];

export class StudyRecord {
  study: Study | null = null;
  private version = 0; // an answer that was under way during a change is out of date

  get findings(): Finding[] {
    return this.study?.findings ?? [];
  }

  // The findings that a reader may be shown: only those of readers while the model's are hidden.
  shown(isModelHidden: boolean): Finding[] {
    return isModelHidden ? this.findings.filter(({ origin }) => origin === "reader") : this.findings;
  }

  series(uid: string): SeriesItem | null {
    return this.study?.series.find(({ series_instance_uid }) => series_instance_uid === uid) ?? null;
  }

  get largestSeries(): string | null {
    return largestSeries(this.study?.series ?? [])?.series_instance_uid ?? null;
  }

  add(finding: Finding): void {
    this.change([...this.findings, finding].sort(byMalignancy));
  }

  replace(finding: Finding): void {
    this.change(this.findings.map((other) => (other.id === finding.id ? finding : other)));
  }

  remove(finding: Finding): void {
    this.change(this.findings.filter(({ id }) => id !== finding.id));
  }

  // Read the study again; null where nothing is new, or where it changed meanwhile.
  async refresh(read: () => Promise<Study>): Promise<{ study: Study; isSettled: boolean } | null> {
    const [before, version] = [this.study, ++this.version];
    const study = await read();
    if (version !== this.version || JSON.stringify(study) === JSON.stringify(before)) return null;
    this.study = study;
    return { study, isSettled: before !== null && before.state !== study.state && SETTLED.includes(study.state) };
  }

  private change(findings: Finding[]): void {
    this.version += 1;
    if (this.study) this.study.findings = findings;
  }
}

export function isHeld({ state, reasons }: Study): boolean {
  return state === "not_analysed" && reasons.some(({ code }) => code === "scanner_held");
}
