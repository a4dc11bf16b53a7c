// Entry of every page that runs before the first paint, so that a dark room is never lit up by a white flash. It is
// loaded as a classic script and so imports nothing.
(() => {
  const root = document.documentElement;
  let chosen: string | null = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // no storage: the page's own default holds
  }
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  root.classList.add("js");
})();
