// What is done to a study from its row: reviewed or not, analysed again, not waited for any longer.
import { _ } from "../words.js";
import { postJson } from "../http.js";
import { chosenRow, load } from "./list.js";
import { say } from "./toast.js";

const list = /** @type {HTMLElement} */ (document.querySelector("[data-list]"));
const dialog = /** @type {HTMLDialogElement} */ (document.querySelector("[data-confirm]"));

/**
 * @typedef {object} Action
 * @property {string} path below the study's address
 * @property {object} body
 * @property {string} done what is said when it is done
 * @property {{title: string, text: string, yes: string}} [ask] what is asked before
 */

/** @type {Record<string, Action>} */
const ACTIONS = {
  review: { path: "review", body: { reviewed: true }, done: _("Marked as reviewed.") },
  reopen: { path: "review", body: { reviewed: false }, done: _("Marked as unread.") },
  again: {
    path: "analyses",
    body: {},
    done: _("Analysis requested."),
    ask: {
      title: _("Analyse again?"),
      text: _("All series of this study are analysed again. The current findings stay on record and are replaced here by the new result."),
      yes: _("Analyse again"),
    },
  },
  complete: {
    path: "complete",
    body: {},
    done: _("Study closed for new images."),
    ask: {
      title: _("Analyse without waiting?"),
      text: _("More images may still arrive. The received images are analysed now, and again if more arrive."),
      yes: _("Analyse now"),
    },
  },
};

/**
 * @param {NonNullable<Action["ask"]>} ask
 * @param {string} who
 * @returns {Promise<boolean>}
 */
function confirmed(ask, who) {
  const put = (/** @type {string} */ name, /** @type {string} */ text) => {
    /** @type {HTMLElement} */ (dialog.querySelector(`[data-confirm-${name}]`)).textContent = text;
  };
  put("title", ask.title);
  put("text", `${who}. ${ask.text}`);
  put("yes", ask.yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/**
 * @param {HTMLTableRowElement} row
 * @param {string} named
 */
async function act(row, named) {
  const action = ACTIONS[named];
  if (!action) return;
  const uid = row.dataset.study;
  const name = row.querySelector(".row-link")?.textContent ?? "";
  if (action.ask && !(await confirmed(action.ask, name))) return;
  row.classList.add("busy");
  try {
    await postJson(`/api/v1/studies/${uid}/${action.path}`, action.body);
    say(`${name}: ${action.done}`);
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), { isBad: true });
  }
  row.classList.remove("busy");
  await load(location.pathname + location.search);
}

/**
 * Do the first of these that the chosen row offers.
 * @param {...string} names
 */
export function actOnChosen(...names) {
  const row = chosenRow();
  const name = names.find((one) => row?.querySelector(`[data-act=${one}]`));
  if (row && name) act(row, name);
}

list.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("[data-act]"));
  const row = /** @type {HTMLTableRowElement | null} */ (button?.closest("tr[data-study]"));
  if (row && button?.dataset.act) act(row, button.dataset.act);
});
