// The viewer: puts stack, stage and findings together.
import { getJson, postJson } from "../http.js";
import { installHelp, isTyping, listen } from "../live.js";
import { fromTemplate, svg } from "./dom.js";
import { FindingList } from "./findings.js";
import { distanceMm, fromTheHead, markRadii } from "./geometry.js";
import { Stack } from "./stack.js";
import { Stage } from "./stage.js";

const WINDOWS = { lung: [-600, 1500], mediastinum: [50, 400], bone: [400, 1800] }; // center and width in HU
const root = document.querySelector("[data-viewer]");
const studyUid = root.dataset.study;
const api = `/api/v1/studies/${studyUid}`;
const find = (name) => document.querySelector(`[data-${name}]`);

const state = { study: null, series: null, slices: [], index: 0, selected: null, isBlind: false, areMarksShown: true };
let stack = null;
let drawing = 0;

const stage = new Stage(find("stage"), { scroll: (by) => go(state.index + by), window: setWindow, mark, pick: select });
const list = new FindingList(find("findings"), root.dataset.mayDecide === "yes", {
  select: (id) => select(id === state.selected ? null : id),
  changed: replaceFinding,
  failed: (error) => stage.say(error.message),
});

/* what is shown */

function shownFindings() {
  const all = state.study?.findings || [];
  return state.isBlind ? all.filter((finding) => finding.origin === "reader") : all;
}

function sliceOf(finding) {
  return state.slices.findIndex((slice) => slice.sop_instance_uid === finding.sop_instance_uid && slice.frame_number === finding.frame_number);
}

function marksHere() {
  if (!state.areMarksShown) return [];
  const here = state.slices[state.index];
  return shownFindings().flatMap((finding, position) => {
    if (finding.series_instance_uid !== state.series) return [];
    const own = sliceOf(finding);
    if (own < 0) return [];
    const isOwn = own === state.index;
    const radii = markRadii(finding, here, isOwn ? 0 : distanceMm(here.position_mm, state.slices[own].position_mm));
    if (!radii) return [];
    const classes = [finding.origin, finding.verdict, isOwn ? "" : "near", finding.id === state.selected ? "selected" : ""].filter(Boolean).join(" ");
    return [{ id: finding.id, row: finding.row, column: finding.column, ...radii, classes, label: isOwn ? String(position + 1) : "" }];
  });
}

function drawTicks() {
  const ticks = find("ticks");
  const here = shownFindings().filter((finding) => finding.series_instance_uid === state.series).map(sliceOf).filter((index) => index >= 0);
  ticks.setAttribute("viewBox", `0 0 ${Math.max(state.slices.length, 1)} 4`);
  const wide = Math.max(state.slices.length / 300, 0.3);
  ticks.replaceChildren(...here.map((index) => svg("rect", { x: index + 0.5 - wide / 2, y: 0, width: wide, height: 4 })));
}

function showFindings() {
  list.render(shownFindings(), state.selected);
  find("finding-count").textContent = state.isBlind ? "hidden" : String(shownFindings().length);
  find("blind").hidden = !state.isBlind;
  if (state.slices.length) stage.setMarks(marksHere());
  drawTicks();
}

async function draw() {
  const turn = ++drawing;
  const { index, slices } = state;
  try {
    const bitmap = await stack.picture(index);
    if (turn !== drawing) { bitmap.close(); return; }
    stage.show(slices[index], bitmap, { index, count: slices.length });
    stage.setMarks(marksHere());
    stage.say("");
    root.dataset.shown = `${index}`;
  } catch (error) {
    if (error.name !== "AbortError" && turn === drawing) stage.say(error.message);
  }
  stack.prefetch();
}

function go(index) {
  if (!state.slices.length) return;
  state.index = Math.min(state.slices.length - 1, Math.max(0, index));
  const slider = find("slice");
  slider.value = String(state.index + 1);
  slider.setAttribute("aria-valuetext", `Slice ${state.index + 1} of ${state.slices.length}`);
  draw();
}

let settle = 0;
function setWindow(center, width) {
  stage.setWindow(center, width);
  for (const button of document.querySelectorAll("[data-window]")) {
    const [presetCenter, presetWidth] = WINDOWS[button.dataset.window];
    button.setAttribute("aria-pressed", String(presetCenter === center && presetWidth === width));
  }
  clearTimeout(settle);
  settle = setTimeout(() => {
    stack?.setWindow({ center: Math.round(center), width: Math.round(width) });
    if (state.slices.length) draw();
  }, 30);
}

function usePreset(name) {
  setWindow(...WINDOWS[name]);
}

/* series and study */

async function openSeries(uid, { finding = null } = {}) {
  state.series = uid;
  for (const button of document.querySelectorAll("[data-series]")) button.setAttribute("aria-current", String(button.dataset.series === uid));
  stack?.close();
  stage.say("Loading…");
  const { slices } = await getJson(`${api}/series/${uid}/slices`);
  if (state.series !== uid) return;
  state.slices = fromTheHead(slices);
  stack = new Stack(state.slices);
  stack.setWindow({ center: Math.round(stage.window.center), width: Math.round(stage.window.width) });
  find("slice").max = String(Math.max(slices.length, 1));
  if (!slices.length) { stage.say("This series has no slices that can be shown."); return; }
  const at = finding ? sliceOf(finding) : -1;
  go(at >= 0 ? at : Math.floor(slices.length / 2));
  showFindings();
}

function firstSeries() {
  const withFinding = shownFindings()[0]?.series_instance_uid;
  const largest = [...state.study.series].sort((a, b) => b.instance_count - a.instance_count)[0];
  return withFinding || largest?.series_instance_uid || null;
}

async function select(id) {
  state.selected = id;
  const finding = shownFindings().find((candidate) => candidate.id === id);
  if (finding) {
    if (finding.series_instance_uid !== state.series) await openSeries(finding.series_instance_uid, { finding });
    else if (sliceOf(finding) >= 0) go(sliceOf(finding));
  }
  showFindings();
}

function stepFinding(by) {
  const ids = shownFindings().map((finding) => finding.id);
  if (!ids.length) return;
  const at = ids.indexOf(state.selected);
  select(ids[at < 0 ? (by > 0 ? 0 : ids.length - 1) : (at + by + ids.length) % ids.length]);
}

function replaceFinding(finding) {
  state.study.findings = state.study.findings.map((known) => (known.id === finding.id ? finding : known));
  showFindings();
}

async function mark(row, column) {
  const slice = state.slices[state.index];
  stage.setPending({ row, column });
  stage.say("");
  try {
    const finding = await postJson(`${api}/findings`, {
      series_instance_uid: state.series, sop_instance_uid: slice.sop_instance_uid, row, column, frame_number: slice.frame_number,
    });
    state.study.findings = [...state.study.findings, finding];
    select(finding.id);
    chooseTool("window");
  } catch (error) {
    stage.say(error.message);
  } finally {
    stage.setPending(null);
  }
}

async function refresh() {
  const study = await getJson(api, { background: true });
  const before = state.study;
  state.study = study;
  find("state").replaceChildren(fromTemplate(`[data-chip="${study.state}"]`));
  find("complete")?.toggleAttribute("hidden", study.state !== "receiving");
  find("again")?.toggleAttribute("hidden", study.state === "receiving");
  if (!study.findings.some((finding) => finding.id === state.selected)) state.selected = null;
  showFindings();
  const settled = before && before.state !== study.state && ["analysed", "not_analysed", "failed"].includes(study.state);
  if (settled) location.reload(); // another answer, with its reasons and its images: show all of it
}

async function ask(path, done) {
  try {
    await postJson(`${api}/${path}`, {});
    stage.say(done);
    await refresh();
  } catch (error) {
    stage.say(error.message);
  }
}

/* controls */

function chooseTool(name) {
  stage.setTool(name);
  for (const button of document.querySelectorAll("[data-tool]")) {
    const isChosen = button.dataset.tool === name;
    button.setAttribute("aria-checked", String(isChosen));
    button.tabIndex = isChosen ? 0 : -1;
  }
}

function toggleMarks() {
  state.areMarksShown = !state.areMarksShown;
  find("marks").setAttribute("aria-pressed", String(state.areMarksShown));
  if (state.slices.length) stage.setMarks(marksHere());
}

function setBlind(isBlind) {
  state.isBlind = isBlind;
  state.selected = null;
  showFindings();
}

function remembered(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(name, value);
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => chooseTool(button.dataset.tool));
find("tools").addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.stopPropagation();
  event.preventDefault();
  const buttons = [...document.querySelectorAll("[data-tool]")];
  const next = buttons[(buttons.indexOf(event.target) + by + buttons.length) % buttons.length];
  chooseTool(next.dataset.tool);
  next.focus();
});
for (const button of document.querySelectorAll("[data-window]")) button.addEventListener("click", () => usePreset(button.dataset.window));
for (const button of document.querySelectorAll("[data-series]")) button.addEventListener("click", () => openSeries(button.dataset.series).catch((error) => stage.say(error.message)));
find("marks").addEventListener("click", toggleMarks);
find("reset").addEventListener("click", () => stage.reset());
find("previous").addEventListener("click", () => stepFinding(-1));
find("next").addEventListener("click", () => stepFinding(1));
find("slice").addEventListener("input", (event) => go(Number(event.target.value) - 1));
find("again")?.addEventListener("click", () => ask("analyses", "Asked for a new analysis."));
find("complete")?.addEventListener("click", () => ask("complete", "Not waiting for more images."));
find("reveal").addEventListener("click", () => setBlind(false));
find("blind-mode").addEventListener("change", (event) => {
  remembered("blind", event.target.checked ? "yes" : "no");
  setBlind(event.target.checked);
});

const showHelp = installHelp();
const KEYS = {
  ArrowUp: () => go(state.index - 1), ArrowDown: () => go(state.index + 1),
  ArrowLeft: () => go(state.index - 1), ArrowRight: () => go(state.index + 1),
  PageUp: () => go(state.index - 10), PageDown: () => go(state.index + 10),
  Home: () => go(0), End: () => go(state.slices.length - 1),
  n: () => stepFinding(1), p: () => stepFinding(-1), j: () => stepFinding(1), k: () => stepFinding(-1),
  a: () => list.decide("accept"), r: () => list.decide("reject"), u: () => list.decide("unsure"),
  1: () => usePreset("lung"), 2: () => usePreset("mediastinum"), 3: () => usePreset("bone"), 0: () => stage.reset(),
  w: () => chooseTool("window"), g: () => chooseTool("pan"), z: () => chooseTool("zoom"), l: () => chooseTool("length"),
  m: () => document.querySelector('[data-tool="mark"]') && chooseTool("mark"),
  h: toggleMarks, "?": showHelp,
  Escape: () => (stage.tool === "window" ? location.assign("/worklist") : chooseTool("window")),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const isSlider = event.target.matches?.('input[type="range"], input[type="radio"]');
  if (isSlider && /^(Arrow|Page|Home|End)/.test(event.key)) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

async function start() {
  chooseTool("window");
  stage.setWindow(...WINDOWS.lung);
  usePreset("lung");
  state.isBlind = remembered("blind") === "yes";
  find("blind-mode").checked = state.isBlind;
  state.study = await getJson(api);
  const first = firstSeries();
  showFindings();
  const finding = shownFindings().find((candidate) => candidate.series_instance_uid === first) || null;
  if (finding) state.selected = finding.id;
  if (first) await openSeries(first, { finding });
  else stage.say("No images have arrived yet.");
  find("stage").focus({ preventScroll: true });
}

addEventListener("beforeunload", () => stack?.close()); // whatever comes next gets the connections

start().catch((error) => stage.say(error.message));
listen(() => refresh().catch((error) => stage.say(error.message)));
