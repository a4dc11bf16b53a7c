// The controls of a reader's verdict: buttons, reasons, comment and undo.
import { element, fromTemplate } from "../shared/dom";
import { _ } from "../shared/i18n";
import { BUTTONS, REASONS, VERDICTS } from "./finding_terms";
import type { Verdict } from "./types";

export function verdictButtons(chosen: Verdict | undefined, decide: (verdict: Verdict) => void): HTMLElement {
  const buttons = VERDICTS.map((verdict) =>
    element(
      "button",
      {
        type: "button",
        class: "button",
        "data-verdict": verdict,
        "data-key": verdict,
        "aria-pressed": String(chosen === verdict),
        title: `${BUTTONS[verdict]} (${verdict[0]})`,
        onclick: () => decide(verdict),
      },
      fromTemplate(`[data-icon="${verdict}"]`),
      BUTTONS[verdict],
    ),
  );
  return element("div", { class: "verdicts", role: "group", "aria-label": _("Your verdict") }, ...buttons);
}

export function reasonChoices(verdict: Verdict, chosen: string, choose: (reason: string) => void): HTMLElement {
  const choices = REASONS[verdict].map((reason, index) =>
    element(
      "label",
      {},
      element("input", {
        type: "radio",
        name: "reason",
        value: reason,
        checked: reason === chosen,
        "data-key": `reason ${reason}`,
        onchange: () => choose(reason),
      }),
      element("kbd", { "aria-hidden": "true" }, `⇧${index + 1}`),
      element("span", {}, _(reason)),
    ),
  );
  return element(
    "div",
    { class: "why" },
    element("div", { class: "choices", role: "radiogroup", "aria-label": _("Reason") }, ...choices),
  );
}

export function commentField(type: (text: string) => void, save: () => void): HTMLElement {
  return element("input", {
    type: "text",
    name: "comment",
    maxlength: 2000,
    placeholder: _("Comment, then Enter"),
    "data-key": "comment",
    "aria-label": _("Comment"),
    autocomplete: "off",
    oninput: (event: Event) => type((event.target as HTMLInputElement).value),
    onkeydown: (event: KeyboardEvent) => {
      if (event.key === "Enter" && !event.isComposing) save();
      if (event.key === "Escape") (event.target as HTMLElement).blur();
    },
  });
}

// While somebody types, the draft is what stands in the field.
export function showComment(root: HTMLElement, text: string): void {
  const field = root.querySelector<HTMLInputElement>('input[name="comment"]');
  if (field && field.value !== text) field.value = text;
}

export function undoButton(of: "verdict" | "mark", undo: () => void): HTMLElement {
  return element(
    "button",
    {
      type: "button",
      class: "button quiet undo",
      "data-undo": true,
      "data-key": "undo",
      title: "Ctrl+Z",
      onclick: undo,
    },
    fromTemplate('[data-icon="again"]'),
    of === "verdict" ? _("Undo verdict") : _("Remove mark"),
  );
}
