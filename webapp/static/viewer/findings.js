// The list of findings, and what a reader says to each.
import { postJson } from "../http.js";
import { element, fromTemplate, hundredDots, outOfHundred, percent, probabilityBar } from "./dom.js";

const REASONS = {
  accept: ["Nodule", "Known before", "Suspicious"],
  reject: ["Vessel", "Scar", "Lymph node", "Calcified", "Artefact", "Not in the lung"],
  unsure: ["Follow up", "Second opinion", "Poor image"],
};
const WORDS = { accept: "Accepted", reject: "Rejected", unsure: "Unsure" };
const BUTTONS = { accept: "Accept", reject: "Reject", unsure: "Unsure" };

function numbered(value, digits, unit) {
  return value === null || value === undefined ? "–" : `${Number(value).toFixed(digits)} ${unit}`;
}

function facts(finding) {
  const rows = [
    ["Diameter", numbered(finding.diameter_mm, 1, "mm")],
    ["Interval", finding.interval ? `${percent(finding.interval[0])} to ${percent(finding.interval[1])}` : "–"],
    ["Is a nodule", finding.nodule_probability === null ? "not asked" : percent(finding.nodule_probability)],
    ["Possible", finding.prediction_set.length ? finding.prediction_set.join(" or ") : "–"],
    ["Position", finding.position_mm.map((part) => part.toFixed(0)).join(", ") + " mm"],
  ];
  if (typeof finding.attributes.density === "string") rows.splice(1, 0, ["Density", finding.attributes.density]);
  if (finding.attributes.volume_mm3) rows.splice(1, 0, ["Volume", numbered(finding.attributes.volume_mm3, 0, "mm³")]);
  return element("dl", { class: "facts num" }, ...rows.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
}

function frequency(finding) {
  if (finding.malignancy_probability === null) return null;
  const { count, words } = outOfHundred(finding.malignancy_probability);
  return element("div", { class: "frequency" }, hundredDots(count),
    element("p", {}, `Of 100 nodules with this number, ${words} were rated malignant by radiologists.`));
}

function notes(finding) {
  if (!finding.reasons.length) return null;
  return element("ul", { class: "note warn small reasons" }, ...finding.reasons.map((reason) => element("li", {}, reason.text)));
}

export class FindingList {
  // calls: select(id), changed(finding), failed(error)
  constructor(root, mayDecide, calls) {
    this.root = root;
    this.mayDecide = mayDecide;
    this.calls = calls;
    this.findings = [];
    this.selected = null;
    this.emptyText = root.querySelector("[data-none]")?.textContent || "There are no findings.";
  }

  render(findings, selected) {
    this.findings = findings;
    this.selected = selected;
    const items = findings.map((finding, index) => this.item(finding, index + 1));
    this.root.replaceChildren(...(items.length ? items : [element("li", { class: "muted no-finding" }, this.emptyText)]));
    this.root.querySelector(".finding.selected")?.scrollIntoView({ block: "nearest" });
  }

  item(finding, number) {
    const isSelected = finding.id === this.selected;
    const value = finding.malignancy_probability === null
      ? element("span", { class: "muted" }, "No probability")
      : probabilityBar(finding.malignancy_probability, finding.interval);
    const head = element("button", { type: "button", class: "finding-row", "aria-expanded": String(isSelected), onclick: () => this.calls.select(finding.id) },
      element("b", { class: "num" }, String(number)), value,
      element("span", { class: "num" }, finding.diameter_mm === null ? "" : `${finding.diameter_mm.toFixed(1)} mm`));
    return element("li", { class: `finding ${finding.verdict || ""} ${isSelected ? "selected" : ""}`, "data-finding": finding.id },
      head, this.tags(finding), isSelected ? this.body(finding) : null);
  }

  tags(finding) {
    const tags = [];
    if (finding.origin === "reader") tags.push(element("span", {}, `marked by ${finding.created_by}`));
    if (finding.assessment) {
      const { verdict, reason, reader } = finding.assessment;
      tags.push(element("span", { class: "verdict" }, fromTemplate(`[data-icon="${verdict}"]`), reason ? `${WORDS[verdict]}: ${reason}` : WORDS[verdict]));
      tags.push(element("span", {}, reader));
    }
    return tags.length ? element("div", { class: "finding-tags" }, ...tags) : null;
  }

  body(finding) {
    return element("div", { class: "finding-body" }, facts(finding), notes(finding), frequency(finding),
      this.mayDecide ? this.verdicts(finding) : null, this.mayDecide && finding.verdict ? this.why(finding) : null);
  }

  verdicts(finding) {
    const buttons = Object.entries(BUTTONS).map(([verdict, word]) => element("button", {
      type: "button", class: "button", "data-verdict": verdict, "aria-pressed": String(finding.verdict === verdict),
      title: `${word} (${word[0]})`, onclick: () => this.decide(verdict),
    }, fromTemplate(`[data-icon="${verdict}"]`), word));
    return element("div", { class: "verdicts", role: "group", "aria-label": "Your verdict" }, ...buttons);
  }

  why(finding) {
    const chosen = finding.assessment.reason;
    const choices = REASONS[finding.verdict].map((reason) => element("label", {},
      element("input", { type: "radio", name: "reason", value: reason, checked: reason === chosen, onchange: () => this.decide(finding.verdict, { reason }) }), reason));
    const comment = element("input", { type: "text", name: "comment", maxlength: 2000, value: finding.assessment.comment, placeholder: "Comment, then Enter",
      "aria-label": "Comment", onkeydown: (event) => { if (event.key === "Enter") this.decide(finding.verdict, { comment: event.target.value }); } });
    return element("div", { class: "why" }, element("div", { class: "choices", role: "radiogroup", "aria-label": "Reason" }, ...choices), comment);
  }

  async decide(verdict, { reason, comment } = {}) {
    const finding = this.findings.find(({ id }) => id === this.selected);
    if (!finding || !this.mayDecide) return;
    const same = finding.verdict === verdict ? finding.assessment : null; // a changed mind starts with a new reason
    try {
      this.calls.changed(await postJson(`/api/v1/findings/${finding.id}/assessment`, {
        verdict, reason: reason ?? same?.reason ?? "", comment: comment ?? same?.comment ?? "",
      }));
    } catch (error) {
      this.calls.failed(error);
    }
  }
}
