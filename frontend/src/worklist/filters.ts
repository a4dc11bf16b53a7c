// The list and the URL follow the filter form at the list's head.
import { find } from "../shared/dom";
import { load } from "./list";
import { dayBefore, type Filters, filtersOf, foldedCount, worklistUrl } from "./query";

const TYPING_MS = 180;

const form = find<HTMLFormElement>("filters");
const search = form.elements.namedItem("q") as HTMLInputElement;
const list = find("list");
const more = find<HTMLDetailsElement>("more");
let typing = 0;

export function chosenFilters(): Filters {
  return filtersOf(new FormData(form));
}

function narrowedBadge(): Element {
  const present = more.querySelector("[data-narrowed]");
  if (present) return present;
  const badge = document.createElement("b");
  badge.className = "badge num";
  badge.setAttribute("data-narrowed", "");
  more.querySelector("summary")?.append(badge);
  return badge;
}

export async function filter(): Promise<void> {
  const filters = chosenFilters();
  const url = worklistUrl(filters);
  history.replaceState(null, "", url);
  const badge = narrowedBadge();
  const count = foldedCount(filters);
  badge.toggleAttribute("hidden", count === 0);
  badge.textContent = String(count);
  await load(url);
}

export async function setFilter(name: string, value: string): Promise<void> {
  const field = form.elements.namedItem(name);
  if (field instanceof RadioNodeList || field instanceof HTMLSelectElement || field instanceof HTMLInputElement) {
    field.value = value;
    await filter();
  }
}

// Switch between a value and leaving it open.
export function toggleFilter(name: string, value: string): void {
  void setFilter(name, chosenFilters()[name] === value ? "" : value);
}

// Choose a state by its number in the form, 0 for any.
export function chooseState(number: number): void {
  const state = form.querySelectorAll<HTMLInputElement>("input[name=state]")[number];
  if (state) void setFilter("state", state.value);
}

export function focusSearch(): void {
  search.select();
}

export const isSearch = (target: EventTarget | null): target is HTMLInputElement => target === search;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void filter();
});
form.addEventListener("change", (event) => {
  if (event.target !== search) void filter();
});
search.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(filter, TYPING_MS);
});
for (const button of form.querySelectorAll<HTMLElement>("[data-days]")) {
  button.addEventListener("click", () => {
    (form.elements.namedItem("date_to") as HTMLInputElement).value = "";
    void setFilter("date_from", dayBefore(new Date(), Number(button.dataset.days)));
  });
}
// A click on a column's header sorts by it, without a new page; the focus stays on the header.
list.addEventListener("click", async (event) => {
  const link = (event.target as Element).closest<HTMLElement>("[data-sort]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  await setFilter("sort", link.dataset.sort ?? "");
  list.querySelector<HTMLElement>(`[data-column=${link.dataset.column}]`)?.focus();
});
document.addEventListener("click", (event) => {
  if (more.open && !more.contains(event.target as Node)) more.open = false;
});
more.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  more.open = false;
  more.querySelector("summary")?.focus();
});
