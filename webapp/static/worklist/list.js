// The rows: which one is chosen, and new ones without reloading the page.
import { getText } from "../http.js";
import { localiseTimes } from "../times.js";

const list = /** @type {HTMLElement} */ (document.querySelector("[data-list]"));
/** @type {string | null} UID of the chosen study */
let current = null;

/** @returns {HTMLTableRowElement[]} */
export const rows = () => [...list.querySelectorAll(/** @type {"tr"} */ ("tr[data-study]"))];

export const chosenRow = () => rows().find((row) => row.dataset.study === current) ?? null;

/** @param {HTMLTableRowElement} row */
const link = (row) => /** @type {HTMLAnchorElement} */ (row.querySelector(".row-link"));

/**
 * What a row says, without the times, which change by themselves.
 * @param {HTMLTableRowElement} row
 */
const gist = (row) => [...row.cells].slice(0, 5).map((cell) => cell.textContent).join("|");

/**
 * @param {string | undefined} uid
 * @param {{focus?: boolean}} [options]
 */
export function choose(uid, { focus = true } = {}) {
  current = uid ?? null;
  for (const row of rows()) {
    const isCurrent = row.dataset.study === uid;
    row.classList.toggle("current", isCurrent);
    if (isCurrent && focus) link(row).focus();
  }
}

/** @param {number} by rows to go down */
export function step(by) {
  const uids = rows().map((row) => row.dataset.study);
  if (!uids.length) return;
  const at = uids.indexOf(current ?? undefined);
  choose(uids[Math.min(uids.length - 1, Math.max(0, at < 0 ? 0 : at + by))]);
}

export function openChosen() {
  const row = chosenRow();
  if (row) link(row).click();
}

export function openNextPage() {
  /** @type {HTMLAnchorElement | null} */ (list.querySelector("a[rel=next]"))?.click();
}

const MARKED_HERE = ["current", "news", "busy"];

/**
 * What the server wrote, without what this page has made of it: times in the reader's words, the chosen row.
 * @param {Element} part
 * @param {{rows?: boolean}} [options] rows: with the rows in it
 */
function sourceOf(part, { rows: withRows = true } = {}) {
  const copy = /** @type {Element} */ (part.cloneNode(true));
  if (!withRows) {
    copy.querySelector("tbody")?.replaceChildren();
    copy.querySelector(".pager")?.remove();
  }
  for (const time of copy.querySelectorAll("time")) {
    time.textContent = "";
    time.removeAttribute("title");
  }
  for (const row of [copy, ...copy.querySelectorAll("tr")]) {
    row.classList.remove(...MARKED_HERE);
    if (!row.classList.length) row.removeAttribute("class");
  }
  return copy.matches("tr") ? copy.outerHTML : copy.innerHTML;
}

/**
 * Update the rows in place: one that says the same stays, and with it what is selected, focused or under the pointer.
 * @param {HTMLTableSectionElement} here
 * @param {HTMLTableSectionElement} fresh
 */
function replaceRows(here, fresh) {
  const known = new Map([...here.rows].map((row) => [row.dataset.study, row]));
  const next = [...fresh.rows].map((row) => {
    const same = known.get(row.dataset.study);
    return same && sourceOf(same) === sourceOf(row) ? same : document.adoptNode(row);
  });
  for (const row of known.values()) if (!next.includes(row)) row.remove();
  next.forEach((row, at) => {
    if (here.rows[at] !== row) here.insertBefore(row, here.rows[at] ?? null);
  });
}

/**
 * Update the links to other pages, whose cursors change with every arrival.
 * @param {Element} here
 * @param {Element} fresh
 */
function replacePager(here, fresh) {
  const [pager, freshPager] = [here.querySelector(".pager"), fresh.querySelector(".pager")];
  if (pager && freshPager && sourceOf(pager) === sourceOf(freshPager)) return;
  pager?.remove();
  if (freshPager) here.append(document.adoptNode(freshPager));
}

/**
 * Put what a freshly loaded page shows in the place of what stands here.
 * @param {Document} page
 */
function replaceParts(page) {
  for (const selector of ["[data-list]", "[data-load]", "[data-saved]"]) {
    const [here, fresh] = [document.querySelector(selector), page.querySelector(selector)];
    if (!here || !fresh || sourceOf(here) === sourceOf(fresh)) continue;
    const [body, freshBody] = [here.querySelector("tbody"), fresh.querySelector("tbody")];
    localiseTimes(fresh);
    if (body && freshBody && sourceOf(here, { rows: false }) === sourceOf(fresh, { rows: false })) {
      replaceRows(body, freshBody);
      replacePager(here, fresh);
    } else here.replaceChildren(...document.adoptNode(fresh).childNodes);
  }
}

let asked = 0;
/**
 * @param {string} url
 * @param {{isNews?: boolean}} [options] news: rows that say something else are shown to have changed
 */
export async function load(url, { isNews = false } = {}) {
  const turn = ++asked;
  list.setAttribute("aria-busy", "true");
  let text;
  try {
    text = await getText(url);
  } catch {
    return; // the live sign tells; the next event tries again
  } finally {
    if (turn === asked) list.removeAttribute("aria-busy");
  }
  if (turn !== asked) return; // a later question is on its way
  const before = new Map(rows().map((row) => [row.dataset.study, gist(row)]));
  const at = rows().findIndex((row) => row.dataset.study === current);
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  replaceParts(new DOMParser().parseFromString(text, "text/html"));
  if (isNews) {
    for (const row of rows()) if (before.get(row.dataset.study) !== gist(row)) row.classList.add("news");
  }
  if (current && !chosenRow() && at >= 0) current = rows()[Math.min(at, rows().length - 1)]?.dataset.study ?? null;
  if (current) choose(current, { focus: focused !== null && !focused.isConnected });
}

list.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  const row = /** @type {HTMLTableRowElement | null} */ (target.closest("tr[data-study]"));
  if (row && !target.closest("a, button") && !getSelection()?.toString()) link(row).click();
});
list.addEventListener("focusin", (event) => {
  const row = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("tr[data-study]"));
  if (row) choose(row.dataset.study, { focus: false });
});
setInterval(() => localiseTimes(list), 20000);
