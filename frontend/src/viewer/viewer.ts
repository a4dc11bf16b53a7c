// The viewer: puts panes, findings, the reading and the patient's other studies together.

import { ReportDialog } from "../report/report_dialog";
import type { Reported } from "../report/report_text";
import type { ModelStatus } from "../shared/api";
import { all, find, fromTemplate } from "../shared/dom";
import { DraftStore } from "../shared/drafts";
import { getJson, onSignedOut, postJson, RefusedError } from "../shared/http";
import { _ } from "../shared/i18n";
import { tabStorage } from "../shared/tab_storage";
import { BlindedReading } from "./blinded_reading";
import { Calipers } from "./calipers";
import { showCaveats } from "./caveats";
import { Comparison } from "./comparison";
import { Controls } from "./controls";
import { loadSeries, onFrameError, onPixelRatio } from "./engine";
import { FindingOverlay } from "./finding_overlay";
import { FindingList } from "./findings";
import { markRadiusMm } from "./geometry";
import { isHistogram } from "./histogram";
import { Leaving } from "./leaving";
import { refreshLiveParts } from "./live_parts";
import { imageNumber, type SlicePoint, sliceIndex, slicePointOf } from "./marks";
import { finish, goBack } from "./navigation";
import { stepThrough } from "./order";
import type { Explanation } from "./overlay";
import { Overruling } from "./overruling";
import { Pane, type PaneCalls } from "./pane";
import { Planes, type Target } from "./planes";
import { showReaders } from "./readers";
import { offerToSave } from "./signed_out";
import { isHeld, StudyRecord } from "./study_record";
import { Thumbnails } from "./thumbnails";
import { drawTicks } from "./ticks";
import type { Finding, Study } from "./types";
import { VerdictAnnouncer } from "./verdict_announcer";
import { PRESETS, type Window } from "./window_level";

const CROSSHAIR_GAP_MM = 2; // between a mark and the crosshair's lines

export class Viewer {
  readonly root = find("viewer");
  readonly studyUid = this.root.dataset.study as string;
  readonly api = `/api/v1/studies/${this.studyUid}`;
  readonly reader = this.root.dataset.reader ?? "";
  readonly mayDecide = this.root.dataset.mayDecide === "yes";
  readonly reading = new BlindedReading(this.studyUid, this.mayDecide, this.root.dataset.hideModel === "yes");
  readonly pane: Pane;
  readonly calipers: Calipers;
  readonly comparison: Comparison;
  readonly planes: Planes;
  readonly list: FindingList;
  readonly leaving: Leaving;
  private readonly images = new Map<string, number | null>(); // image numbers of findings' slices, once known
  readonly controls: Controls;
  readonly overruling: Overruling;
  readonly report: ReportDialog | null; // for those who may give verdicts
  active: Pane;
  readonly record = new StudyRecord();
  selected: string | null = null;
  explanation: Explanation | null = null;
  readonly overlay = new FindingOverlay(() => this.draw());
  private readonly thumbnails = new Thumbnails(this.studyUid);
  private opening: string | null = null;

  constructor() {
    const calls: PaneCalls = {
      shown: (pane) => this.onShown(pane),
      windowed: (pane, window) => this.onWindow(pane, window),
      loaded: (pane, loaded, all) => this.onLoaded(pane, loaded, all),
      picked: (pane, id) => {
        if (pane === this.pane) void this.select(id);
      },
      marked: (pane, row, column) => void this.mark(pane, row, column),
      pointed: (pane, row, column) => {
        if (pane === this.pane) this.planes.goTo({ row, column });
      },
      entered: (pane) => this.enter(pane),
    };
    this.pane = this.active = new Pane(find("pane"), "main", calls);
    this.calipers = new Calipers(this.pane, {
      selected: () => this.shownFindings().find(({ id }) => id === this.selected) ?? null,
      measured: (size) => this.list.measure(size),
      done: () => this.controls.useTool("window"),
    });
    this.planes = new Planes(
      this.pane,
      () => ({ ...this.controls.display, window: this.pane.chosenWindow ?? (PRESETS.lung as Window) }),
      () => {
        this.controls.showPlanes(this.planes.isOpen);
        this.draw();
      },
    );
    this.comparison = new Comparison(this.pane, calls, () => {
      if (this.comparison.pane) this.planes.close();
      this.controls.prepare();
      this.draw();
    });
    const announcer = new VerdictAnnouncer(this);
    const reader = { name: this.reader, mayDecide: this.mayDecide };
    this.list = new FindingList(find("findings"), reader, new DraftStore(this.studyUid, reader.name, tabStorage()), {
      select: (id) => void this.select(id === this.selected ? null : id),
      changed: (finding) => this.replace(finding),
      decided: (id, decision, isFirst) => announcer.decided(id, decision, isFirst),
      undone: (finding, what) => announcer.undone(finding, what),
      measured: (finding) => announcer.measured(finding),
      commented: () => this.pane.view.focus({ preventScroll: true }),
      withdrawn: (finding) => this.remove(finding),
      failed: (error) => this.onFailure(error),
      explained: (explanation) => {
        this.explanation = explanation;
        this.draw();
      },
      typed: () => this.controls.staySignedIn(),
    });
    this.leaving = new Leaving(this.list);
    onSignedOut(() => {
      if (!this.overruling.isOpen) offerToSave(this.list); // an open dialog says so, and has the reason that was typed
    });
    this.controls = new Controls(this);
    this.overruling = new Overruling(`${this.api}/overruled`, () => {
      void this.afterRequest(_("Analysis requested."));
    });
    this.report = this.mayDecide ? new ReportDialog(() => this.reported()) : null;
    const fit = () => {
      for (const pane of this.panes) pane.fit();
    };
    addEventListener("resize", fit); // before the browser draws; what else changes a pane's size is observed
    onPixelRatio(fit);
    onFrameError((imageId) => {
      for (const pane of this.panes) pane.frameFailed(imageId);
    });
  }

  get panes(): Pane[] {
    return [this.pane, this.comparison.pane].filter((pane) => pane !== null);
  }

  async start(): Promise<void> {
    this.controls.useTool("window");
    this.controls.usePreset("lung");
    this.record.study = await getJson<Study>(this.api);
    this.overruling.show(this.record.study);
    this.draw();
    const { unsaved } = this.list.decisions;
    const first = this.shownFindings().find(({ id }) => unsaved.includes(id)) ?? this.shownFindings()[0] ?? null;
    const uid = first?.series_instance_uid ?? this.record.largestSeries;
    if (!uid) {
      this.pane.say(_("No images have arrived yet."));
      return;
    }
    this.selected = first?.id ?? null;
    await this.openSeries(uid, first);
    const { metrics } = await getJson<ModelStatus>("/model_status");
    if (isHistogram(metrics?.histogram)) this.list.histogram = metrics.histogram;
    this.draw();
  }

  /* what is shown */

  shownFindings(): Finding[] {
    return this.record.shown(this.reading.isHidden);
  }

  draw(): void {
    const findings = this.shownFindings();
    this.learnImages(findings);
    this.list.render({
      findings,
      images: this.images,
      selected: this.selected,
      isBlind: this.reading.isHidden,
      explanation: this.explanation,
    });
    find("finding-count").textContent = this.reading.isHidden ? _("hidden") : String(findings.length);
    find("blind").hidden = !this.reading.isHidden;
    const { selected } = this;
    const explanation = this.reading.isHidden ? null : this.explanation;
    const overlaid = this.overlay.on(this.pane, { findings, selected, explanation });
    this.pane.draw({ ...overlaid, crosshair: this.planes.crosshair });
    const other = this.comparison.pane;
    const compared = this.reading.isHidden ? [] : (other?.study?.findings ?? []);
    if (other?.study) other.draw(this.overlay.on(other, { findings: compared, selected, explanation: null }));
    drawTicks(
      findings.map((finding) => this.sliceOf(this.pane, finding)),
      this.pane.series?.slices.length ?? 0,
    );
  }

  // Learn image numbers and crops of findings from the pane's series.
  private learnImages(findings: Finding[]): void {
    const { series, slice } = this.pane;
    if (!series || !slice) return;
    for (const finding of findings) {
      const own = series.slices[sliceIndex(series, finding)];
      if (own) this.images.set(finding.id, imageNumber(series.slices, own));
    }
    void this.list.crops.draw(series, findings);
  }

  private reported(): Reported[] {
    return this.shownFindings().map((finding, index) => ({
      number: index + 1,
      finding,
      image: this.images.get(finding.id) ?? null,
      series: this.record.series(finding.series_instance_uid)?.series_number ?? null,
    }));
  }

  private sliceOf(pane: Pane, finding: Finding): number {
    return slicePointOf(pane.series, finding)?.index ?? -1;
  }

  /* what happens in the panes */

  private onShown(pane: Pane): void {
    if (pane === this.pane) {
      this.controls.showSlice(pane);
      this.reading.begin();
      performance.mark("viewer:first-slice");
    }
    if (pane === this.pane) this.planes.follow();
    this.comparison.follow(pane);
    this.draw();
  }

  private onWindow(pane: Pane, window: Window): void {
    this.controls.showWindow(window);
    const other = pane === this.pane ? this.comparison.pane : this.pane;
    if (other && pane === this.active) other.setWindow(window);
    this.planes.drawSoon();
  }

  private onLoaded(pane: Pane, loaded: number, all: number): void {
    if (pane !== this.pane) return;
    this.controls.showLoaded(loaded, all);
    this.planes.drawSoon();
    if (loaded !== all) return;
    performance.mark("viewer:all-slices");
    this.showThumbnails();
  }

  private showThumbnails(): void {
    const { study } = this.record;
    if (study) void this.thumbnails.show(study);
  }

  // Open the planes through the selected finding, or close them; they take the room of a compared study.
  togglePlanes(): void {
    if (this.planes.isOpen) {
      this.planes.close();
      return;
    }
    if (this.comparison.pane) this.comparison.close();
    const finding = this.shownFindings().find(({ id }) => id === this.selected);
    const point = finding ? slicePointOf(this.pane.series, finding) : null;
    this.planes.open(finding && point ? targetOf(finding, point) : null);
    if (point) this.pane.go(point.index);
  }

  reset(): void {
    this.active.reset();
    this.planes.reset();
  }

  private enter(pane: Pane): void {
    this.active = pane;
    for (const one of this.panes) one.root.classList.toggle("active", one === pane && this.comparison.pane !== null);
  }

  private async mark(pane: Pane, row: number, column: number): Promise<void> {
    const slice = pane.slice;
    if (pane !== this.pane || !pane.series || !slice) {
      pane.say(_("You can only mark nodules in the current study."));
      return;
    }
    pane.draw({ pending: { row, column } });
    pane.say("");
    try {
      const finding = await postJson<Finding>(`${this.api}/findings`, {
        series_instance_uid: pane.series.uid,
        sop_instance_uid: slice.sop_instance_uid,
        row,
        column,
        frame_number: slice.frame_number,
      });
      this.record.add(finding);
      this.list.history.add(finding.id);
      await this.select(finding.id);
      this.controls.useTool("window");
    } catch (error) {
      pane.say((error as Error).message);
    } finally {
      pane.draw({ pending: null });
    }
  }

  /* series and findings */

  async openSeries(uid: string, finding: Finding | null = null): Promise<void> {
    const [{ study }, item] = [this.record, this.record.series(uid)];
    if (!study || !item) return;
    this.controls.showSeries(uid);
    this.pane.say(_("Loading…"));
    this.opening = uid;
    const series = await loadSeries(this.studyUid, uid);
    if (this.opening !== uid) return; // another one was chosen meanwhile
    const at = finding ? sliceIndex(series, finding) : -1;
    await this.pane.show(study, item, series, at >= 0 ? at : Math.floor(series.slices.length / 2));
    this.draw();
  }

  async select(id: string | null, { isCentred = false } = {}): Promise<void> {
    this.selected = id;
    const finding = this.shownFindings().find((candidate) => candidate.id === id);
    const point = finding ? slicePointOf(this.pane.series, finding) : null;
    if (finding && point) this.bring(finding, point, isCentred);
    else if (finding && finding.series_instance_uid !== this.pane.series?.uid)
      await this.openSeries(finding.series_instance_uid, finding).catch((error: Error) => this.pane.say(error.message));
    this.draw();
  }

  private bring(finding: Finding, point: SlicePoint, isCentred: boolean): void {
    const { index, row, column } = point;
    this.pane.bring({ index, row, column, radiusMm: markRadiusMm(finding, 0) ?? 0, isCentred });
    this.planes.goTo(targetOf(finding, point));
    if (isCentred) this.planes.centre();
  }

  // Go to the next or previous finding and centre it.
  stepFinding(by: number): void {
    const id = stepThrough(
      this.shownFindings().map((finding) => finding.id),
      this.selected,
      by,
    );
    if (id) void this.select(id, { isCentred: true });
  }

  /* verdicts */

  private replace(finding: Finding): void {
    this.record.replace(finding);
    this.draw();
  }

  private remove(finding: Finding): void {
    this.record.remove(finding);
    this.selected = null;
    this.draw();
  }

  /* the study */

  hideModel(isHidden: boolean): void {
    this.reading.choose(isHidden);
    void this.afterHiding();
  }

  async goBack(): Promise<void> {
    if (await this.leaving.isAllowed()) goBack();
  }

  async finish(): Promise<void> {
    if (!all("finish").length || !(await this.leaving.isAllowed())) return;
    await finish(this.studyUid).catch((error: Error) => this.pane.say(error.message));
  }

  reveal(): void {
    this.reading.reveal();
    void this.afterHiding();
  }

  // Hidden results were not sent: ask again for this study and for the compared one.
  private async afterHiding(): Promise<void> {
    this.explanation = null;
    this.draw();
    await Promise.all([this.refresh(), this.comparison.refresh()]).catch((error: Error) =>
      this.pane.say(error.message),
    );
    if (!this.shownFindings().some(({ id }) => id === this.selected)) this.selected = null;
    this.draw();
  }

  // Read the study again; what has not changed is not drawn again.
  async refresh(): Promise<void> {
    const news = await this.record.refresh(() => getJson<Study>(this.api, { background: true }));
    if (!news) return;
    const { study, isSettled } = news;
    if (isSettled) await this.refreshPage();
    find("state").replaceChildren(fromTemplate(`[data-chip="${isHeld(study) ? "held" : study.state}"]`));
    this.controls.showState(study.state);
    this.overruling.show(study);
    showCaveats(study.caveats);
    showReaders(study.readers);
    if (!study.findings.some(({ id }) => id === this.selected)) this.selected = null;
    this.draw();
  }

  // There is a new answer: take over what only the server writes, and leave what the reader has done as it is.
  private async refreshPage(): Promise<void> {
    this.list.emptyText = (await refreshLiveParts()) ?? this.list.emptyText;
    this.showThumbnails();
    const uid = this.pane.series?.uid ?? this.record.largestSeries;
    if (uid && !this.pane.series) await this.openSeries(uid);
    else if (uid) this.controls.showSeries(uid);
  }

  /* what could not be saved */

  private onFailure(error: Error): void {
    if (!(error instanceof RefusedError && error.status === 401)) this.pane.say(error.message);
  }

  async request(path: string, done: string, body: object = {}): Promise<void> {
    try {
      await postJson(`${this.api}/${path}`, body);
      await this.afterRequest(done);
      await this.refreshPage(); // the series are queued now
    } catch (error) {
      this.pane.say((error as Error).message);
    }
  }

  private async afterRequest(done: string): Promise<void> {
    this.pane.say(done);
    await this.refresh().catch((error: Error) => this.pane.say(error.message));
  }
}

// The crosshair of a finding, which leaves its mark free.
function targetOf(finding: Finding, { index, row, column }: SlicePoint): Target {
  return { row, column, slice: index, gapMm: (markRadiusMm(finding, 0) ?? 0) + CROSSHAIR_GAP_MM };
}
