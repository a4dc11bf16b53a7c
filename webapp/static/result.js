// The opacity of the attention overlay, printing, and an address that can be loaded again.
const result = document.querySelector("[data-result]");
const attention = document.querySelector("[data-attention]");
const opacity = document.querySelector("[data-opacity]");

if (location.pathname === "/predict") history.replaceState(null, "", result.dataset.permalink);
if (attention && opacity) {
  const show = () => {
    attention.style.opacity = String(opacity.value / 100);
    document.querySelector("[data-opacity-text]").textContent = `${opacity.value} %`;
  };
  opacity.addEventListener("input", show);
  show();
}
document.querySelector("[data-print]")?.addEventListener("click", () => print());
