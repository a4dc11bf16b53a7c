// Toolbar, slider and rails.

import { all, find } from "../shared/dom";
import { getJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { choose, isChosen } from "../shared/preferences";
import { Cine } from "./cine";
import { type Tool, useTool } from "./engine";
import { listenToKeys } from "./keyboard";
import { stepThrough } from "./order";
import type { Pane } from "./pane";
import { SLABS_MM } from "./reslice";
import type { Viewer } from "./viewer";
import { isSameWindow, PRESETS, type Window } from "./window_level";

const SHOWN_AS_SAME_HU = 1;
const STAY_SIGNED_IN_MS = 60_000;

export class Controls {
  private readonly slider = find<HTMLInputElement>("slice");
  private askedAt = Date.now();
  private tool: Tool = "window";
  private isInverted = false;
  private isLensOn = false;
  private slabMm = 0;
  isAdvancing = isChosen("advance", true); // to the next unread finding after a verdict
  readonly cine = new Cine((isRunning) => this.press("cine", isRunning));

  constructor(private readonly viewer: Viewer) {
    for (const button of all<HTMLButtonElement>("tool"))
      button.addEventListener("click", () => this.useTool(button.dataset.tool as Tool));
    find("tools").addEventListener("keydown", (event) => this.onToolKey(event));
    for (const button of all("window"))
      button.addEventListener("click", () => this.usePreset(button.dataset.window as string));
    find("series-list").addEventListener("click", (event) => {
      // the list is renewed with the analyses
      const button = (event.target as Element).closest<HTMLElement>("[data-series], [data-analyse]");
      const { series: uid, analyse } = button?.dataset ?? {};
      if (analyse) void viewer.request("analyses", _("Analysis requested."), { series_instance_uid: analyse });
      if (uid) viewer.openSeries(uid).catch((error: Error) => viewer.pane.say(error.message));
    });
    find("marks").addEventListener("click", () => this.toggleMarks());
    find("planes").addEventListener("click", () => this.togglePlanes());
    find("slab").addEventListener("click", () => this.nextSlab());
    find("invert").addEventListener("click", () => this.toggleInvert());
    find("cine").addEventListener("click", () => this.cine.toggle(viewer.active));
    find("magnify").addEventListener("click", () => this.toggleLens());
    find("full-screen").addEventListener("click", () => this.toggleFullScreen());
    document.addEventListener("fullscreenchange", () => this.press("full-screen", document.fullscreenElement !== null));
    for (const name of ["wheel", "pointerdown"] as const)
      find("panes").addEventListener(name, () => this.cine.stop(), { passive: true });
    find("reset").addEventListener("click", () => viewer.reset());
    find("previous").addEventListener("click", () => viewer.stepFinding(-1));
    find("next").addEventListener("click", () => viewer.stepFinding(1));
    this.slider.addEventListener("input", () => {
      this.cine.stop();
      viewer.pane.go(Number(this.slider.value) - 1);
    });
    document
      .querySelector("[data-again]")
      ?.addEventListener("click", () => void viewer.request("analyses", _("Analysis requested.")));
    document
      .querySelector("[data-complete]")
      ?.addEventListener("click", () => void viewer.request("complete", _("Study closed for new images.")));
    find("reveal").addEventListener("click", () => viewer.reveal());
    find<HTMLInputElement>("blind-mode").addEventListener("change", (event) =>
      viewer.hideModel((event.target as HTMLInputElement).checked),
    );
    const advance = document.querySelector<HTMLInputElement>("[data-advance]");
    if (advance) advance.checked = this.isAdvancing;
    advance?.addEventListener("change", () => {
      this.isAdvancing = advance.checked;
      choose("advance", this.isAdvancing);
    });
    find("back").addEventListener("click", (event) => {
      event.preventDefault();
      void viewer.goBack();
    });
    document.querySelector("[data-finish]")?.addEventListener("click", () => void viewer.finish());
    listenToKeys(viewer, this);
  }

  useTool(name: Tool): void {
    if (name !== "size" && this.tool === "size") this.viewer.calipers.clear();
    this.tool = name;
    useTool(name);
    for (const pane of this.viewer.panes) pane.setTool(name);
    for (const button of all<HTMLButtonElement>("tool")) {
      const isChosen = button.dataset.tool === name;
      button.setAttribute("aria-checked", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
    }
  }

  usePreset(name: string): void {
    const window = PRESETS[name] as Window;
    for (const pane of this.viewer.panes) pane.setWindow(window);
    this.showWindow(window);
    this.viewer.planes.drawSoon();
  }

  showWindow(window: Window): void {
    for (const button of all("window")) {
      const preset = PRESETS[button.dataset.window as string] as Window;
      button.setAttribute("aria-pressed", String(isSameWindow(window, preset, SHOWN_AS_SAME_HU)));
    }
  }

  showSlice(pane: Pane): void {
    const count = pane.series?.slices.length ?? 1;
    this.slider.max = String(count);
    this.slider.value = String(pane.index + 1);
    this.slider.setAttribute("aria-valuetext", _("Slice {number} of {count}", { number: pane.index + 1, count }));
    this.staySignedIn();
  }

  showLoaded(loaded: number, all: number): void {
    const bar = find<HTMLProgressElement>("loading");
    [bar.max, bar.value, bar.hidden] = [all, loaded, loaded === all];
    this.viewer.root.dataset.loaded = String(loaded);
  }

  showSeries(uid: string): void {
    for (const button of all("series")) button.setAttribute("aria-current", String(button.dataset.series === uid));
  }

  showState(state: string): void {
    document.querySelector("[data-complete]")?.toggleAttribute("hidden", state !== "receiving");
    document.querySelector("[data-again]")?.toggleAttribute("hidden", state === "receiving");
  }

  // Slices that are here already ask the server for nothing, nor does writing; whoever does so is not idle.
  staySignedIn(): void {
    if (Date.now() - this.askedAt < STAY_SIGNED_IN_MS) return;
    this.askedAt = Date.now();
    getJson(this.viewer.api).catch(() => undefined);
  }

  get isWindowing(): boolean {
    return this.tool === "window";
  }

  toggleMarks(): void {
    const { overlay } = this.viewer;
    overlay.areMarksShown = !overlay.areMarksShown;
    this.press("marks", overlay.areMarksShown);
    this.viewer.draw();
  }

  toggleInvert(): void {
    this.isInverted = !this.isInverted;
    this.press("invert", this.isInverted);
    this.prepare();
  }

  toggleLens(): void {
    this.isLensOn = !this.isLensOn;
    this.press("magnify", this.isLensOn);
    this.prepare();
  }

  // The next thickness: none, 5, 8, 10 mm.
  nextSlab(): void {
    this.slabMm = stepThrough(SLABS_MM, this.slabMm, 1) ?? 0;
    this.press("slab", this.slabMm > 0);
    this.prepare();
  }

  togglePlanes(): void {
    this.viewer.togglePlanes();
  }

  showPlanes(isOpen: boolean): void {
    this.press("planes", isOpen);
  }

  get display(): { slabMm: number; isInverted: boolean } {
    return { slabMm: this.slabMm, isInverted: this.isInverted };
  }

  // Show panes, also one that was opened since, as the toggles say.
  prepare(): void {
    for (const pane of this.viewer.panes) {
      pane.invert(this.isInverted);
      pane.lens.show(this.isLensOn);
      pane.setSlab(this.slabMm).catch((error: Error) => pane.say(error.message));
    }
    this.viewer.planes.drawSoon();
  }

  toggleFullScreen(): void {
    const change = document.fullscreenElement ? document.exitFullscreen() : find("stage-area").requestFullscreen();
    change.catch((error: Error) => this.viewer.pane.say(error.message));
  }

  private press(name: string, isPressed: boolean): void {
    find(name).setAttribute("aria-pressed", String(isPressed));
  }

  private onToolKey(event: KeyboardEvent): void {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.stopPropagation();
    event.preventDefault();
    const buttons = all<HTMLButtonElement>("tool");
    const next = buttons[(buttons.indexOf(event.target as HTMLButtonElement) + by + buttons.length) % buttons.length];
    this.useTool(next?.dataset.tool as Tool);
    next?.focus();
  }
}
