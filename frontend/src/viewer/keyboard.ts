// The keyboard of the viewer; the help dialog of the template lists the keys.
import { installHelp, isTyping } from "../shared/dialogs";
import type { Controls } from "./controls";
import { removeLastLength, type Tool } from "./engine";
import type { Viewer } from "./viewer";
import { PRESETS } from "./window_level";

type Actions = Record<string, () => void>;

function scrolling(viewer: Viewer, controls: Controls): Actions {
  const moving = (move: () => void) => () => {
    controls.cine.stop();
    move();
  };
  const go = (by: number) => moving(() => viewer.active.step(by));
  const step = (by: number) => moving(() => viewer.stepFinding(by));
  return {
    ArrowUp: go(-1),
    ArrowDown: go(1),
    ArrowLeft: go(-1),
    ArrowRight: go(1),
    PageUp: go(-10),
    PageDown: go(10),
    Home: moving(() => viewer.active.go(0)),
    End: moving(() => viewer.active.go(Infinity)),
    n: step(1),
    p: step(-1),
    j: step(1),
    k: step(-1),
    c: () => controls.cine.toggle(viewer.active),
  };
}

function displaying(viewer: Viewer, controls: Controls): Actions {
  const presets = Object.keys(PRESETS).map((name, index) => [index + 1, () => controls.usePreset(name)] as const);
  return {
    ...Object.fromEntries(presets),
    0: () => viewer.reset(),
    x: () => controls.togglePlanes(),
    s: () => controls.nextSlab(),
    i: () => controls.toggleInvert(),
    v: () => controls.toggleLens(),
    f: () => controls.toggleFullScreen(),
    h: () => controls.toggleMarks(),
    b: () => void viewer.comparison.toggleLatest(),
    y: () => viewer.comparison.link(!viewer.comparison.isLinked),
  };
}

function tools(controls: Controls): Actions {
  const remove = () => void removeLastLength();
  const choose = (tool: Tool) => () => {
    if (document.querySelector(`[data-tool="${tool}"]`)) controls.useTool(tool); // readers have it
  };
  return {
    w: () => controls.useTool("window"),
    g: () => controls.useTool("pan"),
    z: () => controls.useTool("zoom"),
    l: () => controls.useTool("length"),
    q: choose("size"),
    m: choose("mark"),
    Delete: remove,
    Backspace: remove,
  };
}

function deciding(viewer: Viewer, controls: Controls): Actions {
  return {
    a: () => void viewer.list.decide("accept"),
    r: () => void viewer.list.decide("reject"),
    u: () => void viewer.list.decide("unsure"),
    t: () => viewer.list.comment(),
    d: () => viewer.report?.open(),
    e: () => void viewer.finish(),
    Escape: () => (controls.isWindowing ? void viewer.goBack() : controls.useTool("window")),
  };
}

// The number of a reason: Shift and a digit. Where a keyboard has digits with Shift only, they choose windows.
function reasonNumber({ code, key, shiftKey }: KeyboardEvent): number {
  return shiftKey && !/^\d$/.test(key) ? Number(/^Digit([1-9])$/.exec(code)?.[1] ?? 0) : 0;
}

// True if a key moves the slider or the choice that has the focus.
function isOfControl({ target, key }: KeyboardEvent): boolean {
  const isMoved = target instanceof Element && target.matches('input[type="range"], input[type="radio"], select');
  return isMoved && /^(Arrow|Page|Home|End)/.test(key);
}

export function listenToKeys(viewer: Viewer, controls: Controls): void {
  const keys: Actions = {
    ...scrolling(viewer, controls),
    ...displaying(viewer, controls),
    ...tools(controls),
    ...deciding(viewer, controls),
    "?": installHelp(),
  };
  document.addEventListener("keydown", (event) => {
    if (isTyping(event.target)) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      void viewer.list.undo();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const reason = reasonNumber(event);
    const action = reason ? () => void viewer.list.giveReason(reason) : keys[event.key];
    if (!action || isOfControl(event)) return;
    event.preventDefault();
    action();
  });
}
