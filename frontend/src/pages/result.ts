// Entry of the page of an answer: the opacity of the attention overlay, printing, and a URL that can be loaded again.
const result = document.querySelector<HTMLElement>("[data-result]");
const opacity = document.querySelector<HTMLInputElement>("[data-opacity]");
const opacityText = document.querySelector("[data-opacity-text]");

function showOpacity(percent: string): void {
  for (const overlay of document.querySelectorAll<HTMLElement>("[data-attention]")) {
    overlay.style.opacity = String(Number(percent) / 100);
  }
  if (opacityText) opacityText.textContent = `${percent} %`;
}

if (location.pathname === "/predict" && result?.dataset.permalink) {
  history.replaceState(null, "", result.dataset.permalink);
}
if (opacity) {
  opacity.addEventListener("input", () => showOpacity(opacity.value));
  showOpacity(opacity.value);
}
document.querySelector("[data-print]")?.addEventListener("click", () => print());
