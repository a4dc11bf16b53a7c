// Texts of a row, cut to one line: shown in full under the pointer, notes also at the keyboard's focus, until Escape.
import { find } from "../shared/dom";

const list = find("list");

const notesOf = (part: Element | null | undefined): HTMLElement | null => part?.querySelector(".notes") ?? null;

function isCut(part: Element): boolean {
  return [...part.querySelectorAll(".lines, .row-link, .line, .sub, .two-lines")].some(
    ({ scrollWidth, clientWidth, scrollHeight, clientHeight }) =>
      scrollWidth > clientWidth || scrollHeight > clientHeight + 1,
  );
}

// Show the text of a cut cell as its title.
function entitle(cell: HTMLTableCellElement | null): void {
  if (cell && isCut(cell)) cell.title = cell.textContent.replace(/\s+/g, " ").trim();
}

function open(notes: HTMLElement | null): void {
  for (const other of list.querySelectorAll(".notes.open")) if (other !== notes) other.classList.remove("open");
  if (notes && !notes.classList.contains("open") && isCut(notes)) notes.classList.add("open");
}

const focusedNotes = (): HTMLElement | null => notesOf(list.querySelector("tr:has(.row-link:focus-visible)"));

list.addEventListener("pointerover", (event) => {
  const cell = (event.target as Element).closest<HTMLTableCellElement>("tr[data-study] td");
  const notes = notesOf(cell);
  open(notes ?? focusedNotes());
  if (!notes) entitle(cell);
});
list.addEventListener("pointerleave", () => open(focusedNotes()));
list.addEventListener("focusin", () => open(focusedNotes()));
list.addEventListener("focusout", () => open(null));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") open(null);
});
