// Toolbar, slider, rails and keyboard.

import { installHelp, isTyping } from "../shared/dialogs";
import { all, find } from "../shared/dom";
import { getJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { removeLastLength, type Tool, useTool } from "./engine";
import type { Pane } from "./pane";
import type { Viewer } from "./viewer";
import { isSameWindow, PRESETS, type Window } from "./window_level";

const SHOWN_AS_SAME_HU = 1;
const STAY_SIGNED_IN_MS = 60_000;

export class Controls {
  private readonly slider = find<HTMLInputElement>("slice");
  private askedAt = Date.now();
  private tool: Tool = "window";

  constructor(private readonly viewer: Viewer) {
    for (const button of all<HTMLButtonElement>("tool"))
      button.addEventListener("click", () => this.useTool(button.dataset.tool as Tool));
    find("tools").addEventListener("keydown", (event) => this.onToolKey(event));
    for (const button of all("window"))
      button.addEventListener("click", () => this.usePreset(button.dataset.window as string));
    find("series-list").addEventListener("click", (event) => {
      // the list is renewed with the analyses
      const uid = (event.target as Element).closest<HTMLElement>("[data-series]")?.dataset.series;
      if (uid) viewer.openSeries(uid).catch((error: Error) => viewer.pane.say(error.message));
    });
    find("marks").addEventListener("click", () => this.toggleMarks());
    find("reset").addEventListener("click", () => viewer.active.reset());
    find("previous").addEventListener("click", () => viewer.stepFinding(-1));
    find("next").addEventListener("click", () => viewer.stepFinding(1));
    this.slider.addEventListener("input", () => viewer.pane.go(Number(this.slider.value) - 1));
    document
      .querySelector("[data-again]")
      ?.addEventListener("click", () => void viewer.request("analyses", _("Asked for a new analysis.")));
    document
      .querySelector("[data-complete]")
      ?.addEventListener("click", () => void viewer.request("complete", _("Not waiting for more images.")));
    find("reveal").addEventListener("click", () => viewer.reveal());
    find<HTMLInputElement>("blind-mode").addEventListener("change", (event) =>
      viewer.hideModel((event.target as HTMLInputElement).checked),
    );
    find("back").addEventListener("click", (event) => {
      event.preventDefault();
      void viewer.goBack();
    });
    document.querySelector("[data-finish]")?.addEventListener("click", () => void viewer.finish());
    this.listenToKeys();
  }

  useTool(name: Tool): void {
    this.tool = name;
    useTool(name);
    for (const pane of [this.viewer.pane, this.viewer.comparison.pane]) pane?.setTool(name);
    for (const button of all<HTMLButtonElement>("tool")) {
      const isChosen = button.dataset.tool === name;
      button.setAttribute("aria-checked", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
    }
  }

  usePreset(name: string): void {
    const window = PRESETS[name] as Window;
    for (const pane of [this.viewer.pane, this.viewer.comparison.pane]) pane?.setWindow(window);
    this.showWindow(window);
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

  private toggleMarks(): void {
    this.viewer.areMarksShown = !this.viewer.areMarksShown;
    find("marks").setAttribute("aria-pressed", String(this.viewer.areMarksShown));
    this.viewer.draw();
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

  private listenToKeys(): void {
    const { viewer } = this;
    const go = (by: number) => () => viewer.active.step(by);
    const showHelp = installHelp();
    const keys: Record<string, () => void> = {
      ArrowUp: go(-1),
      ArrowDown: go(1),
      ArrowLeft: go(-1),
      ArrowRight: go(1),
      PageUp: go(-10),
      PageDown: go(10),
      Home: () => viewer.active.go(0),
      End: () => viewer.active.go(Infinity),
      n: () => viewer.stepFinding(1),
      p: () => viewer.stepFinding(-1),
      j: () => viewer.stepFinding(1),
      k: () => viewer.stepFinding(-1),
      a: () => void viewer.list.decide("accept"),
      r: () => void viewer.list.decide("reject"),
      u: () => void viewer.list.decide("unsure"),
      1: () => this.usePreset("lung"),
      2: () => this.usePreset("mediastinum"),
      3: () => this.usePreset("bone"),
      0: () => viewer.active.reset(),
      w: () => this.useTool("window"),
      g: () => this.useTool("pan"),
      z: () => this.useTool("zoom"),
      l: () => this.useTool("length"),
      m: () => {
        if (document.querySelector('[data-tool="mark"]')) this.useTool("mark");
      },
      Delete: () => {
        removeLastLength();
      },
      Backspace: () => {
        removeLastLength();
      },
      h: () => this.toggleMarks(),
      b: () => void viewer.comparison.toggleLatest(),
      y: () => viewer.comparison.link(!viewer.comparison.isLinked),
      "?": showHelp,
      e: () => void viewer.finish(),
      Escape: () => (this.tool === "window" ? void viewer.goBack() : this.useTool("window")),
    };
    document.addEventListener("keydown", (event) => {
      if (isTyping(event.target)) return;
      if ((event.ctrlKey || event.metaKey) && event.key === "z") {
        event.preventDefault();
        void viewer.list.undo();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const isSlider = (event.target as HTMLElement).matches?.('input[type="range"], input[type="radio"], select');
      if (isSlider && /^(Arrow|Page|Home|End)/.test(event.key)) return;
      const action = keys[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    });
  }
}
