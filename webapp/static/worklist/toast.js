// One line about what was just done, read out by screen readers.
const toast = /** @type {HTMLElement} */ (document.querySelector("[data-toast]"));
let timer = 0;

/**
 * @param {string} text
 * @param {{isBad?: boolean}} [options]
 */
export function say(text, { isBad = false } = {}) {
  toast.textContent = text;
  toast.classList.toggle("bad", isBad);
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => { toast.hidden = true; }, isBad ? 9000 : 4000);
}
