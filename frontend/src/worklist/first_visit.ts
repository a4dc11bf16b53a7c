// The first visit asks for a blind read or not, once; Escape shows the model's results, as before any choice.
import { ask } from "../shared/dialogs";
import { hasChosenReadFirst, setReadFirst } from "../shared/preferences";

export async function askOnFirstVisit(): Promise<void> {
  const dialog = document.querySelector<HTMLDialogElement>("dialog[data-first-visit]");
  if (!dialog) return;
  if (!hasChosenReadFirst()) {
    const isBlind = (await ask(dialog)) === "blind";
    setReadFirst(isBlind);
    if (isBlind) {
      location.reload();
      return;
    }
  }
  dialog.remove();
}
