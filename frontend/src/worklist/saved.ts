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
const problem = find("save-error", form);
const name = form.elements.namedItem("name") as HTMLInputElement;

async function save(): Promise<void> {
  const label = name.value.trim();
  if (!label) return;
  problem.hidden = true;
  try {
    await postJson(FILTERS, { name: label, query: chosenFilters() });
  } catch (error) {
    problem.textContent = error instanceof Error ? error.message : String(error);
    problem.hidden = false;
    return;
  }
  dialog.close();
  say(_("Saved as “{name}”.", { name: label }));
  if (name.value.trim() === label) name.value = "";
  await load(location.pathname + location.search);
}

async function remove(id: string): Promise<void> {
  try {
    await deleteJson(`${FILTERS}/${id}`);
    say(_("Filter removed."));
  } catch (error) {
    sayError(error);
  }
  await load(location.pathname + location.search);
}

find("saved").addEventListener("click", (event) => {
  const target = event.target as Element;
  const id = target.closest<HTMLElement>("[data-remove]")?.dataset.remove;
  if (id) void remove(id);
  if (target.closest("[data-save-open]")) dialog.showModal();
});
find("save-cancel", form).addEventListener("click", () => dialog.close());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  void save();
});
