// Another study of the same patient, in a second pane; its slices follow the first one's by their place in the patient.

import { all, element, find } from "../shared/dom";
import { getJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { loadSeries } from "./engine";
import { linkOffsetMm, nearestSlice } from "./geometry";
import { mostSimilarSeries } from "./order";
import { Pane, type PaneCalls } from "./pane";
import type { SeriesItem, Study } from "./types";

const PANE_ID = "comparison";

export class Comparison {
  pane: Pane | null = null;
  isLinked = true;
  private offsetMm = 0; // height in the other study that corresponds to height 0 in this one

  constructor(
    private readonly first: Pane,
    private readonly calls: PaneCalls,
    private readonly changed: () => void,
  ) {
    for (const button of all<HTMLButtonElement>("other"))
      button.addEventListener("click", () => void this.toggle(button.dataset.other as string));
    find("link").addEventListener("click", () => this.link(!this.isLinked));
  }

  get studyUid(): string | null {
    return this.pane?.study?.study_instance_uid ?? null;
  }

  // The latest earlier study, or none any more.
  async toggleLatest(): Promise<void> {
    const latest = all<HTMLButtonElement>("other")[0]?.dataset.other;
    if (this.pane) this.close();
    else if (latest) await this.open(latest);
  }

  async toggle(studyUid: string): Promise<void> {
    const isOpen = this.studyUid === studyUid;
    if (isOpen) this.close();
    else await this.open(studyUid);
  }

  async open(studyUid: string): Promise<void> {
    try {
      const study = await getJson<Study>(`/api/v1/studies/${studyUid}`);
      const item = this.mostSimilar(study);
      if (!item) {
        this.first.say(_("That study has no images."));
        return;
      }
      this.pane ??= this.createPane();
      await this.show(study, item);
    } catch (error) {
      this.first.say((error as Error).message);
    }
    this.showState();
  }

  // Read again what is known of the other study.
  async refresh(): Promise<void> {
    const pane = this.pane;
    if (pane?.study) pane.study = await getJson<Study>(`/api/v1/studies/${pane.study.study_instance_uid}`);
  }

  close(): void {
    this.pane?.close();
    this.pane = null;
    find("panes").classList.remove("two");
    this.first.fit(); // at once, before the next picture of the page
    this.calls.entered(this.first);
    this.showState();
  }

  // Scroll the other pane to the place in the patient that this one shows.
  follow(from: Pane): void {
    const to = from === this.first ? this.pane : this.first;
    const z = from.slice?.position_mm?.[2];
    if (!this.pane || !to?.series || !this.isLinked || from.isFollowing || z === undefined) return;
    const index = nearestSlice(to.series.slices, from === this.first ? z + this.offsetMm : z - this.offsetMm);
    if (index === null || index === to.index) return;
    to.go(index, { isFollowing: true });
  }

  link(isLinked: boolean): void {
    this.isLinked = isLinked;
    const [here, there] = [this.first.slice?.position_mm?.[2], this.pane?.slice?.position_mm?.[2]];
    // as the reader has put them
    if (isLinked && here !== undefined && there !== undefined) this.offsetMm = there - here;
    this.showState();
  }

  private async show(study: Study, item: SeriesItem): Promise<void> {
    const pane = this.pane as Pane;
    const series = await loadSeries(study.study_instance_uid, item.series_instance_uid);
    if (this.pane !== pane) return; // closed meanwhile
    this.offsetMm = this.shareFrame(study) ? 0 : linkOffsetMm(this.first.series?.slices ?? [], series.slices);
    const z = this.first.slice?.position_mm?.[2];
    const index = z === undefined ? null : nearestSlice(series.slices, z + this.offsetMm);
    pane.isFollowing = true; // to open it is no reason to move the other one
    await pane.show(study, item, series, index ?? Math.floor(series.slices.length / 2));
    if (this.pane === pane) this.listSeries(study, item);
    this.changed();
  }

  // Heights mean the same in one study only: tables stand elsewhere on another day.
  private shareFrame(study: Study): boolean {
    return study.study_instance_uid === this.first.study?.study_instance_uid;
  }

  private mostSimilar(study: Study): SeriesItem | null {
    const uid = this.first.series?.uid;
    return mostSimilarSeries(
      study.series,
      this.first.study?.series.find(({ series_instance_uid }) => series_instance_uid === uid),
    );
  }

  private createPane(): Pane {
    const fragment = find<HTMLTemplateElement>("pane-comparison").content.cloneNode(true) as DocumentFragment;
    const root = fragment.firstElementChild as HTMLElement;
    find("panes").append(root);
    find("panes").classList.add("two");
    find("close-comparison", root).addEventListener("click", () => this.close());
    const pane = new Pane(root, PANE_ID, this.calls);
    this.first.fit(); // it has half the room now
    pane.setTool(this.first.tool);
    if (this.first.chosenWindow) pane.setWindow(this.first.chosenWindow);
    return pane;
  }

  private listSeries(study: Study, shown: SeriesItem): void {
    const picker = find<HTMLSelectElement>("comparison-series", (this.pane as Pane).root);
    picker.replaceChildren(
      ...study.series.map((item) =>
        element(
          "option",
          { value: item.series_instance_uid, selected: item === shown },
          `${item.series_number ?? "–"} ${item.series_description || item.modality} (${item.instance_count})`,
        ),
      ),
    );
    picker.onchange = () => {
      const item = study.series.find(({ series_instance_uid }) => series_instance_uid === picker.value);
      if (item) this.show(study, item).catch((error: Error) => this.pane?.say(error.message));
    };
  }

  private showState(): void {
    for (const button of all("other"))
      button.setAttribute("aria-pressed", String(button.dataset.other === this.studyUid));
    const link = find("link");
    link.hidden = !this.pane;
    link.setAttribute("aria-pressed", String(this.isLinked));
    this.changed();
  }
}
