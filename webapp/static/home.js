// The hundred dots follow the slider; packs and years make pack-years.
import { _ } from "./words.js";

const slider = /** @type {HTMLInputElement | null} */ (document.querySelector("#share"));
const figure = document.querySelector("[data-dots-live]");

/**
 * @param {string} selector
 * @param {string} text
 */
function put(selector, text) {
  const element = document.querySelector(selector);
  if (element) element.textContent = text;
}

if (slider && figure) {
  const dots = [...figure.querySelectorAll("circle")];
  const show = () => {
    const count = Number(slider.value);
    dots.forEach((dot, index) => dot.classList.toggle("on", index < count));
    figure.setAttribute("aria-label", _("100 dots, {count} of them filled", { count }));
    put("[data-dots-text]", String(count));
    put("[data-dots-rest]", String(100 - count));
    put("[data-dots-percent]", `${count} %`);
  };
  slider.addEventListener("input", show);
  show();
}

const [packs, years] = ["[data-packs]", "[data-years]"].map((name) => /** @type {HTMLInputElement | null} */ (document.querySelector(name)));
for (const input of [packs, years]) {
  input?.addEventListener("input", () => {
    const product = Number(packs?.value) * Number(years?.value);
    put("[data-pack-years]", Number.isFinite(product) && product >= 0 ? _("{count} pack-years", { count: Math.round(product * 10) / 10 }) : "");
  });
}
