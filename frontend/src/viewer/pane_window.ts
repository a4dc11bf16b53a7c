// Window and inversion of a pane: the reader's choice, applied to every stack that is opened.
import type { StackViewport } from "@cornerstonejs/core";
import { isSameWindow, rangeOf, type Window, windowOf } from "./window_level";

const ROUNDING_HU = 1.5; // Cornerstone rounds the window that it was given

export class PaneWindow {
  private isInverted = false;
  window: Window | null = null;

  // `isReady` is false while no stack is shown; `changed` is called with each window of the pane.
  constructor(
    private readonly viewport: StackViewport,
    private readonly isReady: () => boolean,
    private readonly changed: (window: Window) => void,
  ) {}

  set(window: Window): void {
    this.window = window;
    this.changed(window);
    if (!this.isReady()) return;
    this.viewport.setProperties({ voiRange: rangeOf(window) });
    this.viewport.render();
  }

  invert(isInverted: boolean): void {
    this.isInverted = isInverted;
    if (!this.isReady()) return;
    this.viewport.setProperties({ invert: isInverted });
    this.viewport.render();
  }

  // Invert a stack that was opened, as the one before.
  restoreInversion(): void {
    if (this.isInverted) this.invert(true);
  }

  // Read the window on the screen, which mouse or images set; true where it has changed.
  read(): boolean {
    const range = this.viewport.getProperties().voiRange;
    if (!range || !this.isReady()) return false;
    const window = windowOf(range);
    if (this.window && isSameWindow(window, this.window, ROUNDING_HU)) return false;
    this.window = window;
    this.changed(window);
    return true;
  }
}
