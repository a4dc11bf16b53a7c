// The opacity of the attention overlay, printing, and an address that can be loaded again.
const result = /** @type {HTMLElement | null} */ (document.querySelector("[data-result]"));
const opacity = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-opacity]"));
const told = document.querySelector("[data-opacity-text]");

if (location.pathname === "/predict" && result?.dataset.permalink) history.replaceState(null, "", result.dataset.permalink);
if (opacity) {
  const show = () => {
    for (const overlay of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-attention]"))) {
      overlay.style.opacity = String(Number(opacity.value) / 100);
    }
    if (told) told.textContent = `${opacity.value} %`;
  };
  opacity.addEventListener("input", show);
  show();
}
document.querySelector("[data-print]")?.addEventListener("click", () => print());
