// The end of a session while a reader works.
import { ask } from "../shared/dialogs";
import { find } from "../shared/dom";
import { goToSignIn } from "../shared/http";
import type { FindingList } from "./findings";

// Go to the sign-in page; with unsaved verdicts, ask first whether to save them again.
export function offerToSave(list: FindingList): void {
  if (!list.decisions.unsaved.length) {
    goToSignIn();
    return;
  }
  const dialog = find<HTMLDialogElement>("signed-out");
  if (dialog.open) return;
  void ask(dialog).then((answer) => {
    if (answer === "again") void list.saveAll();
    else goToSignIn();
  });
}
