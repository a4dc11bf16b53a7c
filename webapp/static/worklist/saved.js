// A reader's own filters: saved under a name, one click away, removed again.
import { _ } from "../words.js";
import { deleteJson, postJson } from "../http.js";
import { chosenFilters } from "./filters.js";
import { load } from "./list.js";
import { say } from "./toast.js";

const FILTERS = "/api/v1/worklist/filters";
const saved = /** @type {HTMLElement} */ (document.querySelector("[data-saved]"));
const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("dialog[data-save]"));
const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-save-form]"));
const name = /** @type {HTMLInputElement} */ (form.elements.namedItem("name"));

/**
 * @param {() => Promise<unknown>} change
 * @param {string} done
 * @returns {Promise<boolean>} whether it was done
 */
async function changed(change, done) {
  let isDone = true;
  try {
    await change();
    say(done);
  } catch (error) {
    isDone = false;
    say(error instanceof Error ? error.message : String(error), { isBad: true });
  }
  await load(location.pathname + location.search);
  return isDone;
}

saved.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  const remove = /** @type {HTMLElement | null} */ (target.closest("[data-remove]"));
  if (remove) changed(() => deleteJson(`${FILTERS}/${remove.dataset.remove}`), _("Filter removed."));
  if (target.closest("[data-save-open]")) dialog.showModal();
});
form.querySelector("[data-save-cancel]")?.addEventListener("click", () => dialog.close());
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const label = name.value.trim();
  if (!label) return;
  dialog.close();
  const isSaved = await changed(() => postJson(FILTERS, { name: label, query: chosenFilters() }), _("Saved as “{name}”.", { name: label }));
  if (!isSaved) dialog.showModal(); // with the name that was typed
  else if (name.value.trim() === label) name.value = "";
});
