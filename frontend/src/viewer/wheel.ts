// Slices for what a wheel or a trackpad reports: a notch is one slice, small movements add up.
const PIXEL = 0; // WheelEvent.DOM_DELTA_PIXEL
const LINE = 1; // WheelEvent.DOM_DELTA_LINE
const NOTCH_TICKS = 120; // wheelDeltaY of one notch, whatever the system makes of it in pixels
const NOTCH_LINES = 3;
const NOTCH_PX = 100;
const FINE_PX = 30; // less in one event comes from a trackpad or a wheel without notches
const GESTURE_MS = 200; // movements of one gesture follow each other faster

// As in a WheelEvent.
export interface WheelMovement {
  deltaY: number;
  deltaMode: number;
  wheelDeltaY?: number; // ticks upwards, 120 a notch; not in every browser
  timeStamp: number; // milliseconds
}

export class WheelSlices {
  private rest = 0; // part of a slice that is not scrolled yet
  private fineAt = Number.NEGATIVE_INFINITY;

  // Whole slices to scroll; down is positive.
  slicesOf(movement: WheelMovement): number {
    const { deltaY } = movement;
    if (!deltaY || !Number.isFinite(deltaY)) return 0;
    if (Math.sign(deltaY) !== Math.sign(this.rest)) this.rest = 0; // the other way: at once
    const notches = this.notches(movement);
    if (notches) {
      this.rest = 0;
      return Math.sign(deltaY) * notches;
    }
    this.rest += deltaY / (movement.deltaMode === LINE ? NOTCH_LINES : NOTCH_PX);
    const slices = Math.trunc(this.rest + Math.sign(this.rest) * 1e-9);
    this.rest -= slices;
    return slices || 0;
  }

  // Notches of a wheel that has some, at least one; 0 for a part of a notch.
  private notches({ deltaY, deltaMode, wheelDeltaY = 0, timeStamp }: WheelMovement): number {
    const size = Math.abs(deltaY);
    const ticks = Math.abs(wheelDeltaY);
    const isCounted = ticks > 0 && ticks % NOTCH_TICKS === 0;
    if (deltaMode !== PIXEL) {
      if (isCounted) return ticks / NOTCH_TICKS;
      if (size < 1) return 0;
      return deltaMode === LINE ? Math.max(1, Math.round(size / NOTCH_LINES)) : Math.round(size);
    }
    const isTrackpad = ticks === 3 * size || !isCounted; // browsers count three ticks for a pixel of a trackpad
    if (size < FINE_PX || (isTrackpad && timeStamp - this.fineAt < GESTURE_MS)) {
      this.fineAt = timeStamp;
      return 0;
    }
    return isCounted ? ticks / NOTCH_TICKS : Math.max(1, Math.round(size / NOTCH_PX));
  }
}
