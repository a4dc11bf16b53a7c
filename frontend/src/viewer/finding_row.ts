// The row of a finding in the list, and the tags below it.
import { type Child, element, fromTemplate } from "../shared/dom";
import { _ } from "../shared/i18n";
import { axesText, millimetres, probabilityBar } from "./display";
import { SIDES, THIRDS, VERDICT_WORDS } from "./finding_terms";
import { sizesOf } from "./sizes";
import type { Finding } from "./types";

export interface RowState {
  number: number;
  isSelected: boolean;
  isBlind: boolean;
  image: number | null; // Instance Number of its slice
}

// Side, third and image number in words; the lobe is not known.
export function placeText({ attributes: { location } }: Pick<Finding, "attributes">, image: number | null): string {
  const words = location ? [SIDES[location.side], location.third && THIRDS[location.third]] : [];
  const parts = [words.filter(Boolean).join(", "), image === null ? "" : _("image {number}", { number: image })];
  return parts.filter(Boolean).join(" · ");
}

export function findingRow(finding: Finding, state: RowState, crop: HTMLElement, select: () => void) {
  const { number, isSelected, isBlind, image } = state;
  return element(
    "button",
    {
      type: "button",
      class: "finding-row",
      "data-key": "row",
      "aria-expanded": String(isSelected),
      onclick: select,
    },
    element("b", { class: "num" }, String(number)),
    crop,
    element(
      "span",
      { class: "finding-main" },
      answer(finding, isBlind),
      element("small", { class: "place muted" }, placeText(finding, image)),
    ),
    element("span", { class: "num" }, lengthText(finding, isBlind)),
  );
}

export function replacedRow(): HTMLElement {
  return element(
    "div",
    { class: "finding-row" },
    element("b", {}, "–"),
    element("span", { class: "muted" }, _("Finding of an earlier analysis")),
  );
}

// The longest diameter; of a reader who has not seen the model's answer yet, only the own one.
function lengthText(finding: Finding, isBlind: boolean): string {
  const { longMm, reader } = sizesOf(finding);
  return longMm === null || (isBlind && !reader) ? "" : millimetres(longMm);
}

function answer(finding: Finding, isBlind: boolean): HTMLElement {
  if (isBlind) return element("span", { class: "muted" }, _("Shown when you have read"));
  if (finding.displayed === null) return element("span", { class: "muted" }, _("No probability"));
  return probabilityBar(finding.displayed, finding.interval);
}

export function findingTags(finding: Finding, isUnsaved: boolean): Child {
  const tags: HTMLElement[] = [];
  if (finding.origin === "reader")
    tags.push(element("span", {}, _("marked by {name}", { name: finding.created_by_name })));
  if (isUnsaved) tags.push(element("span", { class: "unsaved" }, _("Not saved")));
  if (finding.assessment) {
    const { verdict, reason, reader_name, comment, size } = finding.assessment;
    tags.push(
      element(
        "span",
        { class: "verdict" },
        fromTemplate(`[data-icon="${verdict}"]`),
        reason ? `${VERDICT_WORDS[verdict]}: ${_(reason)}` : VERDICT_WORDS[verdict],
      ),
    );
    tags.push(element("span", {}, reader_name));
    if (size) tags.push(element("span", { class: "size num" }, axesText(size)));
    if (comment) tags.push(element("span", { class: "comment" }, comment));
  }
  return tags.length > 0 && element("div", { class: "finding-tags" }, ...tags);
}
