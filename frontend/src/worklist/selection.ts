// The chosen study of the list, whatever rows show it.
export class Selection {
  private chosen: string | null = null;

  // UID of the chosen study.
  get uid(): string | null {
    return this.chosen;
  }

  choose(uid: string | null): void {
    this.chosen = uid;
  }

  // Go down so many rows, not beyond an end; without a choice, to the first row. Returns the chosen UID.
  step(uids: string[], by: number): string | null {
    const at = this.chosen === null ? -1 : uids.indexOf(this.chosen);
    const next = uids[Math.min(uids.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    if (next !== undefined) this.chosen = next;
    return this.chosen;
  }

  // After the rows were loaded again: where the chosen study is no longer listed, the one in its place is chosen.
  reloaded(before: string[], after: string[]): void {
    if (this.chosen === null || after.includes(this.chosen)) return;
    const at = before.indexOf(this.chosen);
    if (at >= 0) this.chosen = after[Math.min(at, after.length - 1)] ?? null;
  }
}
