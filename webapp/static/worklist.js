// The worklist: news without reloading, and everything by keyboard.
import { _ } from "./words.js";
import { installHelp, isTyping, listen } from "./live.js";
import { actOnChosen } from "./worklist/actions.js";
import { chooseState, focusSearch, isSearch, toggleFilter } from "./worklist/filters.js";
import { load, openChosen, openNextPage, rows, step } from "./worklist/list.js";
import { readFirst } from "./readfirst.js";
import "./worklist/saved.js";

const live = /** @type {HTMLElement} */ (document.querySelector("[data-live]"));
const showHelp = installHelp();
const RECEIVING_MS = 4000;

/** @type {Record<string, () => void>} */
const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "/": focusSearch,
  "?": showHelp,
  n: openNextPage,
  u: () => toggleFilter("reviewed", "no"),
  p: () => toggleFilter("sort", "priority"),
  e: () => actOnChosen("review", "reopen"),
  r: () => actOnChosen("again"),
  c: () => actOnChosen("complete"),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isSearch(event.target)) {
    /** @type {HTMLElement} */ (event.target).blur();
    step(0);
    return;
  }
  if (isTyping(event.target)) return;
  if (event.key === "Enter") {
    if (event.target === document.body) openChosen();
    return;
  }
  const action = KEYS[event.key] ?? (/^[0-6]$/.test(event.key) ? () => chooseState(Number(event.key)) : null);
  if (!action) return;
  event.preventDefault();
  action();
});

/** @type {HTMLInputElement | null} */ (document.querySelector("[data-read-first]"))?.addEventListener("change", (event) => {
  readFirst(/** @type {HTMLInputElement} */ (event.target).checked);
  location.reload();
});

addEventListener("pagehide", () => sessionStorage.setItem("worklist", location.search)); // a study leads back here, and on

const here = () => location.pathname + location.search;
let pending = 0;
listen(
  () => { clearTimeout(pending); pending = setTimeout(() => load(here(), { isNews: true }), 150); },
  (/** @type {boolean} */ isOn) => {
    live.classList.toggle("on", isOn);
    /** @type {HTMLElement} */ (live.querySelector("[data-live-text]")).textContent = isOn ? _("Live") : _("Reconnecting");
  },
);
// One more image of a study is no event, but its count shall grow before the reader's eyes.
setInterval(() => { if (rows().some((row) => row.dataset.state === "receiving")) load(here()); }, RECEIVING_MS);
