// Entry of the upload form: drop, preview, progress. Without scripts it is an ordinary form.
import { Preview } from "../detector/preview";
import { SliceMark } from "../detector/slice_mark";
import { Upload } from "../detector/upload";
import { find } from "../shared/dom";
import { _ } from "../shared/i18n";

const form = find<HTMLFormElement>("upload");
const input = form.querySelector("#image") as HTMLInputElement;
const drop = find("drop", form);
const upload = new Upload(form);
const preview = new Preview(form, new SliceMark(form));

const chosenFile = (): File | null => input.files?.[0] ?? null;

function showChosen(): void {
  upload.clear();
  void preview.show(chosenFile());
}

function onDrop(event: DragEvent): void {
  event.preventDefault();
  const files = event.dataTransfer?.files;
  if (!files?.length) return;
  if (files.length > 1) {
    upload.fail(_("One file at a time. Upload a series as a zip."));
    return;
  }
  input.files = files;
  showChosen();
}

async function onSubmit(event: SubmitEvent): Promise<void> {
  event.preventDefault();
  const file = chosenFile();
  const obstacle = file && (await preview.obstacle(file));
  if (obstacle) upload.fail(obstacle);
  else upload.send();
}

input.addEventListener("change", showChosen);
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", onDrop);
form.addEventListener("submit", (event) => void onSubmit(event));
addEventListener("pageshow", () => {
  upload.settle(); // back from the answer
  showChosen();
});
