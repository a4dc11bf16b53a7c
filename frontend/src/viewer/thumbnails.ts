// Thumbnails of the series: the middle slice of each, fetched one after the other once the slices are here.
import type { Slices } from "../shared/api";
import { all, element } from "../shared/dom";
import { getJson } from "../shared/http";
import { thumbnailUrl } from "./thumbnail_url";
import type { Study } from "./types";

export class Thumbnails {
  private readonly urls = new Map<string, string | null>();

  constructor(private readonly studyUid: string) {}

  // Put a thumbnail into every series of the list; one that cannot be rendered is left out.
  async show({ series }: Study): Promise<void> {
    for (const { series_instance_uid: uid, modality } of series) {
      const button = all<HTMLElement>("series").find((candidate) => candidate.dataset.series === uid);
      if (!button || button.querySelector("img")) continue;
      const url = this.urls.get(uid) ?? (await this.urlOf(uid, modality));
      this.urls.set(uid, url);
      if (!url) continue;
      const image = element("img", { class: "thumb", alt: "", width: 48, height: 48, src: url });
      image.addEventListener("error", () => image.remove());
      button.querySelector("b")?.append(image);
      await image.decode().catch(() => undefined);
    }
  }

  private async urlOf(uid: string, modality: string): Promise<string | null> {
    try {
      const { slices } = await getJson<Slices>(`/api/v1/studies/${this.studyUid}/series/${uid}/slices`);
      return thumbnailUrl(`${this.studyUid}/series/${uid}`, modality, slices);
    } catch {
      return null;
    }
  }
}
