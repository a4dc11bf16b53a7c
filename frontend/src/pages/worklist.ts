// Entry of the worklist: news without reloading, and everything by keyboard.
import { installHelp, isTyping } from "../shared/dialogs";
import { find } from "../shared/dom";
import { _ } from "../shared/i18n";
import { listen } from "../shared/live";
import { setReadFirst } from "../shared/preferences";
import { remembered } from "../shared/tab_storage";
import { actOnChosen } from "../worklist/actions";
import { chooseState, focusSearch, isSearch, toggleFilter } from "../worklist/filters";
import { askOnFirstVisit } from "../worklist/first_visit";
import { load, openChosen, openNextPage, rows, step } from "../worklist/list";
import "../worklist/notes";
import "../worklist/saved";

const RECEIVING_MS = 4000;
const READING_MS = 60_000;
const NEWS_MS = 150; // events that follow each other so soon are one

const live = find("live");
const keys: Record<string, () => void> = {
  j: () => step(1),
  k: () => step(-1),
  "/": focusSearch,
  "?": installHelp(),
  n: openNextPage,
  u: () => toggleFilter("reviewed", "no"),
  p: () => toggleFilter("sort", "priority"),
  e: () => actOnChosen("review", "reopen"),
  a: () => actOnChosen("assign", "unassign"),
  r: () => actOnChosen("again"),
  c: () => actOnChosen("complete"),
};
let pendingNews = 0;

function reload({ isNews = false } = {}): void {
  void load(location.pathname + location.search, { isNews });
}

function actionOf(key: string): (() => void) | null {
  return keys[key] ?? (/^[0-6]$/.test(key) ? () => chooseState(Number(key)) : null);
}

function onKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isSearch(event.target)) {
    event.target.blur();
    step(0);
    return;
  }
  if (isTyping(event.target)) return;
  if (event.key === "Enter") {
    if (event.target === document.body) openChosen();
    return;
  }
  const action = actionOf(event.key);
  if (!action) return;
  event.preventDefault();
  action();
}

function onNews(): void {
  clearTimeout(pendingNews);
  pendingNews = setTimeout(() => reload({ isNews: true }), NEWS_MS);
}

function showConnection(isOn: boolean): void {
  live.classList.toggle("on", isOn);
  find("live-text", live).textContent = isOn ? _("Live") : _("Reconnecting");
}

document.addEventListener("keydown", onKey);
document.querySelector<HTMLInputElement>("[data-read-first]")?.addEventListener("change", (event) => {
  setReadFirst((event.target as HTMLInputElement).checked);
  location.reload();
});
addEventListener("pagehide", () => {
  remembered("worklist", location.search); // a study leads back here, and on
});
listen(onNews, showConnection);
void askOnFirstVisit();
// A reading whose end is never reported expires without an event.
setInterval(() => {
  if (document.querySelector("[data-reading]")) reload();
}, READING_MS);
// One more image of a study is no event, but its count shall grow before the reader's eyes.
setInterval(() => {
  if (rows().some((row) => row.dataset.state === "receiving")) reload();
}, RECEIVING_MS);
