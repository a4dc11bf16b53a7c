// One line about what was just done, read out by screen readers.
import { find } from "../shared/dom";

const SHOWN_MS = 4000;
const ERROR_SHOWN_MS = 9000;

const toast = find("toast");
let timer = 0;

export function say(text: string, { isBad = false } = {}): void {
  toast.textContent = text;
  toast.classList.toggle("bad", isBad);
  toast.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(
    () => {
      toast.hidden = true;
    },
    isBad ? ERROR_SHOWN_MS : SHOWN_MS,
  );
}

export function sayError(error: unknown): void {
  say(error instanceof Error ? error.message : String(error), { isBad: true });
}
