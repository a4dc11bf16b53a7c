// Fields that a guideline needs for each accepted finding, and the sentence of the category.
import { element } from "../shared/dom";
import { _, number } from "../shared/i18n";
import { sizesOf } from "../viewer/sizes";
import { choiceField, type Field, sizeField } from "./fields";
import { bts, fleischner, type History, highest, type LungRads, lungRads, type NoduleType } from "./guidelines";
import type { Reported } from "./report_text";
import { BTS, CONDITIONS, FLEISCHNER, GUIDELINES, type Guideline, HISTORIES, PREVIOUS, TYPES } from "./words";

interface Row {
  number: number;
  type: Field<NoduleType>;
  sizeMm: Field<number>;
  solidMm: Field<number>;
  history: Field<History>;
  previous: Field<LungRads>;
}

interface Nodule {
  number: number;
  type: NoduleType;
  sizeMm: number;
  row: Row;
}

type Risk = "low" | "high";
const RISKS: Record<Risk, string> = { low: _("low"), high: _("high") };

const LARGEST = "largest";

export class CategoryForm {
  private guideline: Guideline | "" = "";
  private rows: Row[] = [];
  private risk: Field<Risk> | null = null;
  private suspicious: Field<string> | null = null;

  constructor(
    private readonly root: HTMLElement,
    private readonly changed: () => void,
  ) {}

  // Ask for what a guideline needs; types are never filled in, since the reader has to confirm them.
  show(guideline: Guideline | "", reported: Reported[]): void {
    this.guideline = guideline;
    this.rows = guideline ? reported.map((one) => this.row(one, guideline)) : [];
    this.risk = guideline === "fleischner" ? choiceField(_("Risk of the patient"), RISKS, this.update) : null;
    this.suspicious = this.rows.length > 1 && guideline !== "lung_rads" ? this.mostSuspicious() : null;
    const fields = [this.risk, this.suspicious].flatMap((field) => (field ? [field.root] : []));
    this.root.replaceChildren(
      ...(guideline ? [element("p", { class: "small muted" }, CONDITIONS[guideline])] : []),
      ...this.rows.map((row) => this.rowElement(row, guideline)),
      ...(fields.length > 0 ? [element("div", { class: "category-row" }, ...fields)] : []),
    );
    this.showNeeded();
  }

  // The sentence of the category; empty until everything is given.
  text(): string {
    const nodules = this.nodules();
    if (!this.guideline || nodules === null) return "";
    const name = GUIDELINES[this.guideline];
    if (this.guideline === "lung_rads") return this.lungRadsText(name, nodules);
    const chosen = this.suspicious?.value();
    const [largest] = [...nodules].sort((one, other) => other.sizeMm - one.sizeMm);
    const nodule = nodules.find((one) => chosen === String(one.number)) ?? largest;
    const risk = this.risk?.value();
    if (!nodule) return "";
    const facts = { name, number: nodule.number, type: TYPES[nodule.type], size: number(nodule.sizeMm, 1) };
    if (this.guideline === "bts")
      return _("{name}, finding {number}, {type}, {size} mm: {advice}.", {
        ...facts,
        advice: BTS[bts(nodule.type, nodule.sizeMm)],
      });
    if (!risk) return "";
    const ofItsKind = nodules.filter(({ type }) => (type === "solid") === (nodule.type === "solid"));
    const advice = FLEISCHNER[fleischner(nodule.type, nodule.sizeMm, ofItsKind.length > 1, risk === "high")];
    return _("{name}, finding {number}, {type}, {size} mm, {risk} risk: {advice}.", {
      ...facts,
      risk: RISKS[risk],
      advice,
    });
  }

  private lungRadsText(name: string, nodules: Nodule[]): string {
    const categories = nodules.map(({ type, sizeMm, row }) =>
      lungRads({
        type,
        meanMm: sizeMm,
        solidMm: row.solidMm.value() ?? 0,
        history: row.history.value() ?? "baseline",
        previous: row.previous.value() ?? "2",
      }),
    );
    const single = nodules.map(
      ({ number: position }, index) => `${position}: ${categories[index] ?? _("not in the table")}`,
    );
    const category = highest(categories) ?? _("not in the table");
    return _("{name}: {category} (by finding: {list}).", { name, category, list: single.join(", ") });
  }

  // Nodules as the rows describe them; null while a value is missing.
  private nodules(): Nodule[] | null {
    const nodules: Nodule[] = [];
    for (const row of this.rows) {
      const [type, sizeMm] = [row.type.value(), row.sizeMm.value()];
      if (type === null || sizeMm === null || !this.isComplete(row, type)) return null;
      nodules.push({ number: row.number, type, sizeMm, row });
    }
    return nodules;
  }

  private isComplete(row: Row, type: NoduleType): boolean {
    if (this.guideline !== "lung_rads") return true;
    const history = row.history.value();
    if (history === null || (history === "stable" && row.previous.value() === null)) return false;
    return type !== "part-solid" || history === "stable" || row.solidMm.value() !== null;
  }

  private row({ number: position, finding }: Reported, guideline: Guideline): Row {
    const { longMm, meanMm } = sizesOf(finding);
    const sizeMm = guideline === "bts" ? longMm : meanMm;
    const label = guideline === "bts" ? _("Longest diameter, mm") : _("Mean diameter, mm");
    return {
      number: position,
      type: choiceField(_("Type"), TYPES, this.update),
      sizeMm: sizeField(label, sizeMm, this.update),
      solidMm: sizeField(_("Solid part, mm"), null, this.update),
      history: choiceField(_("Compared with before"), HISTORIES, this.update),
      previous: choiceField(_("Category before"), PREVIOUS, this.update),
    };
  }

  private rowElement(row: Row, guideline: Guideline | ""): HTMLElement {
    const screening = guideline === "lung_rads" ? [row.solidMm, row.history, row.previous] : [];
    return element(
      "fieldset",
      { class: "category-row" },
      element("legend", {}, _("Finding {number}", { number: row.number })),
      ...[row.type, row.sizeMm, ...screening].map((field) => field.root),
    );
  }

  private mostSuspicious(): Field<string> {
    const options = this.rows.map(({ number: position }) => [
      String(position),
      _("Finding {number}", { number: position }),
    ]);
    const all = { [LARGEST]: _("the largest"), ...Object.fromEntries(options) };
    return choiceField<string>(_("Most suspicious"), all, this.update, LARGEST);
  }

  private readonly update = (): void => {
    this.showNeeded();
    this.changed();
  };

  // Fields of Lung-RADS that another choice makes needless are hidden.
  private showNeeded(): void {
    for (const row of this.rows) {
      const isStable = row.history.value() === "stable";
      row.solidMm.root.hidden = row.type.value() !== "part-solid" || isStable;
      row.previous.root.hidden = !isStable || row.type.value() === "ground-glass";
    }
  }
}
