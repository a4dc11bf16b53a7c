// Time that something was on the screen: a page in the background does not count.
export class VisibleTime {
  private shownAt: number | null = null; // milliseconds; null while hidden or before the start
  private shownMs = 0;
  private isStarted = false;

  get hasStarted(): boolean {
    return this.isStarted;
  }

  start(now: number, isVisible: boolean): void {
    this.isStarted = true;
    this.shownAt = isVisible ? now : null;
  }

  setVisible(isVisible: boolean, now: number): void {
    if (!this.isStarted) return;
    this.shownMs += this.shownAt === null ? 0 : now - this.shownAt;
    this.shownAt = isVisible ? now : null;
  }

  // Seconds on the screen so far, to a tenth.
  seconds(now: number): number {
    const shownMs = this.shownMs + (this.shownAt === null ? 0 : now - this.shownAt);
    return Math.round(shownMs / 100) / 10;
  }
}
