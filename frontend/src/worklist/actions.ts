// Actions on a study from its row: mark as reviewed or unread, assign, analyse again, close for new images.
import { ask } from "../shared/dialogs";
import { find } from "../shared/dom";
import { postJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { chosenRow, load } from "./list";
import { say, sayError } from "./toast";

interface Question {
  title: string;
  text: string;
  yes: string;
}

interface Action {
  path: string; // below the study's URL
  body: object;
  done: string; // what is said when it is done
  question?: Question; // what is asked before
}

const ACTIONS: Record<string, Action> = {
  review: { path: "review", body: { reviewed: true }, done: _("Marked as reviewed.") },
  reopen: { path: "review", body: { reviewed: false }, done: _("Marked as unread.") },
  assign: { path: "assignment", body: { assigned: true }, done: _("Assigned to you.") },
  unassign: { path: "assignment", body: { assigned: false }, done: _("Assignment ended.") },
  again: {
    path: "analyses",
    body: {},
    done: _("Analysis requested."),
    question: {
      title: _("Analyse again?"),
      text: _(
        "All series of this study are analysed again. The current findings stay on record and are replaced here by " +
          "the new result.",
      ),
      yes: _("Analyse again"),
    },
  },
  complete: {
    path: "complete",
    body: {},
    done: _("Study closed for new images."),
    question: {
      title: _("Analyse without waiting?"),
      text: _("More images may still arrive. The received images are analysed now, and again if more arrive."),
      yes: _("Analyse now"),
    },
  },
};

async function isConfirmed({ title, text, yes }: Question, patient: string): Promise<boolean> {
  const dialog = find<HTMLDialogElement>("confirm");
  find("confirm-title", dialog).textContent = title;
  find("confirm-text", dialog).textContent = `${patient}. ${text}`;
  find("confirm-yes", dialog).textContent = yes;
  return (await ask(dialog)) === "yes";
}

async function act(row: HTMLTableRowElement, name: string): Promise<void> {
  const action = ACTIONS[name];
  if (!action) return;
  const uid = row.dataset.study;
  const patient = row.querySelector(".row-link")?.textContent ?? "";
  if (action.question && !(await isConfirmed(action.question, patient))) return;
  row.classList.add("busy");
  try {
    await postJson(`/api/v1/studies/${uid}/${action.path}`, action.body);
    say(`${patient}: ${action.done}`);
  } catch (error) {
    sayError(error);
  }
  row.classList.remove("busy");
  await load(location.pathname + location.search);
}

// Do the first of these that the chosen row offers.
export function actOnChosen(...names: string[]): void {
  const row = chosenRow();
  const name = names.find((each) => row?.querySelector(`[data-act=${each}]`));
  if (row && name) void act(row, name);
}

find("list").addEventListener("click", (event) => {
  const button = (event.target as Element).closest<HTMLElement>("[data-act]");
  const row = button?.closest<HTMLTableRowElement>("tr[data-study]");
  if (row && button?.dataset.act) void act(row, button.dataset.act);
});
