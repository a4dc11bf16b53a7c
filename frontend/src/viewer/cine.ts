// Cine: the slices of a pane one after the other, from head to feet and round again.
import type { Pane } from "./pane";

const SLICES_PER_S = 12;

export function nextCineSlice(index: number, count: number): number {
  return count > 0 ? (index + 1) % count : 0;
}

export class Cine {
  private timer: ReturnType<typeof setInterval> | null = null;

  // `changed` is called with whether it runs.
  constructor(private readonly changed: (isRunning: boolean) => void) {}

  get isRunning(): boolean {
    return this.timer !== null;
  }

  toggle(pane: Pane): void {
    if (this.isRunning) this.stop();
    else {
      this.timer = setInterval(() => this.advance(pane), 1000 / SLICES_PER_S);
      this.changed(true);
    }
  }

  stop(): void {
    if (this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
    this.changed(false);
  }

  private advance(pane: Pane): void {
    const count = pane.series?.slices.length ?? 0;
    if (!pane.isSettled) return; // the slice before is still on its way: none is left out
    pane.go(nextCineSlice(pane.index, count));
  }
}
