// Entry of every page: the dark and light switch, local times, the language, and signing out after idleness.
import { dropAllDrafts } from "../shared/drafts";
import { setLanguage } from "../shared/preferences";
import { tabStorage } from "../shared/tab_storage";
import { localiseTimes } from "../shared/times";

const GRACE_S = 5; // after which the server has ended the session for certain

function isDark(): boolean {
  const { colorScheme } = getComputedStyle(document.body);
  if (colorScheme === "dark") return true;
  return colorScheme.includes("light dark") && matchMedia("(prefers-color-scheme: dark)").matches;
}

function switchTheme(): void {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // no storage: the choice holds for this page
  }
}

// The server ends the session by itself; this takes the images off the screen. Only requests count there, so only
// requests count here.
function leaveWhenIdle(idleS: number): void {
  let timer = 0;
  const leave = () => {
    document.dispatchEvent(new Event("lungnode:leaving")); // without a question: unsaved texts stay in this tab
    location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  };
  const restart = () => {
    clearTimeout(timer);
    timer = setTimeout(leave, (idleS + GRACE_S) * 1000);
  };
  restart();
  document.addEventListener("lungnode:request", restart);
}

document.querySelector("[data-theme-toggle]")?.addEventListener("click", switchTheme);
document.querySelector<HTMLSelectElement>("[data-language]")?.addEventListener("change", (event) => {
  setLanguage((event.target as HTMLSelectElement).value);
  location.reload();
});
document.addEventListener("submit", (event) => {
  const storage = tabStorage();
  const isSignOut = (event.target as HTMLFormElement).getAttribute("action") === "/sign-out";
  if (storage && isSignOut && !event.defaultPrevented) dropAllDrafts(storage);
});
localiseTimes(document);

const idleS = Number(document.querySelector<HTMLMetaElement>('meta[name="session-idle-s"]')?.content || 0);
if (idleS > 0) leaveWhenIdle(idleS);
