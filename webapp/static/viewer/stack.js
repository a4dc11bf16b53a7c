// The slices of one series: fetched when asked for, then outwards from where the reader is.
import { getBlob } from "../http.js";

const AT_ONCE = 3; // the server has other things to do

export class Stack {
  constructor(slices, onLoaded = () => {}) {
    this.slices = slices;
    this.onLoaded = onLoaded;
    this.window = null;
    this.abort = new AbortController();
    this.blobs = new Map();
    this.at = 0;
    this.running = 0;
  }

  setWindow(window) {
    if (this.window && this.window.center === window.center && this.window.width === window.width) return;
    this.window = window;
    this.abort.abort();
    this.abort = new AbortController();
    this.blobs = new Map();
    this.running = 0;
  }

  // The slice as a bitmap; rejects with AbortError where the window changed meanwhile.
  async picture(index) {
    this.at = index;
    return createImageBitmap(await this.blob(index));
  }

  blob(index) {
    const known = this.blobs.get(index);
    if (known) return known;
    const { center, width } = this.window;
    const blobs = this.blobs;
    const asked = getBlob(`${this.slices[index].url}?center=${center}&width=${width}`, { signal: this.abort.signal });
    blobs.set(index, asked);
    asked.then(() => this.onLoaded(blobs.size, this.slices.length), () => blobs.delete(index));
    return asked;
  }

  prefetch() {
    const signal = this.abort.signal;
    while (this.running < AT_ONCE) {
      const next = this.nearestMissing();
      if (next === null) return;
      this.running += 1;
      const done = (succeeded) => {
        if (signal.aborted) return;
        this.running -= 1;
        if (succeeded) this.prefetch();
      };
      this.blob(next).then(() => done(true), () => done(false));
    }
  }

  nearestMissing() {
    for (let distance = 0; distance < this.slices.length; distance += 1) {
      for (const index of [this.at + distance, this.at - distance]) {
        if (index >= 0 && index < this.slices.length && !this.blobs.has(index)) return index;
      }
    }
    return null;
  }

  close() {
    this.abort.abort();
    this.blobs.clear();
  }
}
