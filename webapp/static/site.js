// What every page does: the dark and light switch, local times, and leaving when nobody is there.
import { dropAllDrafts, tabStorage } from "./drafts.js";
import { localiseTimes } from "./times.js";

const root = document.documentElement;

document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
  const isDark = getComputedStyle(document.body).colorScheme === "dark"
    || (getComputedStyle(document.body).colorScheme.includes("light dark") && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // no storage: the choice holds for this page
  }
});

localiseTimes(document);

document.querySelector("[data-language]")?.addEventListener("change", (event) => {
  const chosen = /** @type {HTMLSelectElement} */ (event.target).value;
  document.cookie = `lungnode_language=${chosen}; path=/; max-age=31536000; SameSite=Strict`;
  location.reload();
});

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  const storage = tabStorage();
  if (storage && !event.defaultPrevented && form.getAttribute("action") === "/sign-out") dropAllDrafts(storage);
});

const idle = /** @type {HTMLMetaElement | null} */ (document.querySelector('meta[name="session-idle-s"]'));
const idleS = Number(idle?.content || 0);
if (idleS > 0) {
  let timer = 0;
  const leave = () => {
    document.dispatchEvent(new Event("lungnode:leaving")); // asks nobody: what is not saved stays in this tab
    location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  };
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(leave, (idleS + 5) * 1000);
  };
  // The server ends the session by itself; this takes the pictures off the screen. Only requests count there,
  // so only requests count here.
  restart();
  document.addEventListener("lungnode:request", restart);
}
