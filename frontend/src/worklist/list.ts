// The rows: which one is chosen, and new ones without reloading the page.
import { find } from "../shared/dom";
import { getText } from "../shared/http";
import { localiseTimes } from "../shared/times";
import { gistOf, replaceParts } from "./rows";
import { Selection } from "./selection";

const AGES_MS = 20_000;

const list = find("list");
const selection = new Selection();
let requests = 0;

export function rows(): HTMLTableRowElement[] {
  return [...list.querySelectorAll<HTMLTableRowElement>("tr[data-study]")];
}

const uidOf = (row: HTMLTableRowElement): string => row.dataset.study ?? "";
const linkOf = (row: HTMLTableRowElement): HTMLAnchorElement | null => row.querySelector(".row-link");

export function chosenRow(): HTMLTableRowElement | null {
  return rows().find((row) => uidOf(row) === selection.uid) ?? null;
}

function showChosen({ focus = true } = {}): void {
  for (const row of rows()) {
    const isChosen = uidOf(row) === selection.uid;
    row.classList.toggle("current", isChosen);
    if (isChosen && focus) linkOf(row)?.focus();
  }
}

// Choose the row that is so many rows down.
export function step(by: number): void {
  if (selection.step(rows().map(uidOf), by)) showChosen();
}

export function openChosen(): void {
  const row = chosenRow();
  if (row) linkOf(row)?.click();
}

export function openNextPage(): void {
  list.querySelector<HTMLAnchorElement>("a[rel=next]")?.click();
}

// Load the list of a URL; where it is news, rows that say something else are shown to have changed.
export async function load(url: string, { isNews = false } = {}): Promise<void> {
  const request = ++requests;
  list.setAttribute("aria-busy", "true");
  let text: string;
  try {
    text = await getText(url);
  } catch {
    return; // the live sign says so; the next event tries again
  } finally {
    if (request === requests) list.removeAttribute("aria-busy");
  }
  if (request === requests) show(text, isNews); // else a later request is on its way
}

function show(text: string, isNews: boolean): void {
  const gists = new Map(rows().map((row) => [uidOf(row), gistOf(row)]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  replaceParts(new DOMParser().parseFromString(text, "text/html"));
  if (isNews) {
    for (const row of rows()) if (gists.get(uidOf(row)) !== gistOf(row)) row.classList.add("news");
  }
  selection.reloaded([...gists.keys()], rows().map(uidOf));
  if (selection.uid) showChosen({ focus: focused !== null && !focused.isConnected });
}

list.addEventListener("click", (event) => {
  const target = event.target as Element;
  const row = target.closest<HTMLTableRowElement>("tr[data-study]");
  if (row && !target.closest("a, button") && !getSelection()?.toString()) linkOf(row)?.click();
});
list.addEventListener("focusin", (event) => {
  const row = (event.target as Element).closest<HTMLTableRowElement>("tr[data-study]");
  if (!row) return;
  selection.choose(uidOf(row));
  showChosen({ focus: false });
});
setInterval(() => localiseTimes(list), AGES_MS);
