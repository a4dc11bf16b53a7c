// A reader's own filters: saved under a name, one click away, removed again.
import { find } from "../shared/dom";
import { deleteJson, postJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { chosenFilters } from "./filters";
import { load } from "./list";
import { say, sayError } from "./toast";

const FILTERS = "/api/v1/worklist/filters";
const dialog = document.querySelector("dialog[data-save]") as HTMLDialogElement;
const form = find<HTMLFormElement>("save-form");
const name = form.elements.namedItem("name") as HTMLInputElement;

// Change the saved filters and show them; returns whether it was done.
async function change(request: () => Promise<unknown>, done: string): Promise<boolean> {
  let isDone = true;
  try {
    await request();
    say(done);
  } catch (error) {
    isDone = false;
    sayError(error);
  }
  await load(location.pathname + location.search);
  return isDone;
}

async function save(): Promise<void> {
  const label = name.value.trim();
  if (!label) return;
  dialog.close();
  const request = () => postJson(FILTERS, { name: label, query: chosenFilters() });
  const isSaved = await change(request, _("Saved as “{name}”.", { name: label }));
  if (!isSaved)
    dialog.showModal(); // with the name that was typed
  else if (name.value.trim() === label) name.value = "";
}

find("saved").addEventListener("click", (event) => {
  const target = event.target as Element;
  const remove = target.closest<HTMLElement>("[data-remove]");
  if (remove) void change(() => deleteJson(`${FILTERS}/${remove.dataset.remove}`), _("Filter removed."));
  if (target.closest("[data-save-open]")) dialog.showModal();
});
find("save-cancel", form).addEventListener("click", () => dialog.close());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void save();
});
