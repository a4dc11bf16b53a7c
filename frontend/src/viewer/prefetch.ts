// Fetches the frames of a series outwards from where the reader is, so that scrolling never waits for long.
import { cache, imageLoader } from "@cornerstonejs/core";
import type { Series } from "./engine";
import { nearestIndex } from "./order";

const AT_ONCE = 5;

export class Prefetch {
  private running = 0;
  private closed = false;
  private at = 0;
  private readonly waiting: Set<number>;

  constructor(
    private readonly series: Series,
    private readonly onLoaded: (loaded: number, all: number) => void,
  ) {
    this.waiting = new Set(series.imageIds.keys());
  }

  // Called at every slice that is shown.
  from(index: number): void {
    this.at = index;
    this.fill();
  }

  close(): void {
    this.closed = true;
  }

  private fill(): void {
    while (!this.closed && this.running < AT_ONCE) {
      const next = nearestIndex(this.waiting, this.at);
      if (next === null) return;
      this.waiting.delete(next);
      this.running += 1;
      this.load(this.series.imageIds[next] as string).finally(() => {
        this.running -= 1;
        if (this.closed) return;
        const all = this.series.imageIds.length;
        this.onLoaded(all - this.waiting.size - this.running, all);
        this.fill();
      });
    }
  }

  private async load(imageId: string): Promise<void> {
    try {
      if (!cache.getImageLoadObject(imageId))
        await imageLoader.loadAndCacheImage(imageId, { priority: 5, requestType: "prefetch" });
      else await cache.getImageLoadObject(imageId)?.promise;
    } catch {
      // reported when the reader opens that slice
    }
  }
}
