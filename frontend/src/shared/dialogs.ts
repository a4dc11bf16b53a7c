// Modal dialogs of the page's template.
import { find } from "./dom";

const TYPED_INTO = 'input:not([type="radio"]):not([type="checkbox"]):not([type="range"]), textarea, select';

// Open a dialog; resolves to the value of the button that closed it, empty for Escape.
export function ask(dialog: HTMLDialogElement): Promise<string> {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

// True if a key belongs to a field or a dialog, and so to no shortcut of the page.
export function isTyping(target: EventTarget | null): boolean {
  return (target instanceof Element && target.matches(TYPED_INTO)) || document.querySelector("dialog[open]") !== null;
}

// Let the button open the list of keyboard shortcuts; returns what a key does for the same.
export function installHelp(): () => void {
  const dialog = find<HTMLDialogElement>("help");
  const show = () => dialog.showModal();
  document.querySelector("[data-help-open]")?.addEventListener("click", show);
  return show;
}
