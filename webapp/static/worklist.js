// The worklist: news without reloading, and everything by keyboard.
import { getText } from "./http.js";
import { installHelp, isTyping, listen } from "./live.js";
import { localiseTimes } from "./times.js";

const list = document.querySelector("[data-list]");
const filters = document.querySelector("[data-filters]");
const live = document.querySelector("[data-live]");
const search = filters.elements.q;
let current = null; // UID of the chosen row

const rows = () => [...list.querySelectorAll("tr[data-study]")];

// What a row says, without the times, which change by themselves.
const gist = (row) => [...row.cells].slice(0, 5).map((cell) => cell.textContent).join("|");

function choose(uid, { focus = true } = {}) {
  current = uid;
  for (const row of rows()) {
    const isCurrent = row.dataset.study === uid;
    row.classList.toggle("current", isCurrent);
    if (isCurrent && focus) row.querySelector(".row-link").focus({ preventScroll: false });
  }
}

function step(by) {
  const uids = rows().map((row) => row.dataset.study);
  if (!uids.length) return;
  const at = uids.indexOf(current);
  choose(uids[Math.min(uids.length - 1, Math.max(0, at < 0 ? 0 : at + by))]);
}

function address() {
  const query = new URLSearchParams();
  const { q, state } = filters.elements;
  if (q.value.trim()) query.set("q", q.value.trim());
  if (state.value) query.set("state", state.value);
  return query.size ? `/worklist?${query}` : "/worklist";
}

let asked = 0;
async function load(url, { isNews = false } = {}) {
  const turn = ++asked;
  let text;
  try {
    text = await getText(url);
  } catch {
    return; // the live sign tells; the next event tries again
  }
  if (turn !== asked) return; // a later question is on its way
  const before = new Map(rows().map((row) => [row.dataset.study, gist(row)]));
  const hadFocus = list.contains(document.activeElement);
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-list]");
  if (!fresh) return;
  localiseTimes(fresh);
  list.replaceChildren(...document.adoptNode(fresh).childNodes);
  if (isNews) {
    for (const row of rows()) if (before.get(row.dataset.study) !== gist(row)) row.classList.add("news");
  }
  if (current) choose(current, { focus: hadFocus });
}

let typing = 0;
function filter() {
  const url = address();
  history.replaceState(null, "", url);
  load(url);
}
filters.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
filters.addEventListener("change", filter);
search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, 180); });

list.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-study]");
  if (row && !event.target.closest("a") && !getSelection().toString()) row.querySelector(".row-link").click();
});
list.addEventListener("focusin", (event) => {
  const row = event.target.closest("tr[data-study]");
  if (row) choose(row.dataset.study, { focus: false });
});

const showHelp = installHelp();
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target === search) { search.blur(); step(0); return; }
  if (isTyping(event.target)) return;
  const states = [...filters.elements.state];
  const actions = {
    j: () => step(1),
    k: () => step(-1),
    "/": () => search.select(),
    "?": showHelp,
    Enter: () => { if (current && event.target === document.body) rows().find((row) => row.dataset.study === current)?.querySelector(".row-link").click(); },
  };
  const state = states[Number(event.key)];
  const action = actions[event.key] || (/^[0-6]$/.test(event.key) && state ? () => { state.checked = true; filter(); } : null);
  if (!action) return;
  if (event.key !== "Enter") event.preventDefault();
  action();
});

let pending = 0;
listen(
  () => { clearTimeout(pending); pending = setTimeout(() => load(location.pathname + location.search, { isNews: true }), 150); },
  (isOn) => {
    live.classList.toggle("on", isOn);
    live.querySelector("[data-live-text]").textContent = isOn ? "Live" : "Reconnecting";
  },
);
setInterval(() => localiseTimes(list), 20000);
