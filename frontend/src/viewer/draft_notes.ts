// Notes on decisions that are not saved.
import { type Child, element } from "../shared/dom";
import type { Draft } from "../shared/drafts";
import { _ } from "../shared/i18n";
import { VERDICT_WORDS } from "./finding_terms";
import type { Assessment, Verdict } from "./types";

export function draftNote(draft: Draft, own: Assessment | null, save: () => void, drop: () => void): HTMLElement {
  const { verdict, reason, error, isPending } = draft;
  if (isPending) return element("p", { class: "draft small muted", role: "status" }, _("Saving…"));
  const isComment = !error && verdict === own?.verdict && reason === own.reason;
  const decision = decisionText(draft);
  const text = isComment ? _("The comment is not saved.") : _("Not saved: {decision}. {error}", { decision, error });
  return element(
    "div",
    { class: `draft note small ${error ? "bad" : ""}`, role: error ? "alert" : "status" },
    element("p", {}, text),
    element(
      "button",
      { type: "button", class: "button small", "data-key": "save", "data-draft-save": true, onclick: save },
      _("Save"),
    ),
    dropButton(drop),
  );
}

// The note on a finding that an analysis has replaced; ``move`` gives the draft to the selected finding, if any.
export function replacedNote(draft: Draft, move: (() => void) | null, drop: () => void): HTMLElement {
  const decision = decisionText(draft);
  const moveButton: Child =
    move &&
    element(
      "button",
      { type: "button", class: "button small", "data-key": "move", onclick: move },
      _("Use for the selected finding"),
    );
  return element(
    "div",
    { class: "draft note warn small", role: "status" },
    element("p", {}, _("Not saved: {decision}. A new analysis has replaced this finding.", { decision })),
    moveButton,
    dropButton(drop),
  );
}

function decisionText({ verdict, reason }: Draft): string {
  return `${VERDICT_WORDS[verdict as Verdict]}${reason ? `: ${_(reason)}` : ""}`;
}

function dropButton(drop: () => void): HTMLElement {
  return element(
    "button",
    { type: "button", class: "button quiet small", "data-key": "drop", "data-draft-drop": true, onclick: drop },
    _("Discard"),
  );
}
