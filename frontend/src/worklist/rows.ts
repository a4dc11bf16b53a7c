// Rows that the server wrote: replaced by fresh ones in place, where they say something else.
import { localiseTimes } from "../shared/times";

const REPLACED = ["[data-list]", "[data-load]", "[data-saved]"];
const MARKED_HERE = ["current", "news", "busy", "open"];

// Text of a row without its last columns: the times, which change by themselves, and the actions.
export function gistOf(row: HTMLTableRowElement): string {
  return [...row.cells]
    .slice(0, -2)
    .map((cell) => cell.textContent)
    .join("|");
}

// Markup as the server wrote it, without the changes of this page: times in the reader's words, the chosen row, open
// notes, titles of cut cells.
function sourceOf(part: Element, { rows: withRows = true } = {}): string {
  const copy = part.cloneNode(true) as Element;
  if (!withRows) {
    copy.querySelector("tbody")?.replaceChildren();
    copy.querySelector(".pager")?.remove();
  }
  for (const time of copy.querySelectorAll("time")) {
    time.textContent = "";
    time.removeAttribute("title");
  }
  for (const marked of [copy, ...copy.querySelectorAll("tr, .notes")]) {
    marked.classList.remove(...MARKED_HERE);
    if (!marked.classList.length) marked.removeAttribute("class");
  }
  for (const cell of copy.querySelectorAll("td[title]")) cell.removeAttribute("title");
  return copy.matches("tr") ? copy.outerHTML : copy.innerHTML;
}

// Update the rows in place: one that says the same stays, and with it what is selected, focused or under the pointer.
function replaceRows(here: HTMLTableSectionElement, fresh: HTMLTableSectionElement): void {
  const present = new Map([...here.rows].map((row) => [row.dataset.study, row]));
  const next = [...fresh.rows].map((row) => {
    const same = present.get(row.dataset.study);
    return same && sourceOf(same) === sourceOf(row) ? same : document.adoptNode(row);
  });
  for (const row of present.values()) if (!next.includes(row)) row.remove();
  next.forEach((row, at) => {
    if (here.rows[at] !== row) here.insertBefore(row, here.rows[at] ?? null);
  });
}

// Update the links to other pages, whose cursors change with every arrival.
function replacePager(here: Element, fresh: Element): void {
  const [pager, freshPager] = [here.querySelector(".pager"), fresh.querySelector(".pager")];
  if (pager && freshPager && sourceOf(pager) === sourceOf(freshPager)) return;
  pager?.remove();
  if (freshPager) here.append(document.adoptNode(freshPager));
}

// Show what a freshly loaded page shows.
export function replaceParts(page: Document): void {
  for (const selector of REPLACED) {
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
