// What the list shows follows the form at its head, and the address follows too.
import { load } from "./list.js";

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-filters]"));
const search = /** @type {HTMLInputElement} */ (form.elements.namedItem("q"));
const more = /** @type {HTMLDetailsElement} */ (document.querySelector("[data-more]"));

/**
 * What the form asks for, without what is left open.
 * @returns {Record<string, string>}
 */
export function chosenFilters() {
  const told = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]);
  return Object.fromEntries(told.filter(([, value]) => value));
}

function showNarrowed() {
  const chosen = chosenFilters();
  const count = ["date_from", "date_to", "min_probability", "max_probability"].filter((name) => name in chosen).length;
  let badge = more.querySelector("[data-narrowed]");
  if (!badge) {
    badge = document.createElement("b");
    badge.className = "badge num";
    badge.setAttribute("data-narrowed", "");
    more.querySelector("summary")?.append(badge);
  }
  badge.toggleAttribute("hidden", count === 0);
  badge.textContent = String(count);
}

export function filter() {
  const query = new URLSearchParams(chosenFilters());
  const url = query.size ? `/worklist?${query}` : "/worklist";
  history.replaceState(null, "", url);
  showNarrowed();
  load(url);
}

/**
 * @param {string} name
 * @param {string} value
 */
export function setFilter(name, value) {
  const element = form.elements.namedItem(name);
  if (element instanceof RadioNodeList || element instanceof HTMLSelectElement || element instanceof HTMLInputElement) {
    element.value = value;
    filter();
  }
}

/**
 * Switch between a value and leaving it open.
 * @param {string} name
 * @param {string} value
 */
export const toggleFilter = (name, value) => setFilter(name, chosenFilters()[name] === value ? "" : value);

/** @param {number} number position among the states, 0 for any */
export function chooseState(number) {
  const states = /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("input[name=state]"));
  if (states[number]) setFilter("state", states[number].value);
}

export const focusSearch = () => search.select();
/** @param {EventTarget | null} target */
export const isSearch = (target) => target === search;

let typing = 0;
form.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
form.addEventListener("change", (event) => { if (event.target !== search) filter(); });
search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 180); });

/**
 * @param {number} days before today
 * @returns {string} that day here, as YYYY-MM-DD
 */
function dayBefore(days) {
  const day = new Date();
  day.setDate(day.getDate() - days);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}
for (const button of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-days]"))) {
  button.addEventListener("click", () => {
    /** @type {HTMLInputElement} */ (form.elements.namedItem("date_to")).value = "";
    setFilter("date_from", dayBefore(Number(button.dataset.days)));
  });
}

document.addEventListener("click", (event) => {
  if (more.open && !more.contains(/** @type {Node} */ (event.target))) more.open = false;
});
more.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  more.open = false;
  more.querySelector("summary")?.focus();
});
