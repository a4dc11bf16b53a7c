// The list of findings, most probably malignant first, and what a reader says to each.
import { _, english, recorded } from "../../../webapp/static/words.js";
import { postJson, deleteJson } from "../../../webapp/static/http.js";
import { type Child, element, fromTemplate, millimetres, outOfHundred, percent, probabilityBar, svg } from "./dom";
import { histogramFigure } from "./histogram";
import type { Explanation, MapName } from "./overlay";
import type { Finding, Histogram, Verdict } from "./types";

const REASONS: Record<Verdict, string[]> = { // kept in English
  accept: [english("Nodule"), english("Known before"), english("Suspicious")],
  reject: [english("Vessel"), english("Scar"), english("Lymph node"), english("Calcified"), english("Artefact"), english("Not in the lung")],
  unsure: [english("Follow up"), english("Second opinion"), english("Poor image")],
};
const WORDS: Record<Verdict, string> = { accept: _("Accepted"), reject: _("Rejected"), unsure: _("Unsure") };
const BUTTONS: Record<Verdict, string> = { accept: _("Accept"), reject: _("Reject"), unsure: _("Unsure") };
const MAPS: Record<MapName, { label: string; tells: string }> = { // shares: docs/model/nodule.md, "Explanations"
  attention: { label: _("Attention"), tells: _("Where the network's attention lay. Measured on known nodules it is no more on the nodule than anywhere else (11 % of it, for 11 % of the picture), so it does not show what the number rests on.") },
  gradient: { label: _("Gradients"), tells: _("Pixels that move the number. On known nodules 42 % of it lies on the nodule, which is 11 % of the picture. It does not say why, and brighter is not more malignant.") },
};
const SAID: Record<string, string> = { // words of the records
  benign: _("benign"), malignant: _("malignant"), solid: _("solid"), "part-solid": _("part-solid"), "ground-glass": _("ground-glass"),
};
english("the 2D and the 3D networks disagree"); // a doubt of the records (inference/opinions.py)
const HALF = 0.5;
const VERDICTS = Object.keys(BUTTONS) as Verdict[];

export interface ListCalls {
  select(id: string): void;
  changed(finding: Finding): void;
  withdrawn(finding: Finding): void;
  failed(error: Error): void;
  explained(explanation: Explanation | null): void;
}

export interface ListState {
  findings: Finding[];
  selected: string | null;
  isBlind: boolean; // the model's numbers are not told, not even of a place that the reader marked
  explanation: Explanation | null; // which map lies over the image, if any
}

interface Choice {
  reason?: string;
  comment?: string;
}

export class FindingList {
  histogram: Histogram | null = null;
  private state: ListState = { findings: [], selected: null, isBlind: false, explanation: null };
  private readonly emptyText: string;

  constructor(private readonly root: HTMLElement, private readonly mayDecide: boolean, private readonly calls: ListCalls) {
    this.emptyText = root.dataset.none ?? _("There are no findings.");
  }

  render(state: ListState): void {
    const isNewlySelected = state.selected !== this.state.selected;
    this.state = state;
    const focused = this.focusKey();
    const items = state.findings.map((finding, index) => this.item(finding, index + 1));
    this.root.replaceChildren(...(items.length ? items : [element("li", { class: "muted no-finding" }, state.isBlind ? _("Nothing of yours yet.") : this.emptyText)]));
    if (focused) this.root.querySelector<HTMLElement>(focused)?.focus({ preventScroll: true });
    if (isNewlySelected) this.scrollToSelected();
  }

  // Within the list's own column only: a page that scrolls as a whole would take the image off the screen.
  private scrollToSelected(): void {
    const [column, item] = [this.root.closest<HTMLElement>(".findings"), this.root.querySelector(".finding.selected")];
    if (!column || !item || column.scrollHeight <= column.clientHeight) return;
    const [around, box] = [column.getBoundingClientRect(), item.getBoundingClientRect()];
    if (box.top < around.top) column.scrollTop += box.top - around.top;
    else if (box.bottom > around.bottom) column.scrollTop += Math.min(box.bottom - around.bottom, box.top - around.top);
  }

  // The list is made anew at every change: whoever was at a control of it stays there.
  private focusKey(): string | null {
    const focused = document.activeElement;
    if (!(focused instanceof HTMLElement) || !this.root.contains(focused)) return null;
    const key = focused.dataset.key;
    const finding = focused.closest<HTMLElement>("[data-finding]")?.dataset.finding;
    return key && finding ? `[data-finding="${finding}"] [data-key="${CSS.escape(key)}"]` : null;
  }

  private item(finding: Finding, number: number): HTMLElement {
    const isSelected = finding.id === this.state.selected;
    const head = element("button", { type: "button", class: "finding-row", "data-key": "row", "aria-expanded": String(isSelected), onclick: () => this.calls.select(finding.id) },
      element("b", { class: "num" }, String(number)), this.answer(finding),
      element("span", { class: "num" }, this.state.isBlind || finding.diameter_mm === null ? "" : millimetres(finding.diameter_mm)));
    return element("li", { class: `finding ${finding.verdict ?? ""} ${isSelected ? "selected" : ""}`, "data-finding": finding.id },
      head, this.tags(finding), isSelected && this.body(finding));
  }

  private answer(finding: Finding): HTMLElement {
    if (this.state.isBlind) return element("span", { class: "muted" }, _("Shown when you have read"));
    if (finding.malignancy_probability === null) return element("span", { class: "muted" }, _("No probability"));
    return probabilityBar(finding.malignancy_probability, finding.interval);
  }

  private tags(finding: Finding): Child {
    const tags: HTMLElement[] = [];
    if (finding.origin === "reader") tags.push(element("span", {}, _("marked by {name}", { name: finding.created_by_name })));
    if (finding.assessment) {
      const { verdict, reason, reader_name } = finding.assessment;
      tags.push(element("span", { class: "verdict" }, fromTemplate(`[data-icon="${verdict}"]`), reason ? `${WORDS[verdict]}: ${_(reason)}` : WORDS[verdict]));
      tags.push(element("span", {}, reader_name));
    }
    return tags.length > 0 && element("div", { class: "finding-tags" }, ...tags);
  }

  private body(finding: Finding): HTMLElement {
    const told = this.state.isBlind ? [] : [notes(finding), this.facts(finding), this.known(finding), this.explanation()];
    const decided = this.mayDecide ? [this.verdicts(finding), this.why(finding), this.undoButton(finding)] : [];
    return element("div", { class: "finding-body" }, ...decided, ...told);
  }

  private facts(finding: Finding): HTMLElement {
    const { attributes } = finding;
    const rows: [string, string][] = [
      [_("Diameter"), millimetres(finding.diameter_mm)],
      ...(typeof attributes.density === "string" ? [[_("Density"), SAID[attributes.density] ?? attributes.density] as [string, string]] : []),
      ...(typeof attributes.volume_mm3 === "number" ? [[_("Volume"), `${attributes.volume_mm3.toFixed(0)} mm³`] as [string, string]] : []),
      [_("Interval"), finding.interval ? span(...finding.interval) : "–"],
      ...secondOpinion(finding),
      [_("Is a nodule"), finding.nodule_probability === null ? _("not asked") : percent(finding.nodule_probability)],
      [_("Possible"), finding.prediction_set.map((name) => SAID[name] ?? name).join(_(" or ")) || "–"],
      [_("Position"), `${finding.position_mm.map((part) => part.toFixed(0)).join(", ")} mm`],
    ];
    return element("dl", { class: "facts num" }, ...rows.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]));
  }

  private known(finding: Finding): Child {
    const share = finding.malignancy_probability;
    if (share === null) return null;
    const { count, words } = outOfHundred(share);
    const frequency = element("div", { class: "frequency" }, hundredDots(count),
      element("p", {}, _("If the number is right, radiologists would rate {words} of 100 nodules like this malignant.", { words })));
    return element("div", { class: "known-nodules" }, frequency, this.histogram && histogramFigure(this.histogram, share));
  }

  private explanation(): HTMLElement {
    const { explanation } = this.state;
    const choice = (map: MapName | null, label: string) => element("label", {}, element("input", {
      type: "radio", name: "map", checked: (explanation?.map ?? null) === map, "data-map": map ?? "none", "data-key": `map ${map}`,
      onchange: () => this.calls.explained(map && { map, opacity: explanation?.opacity ?? HALF }),
    }), label);
    const maps = (Object.keys(MAPS) as MapName[]).map((map) => choice(map, MAPS[map].label));
    const slider = explanation && element("input", { type: "range", min: 0, max: 100, step: 5, value: Math.round(explanation.opacity * 100), "data-key": "opacity", "aria-label": _("Opacity of the map"),
      oninput: (event: Event) => this.calls.explained({ ...explanation, opacity: Number((event.target as HTMLInputElement).value) / 100 }) });
    return element("fieldset", { class: "explanation" }, element("legend", {}, _("Map over the image")),
      element("div", { class: "choices" }, choice(null, _("None")), ...maps), slider,
      explanation && element("p", { class: "small muted", role: "note" }, MAPS[explanation.map].tells));
  }

  private verdicts(finding: Finding): HTMLElement {
    const buttons = VERDICTS.map((verdict) => element("button", {
      type: "button", class: "button", "data-verdict": verdict, "data-key": verdict, "aria-pressed": String(finding.verdict === verdict),
      title: `${BUTTONS[verdict]} (${verdict[0]})`, onclick: () => this.decide(verdict),
    }, fromTemplate(`[data-icon="${verdict}"]`), BUTTONS[verdict]));
    return element("div", { class: "verdicts", role: "group", "aria-label": _("Your verdict") }, ...buttons);
  }

  private why(finding: Finding): Child {
    const { assessment } = finding;
    if (!assessment) return null;
    const choices = REASONS[assessment.verdict].map((reason) => element("label", {},
      element("input", { type: "radio", name: "reason", value: reason, checked: reason === assessment.reason, "data-key": `reason ${reason}`, onchange: () => this.decide(assessment.verdict, { reason }) }), _(reason)));
    const comment = element("input", { type: "text", name: "comment", maxlength: 2000, value: assessment.comment, placeholder: _("Comment, then Enter"), "data-key": "comment", "aria-label": _("Comment"),
      onkeydown: (event: KeyboardEvent) => { if (event.key === "Enter") void this.decide(assessment.verdict, { comment: (event.target as HTMLInputElement).value }); } });
    return element("div", { class: "why" }, element("div", { class: "choices", role: "radiogroup", "aria-label": _("Reason") }, ...choices), comment);
  }

  private undoButton(finding: Finding): Child {
    const what = finding.assessment ? _("Take the verdict back") : finding.origin === "reader" ? _("Take the mark back") : null;
    return what && element("button", { type: "button", class: "button quiet undo", "data-undo": true, "data-key": "undo", title: "Ctrl+Z", onclick: () => this.undo() }, fromTemplate('[data-icon="again"]'), what);
  }

  private get chosen(): Finding | undefined {
    return this.state.findings.find(({ id }) => id === this.state.selected);
  }

  async decide(verdict: Verdict, { reason, comment }: Choice = {}): Promise<void> {
    const finding = this.chosen;
    if (!finding || !this.mayDecide) return;
    const same = finding.verdict === verdict ? finding.assessment : null; // a changed mind starts with a new reason
    await this.tell(async () => this.calls.changed(await postJson(`/api/v1/findings/${finding.id}/assessment`, {
      verdict, reason: reason ?? same?.reason ?? "", comment: comment ?? same?.comment ?? "",
    }) as Finding));
  }

  // Take back the latest verdict, or the mark itself where there is none.
  async undo(): Promise<void> {
    const finding = this.chosen;
    if (!finding || !this.mayDecide) return;
    const url = `/api/v1/findings/${finding.id}`;
    if (finding.assessment) await this.tell(async () => this.calls.changed(await deleteJson(`${url}/assessment`) as Finding));
    else if (finding.origin === "reader") await this.tell(async () => { await deleteJson(url); this.calls.withdrawn(finding); });
  }

  private async tell(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.calls.failed(error as Error);
    }
  }
}

// An interval that is narrower than what is shown of its ends would look like a mistake.
function span(least: number, most: number): string {
  const [low, high] = [percent(least), percent(most)];
  return low === high ? _("{value}, less than 0.1 % wide", { value: low }) : _("{low} to {high}", { low, high });
}

// Why there is no answer, or why it is to be doubted.
function notes({ reasons, attributes }: Finding): Child {
  const texts = [...reasons.map(({ text }) => text), ...(attributes.doubts ?? [])];
  return texts.length > 0 && element("ul", { class: "note warn small reasons" }, ...texts.map((text) => element("li", {}, recorded(text))));
}

// What the 2D and the 3D networks say alone, each calibrated, beside the answer.
function secondOpinion({ attributes }: Finding): [string, string][] {
  const { planar, volumetric } = attributes.opinions ?? {};
  return planar && volumetric ? [[_("Second opinion"), `2D ${percent(planar.probability)}, 3D ${percent(volumetric.probability)}`]] : [];
}

function hundredDots(count: number): SVGElement {
  const dots = Array.from({ length: 100 }, (_, index) =>
    svg("circle", { cx: 10.5 + 21 * (index % 10), cy: 10.5 + 21 * Math.floor(index / 10), r: 7, class: index < count ? "on" : null }));
  return svg("svg", { class: "dots", viewBox: "0 0 210 210", role: "img", "aria-label": _("100 dots, {count} of them filled", { count }) }, ...dots);
}
