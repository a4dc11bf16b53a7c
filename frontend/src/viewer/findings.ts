// The list of findings, most probably malignant first, and what a reader says to each.

import { type Child, element, fromTemplate } from "../shared/dom";
import type { Draft, DraftStore } from "../shared/drafts";
import { deleteJson, postJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { Decisions } from "./decisions";
import { millimetres, probabilityBar } from "./display";
import { factList, mapChoice, notes, similarNodules } from "./finding_facts";
import { BUTTONS, REASONS, VERDICT_WORDS, VERDICTS } from "./finding_terms";
import type { Explanation } from "./overlay";
import { arrange, type Part, Slots } from "./slots";
import type { Assessment, Finding, Histogram, Verdict } from "./types";

export interface ListCalls {
  select(id: string): void;
  changed(finding: Finding): void;
  withdrawn(finding: Finding): void;
  failed(error: Error): void;
  explained(explanation: Explanation | null): void;
  typed(): void; // a reader is there, even where nothing is sent
}

export interface ListState {
  findings: Finding[];
  selected: string | null;
  isBlind: boolean; // the model's numbers are hidden, also at points that the reader marked
  explanation: Explanation | null; // which map lies over the image, if any
}

// One entry of the list; its parts outlast the redrawing of the others.
class Item {
  readonly root = element("li");
  readonly parts = new Slots(this.root);
  private body: Slots | null = null;

  showBody(parts: Part[]): void {
    const root = this.parts.node("body") as HTMLElement;
    if (this.body?.root !== root) this.body = new Slots(root);
    this.body.show(parts);
  }
}

export interface Reader {
  name: string;
  mayDecide: boolean;
}

export class FindingList {
  histogram: Histogram | null = null;
  emptyText: string;
  private state: ListState = { findings: [], selected: null, isBlind: false, explanation: null };
  private readonly items = new Map<string, Item>();
  readonly decisions: Decisions;

  constructor(
    private readonly root: HTMLElement,
    private readonly reader: Reader,
    drafts: DraftStore,
    private readonly calls: ListCalls,
  ) {
    this.decisions = new Decisions(drafts, {
      save: (id, decision) => postJson<Finding>(`/api/v1/findings/${id}/assessment`, decision),
      changed: calls.changed,
      failed: calls.failed,
      redraw: () => this.render(this.state),
    });
    this.emptyText = root.dataset.none ?? _("There are no findings.");
  }

  render(state: ListState): void {
    const isNewlySelected = state.selected !== this.state.selected;
    this.state = state;
    const focused = this.focusKey();
    const shown = [
      ...state.findings.map((finding, index) => this.item(finding, index + 1)),
      ...this.leftovers.map((id) => this.leftover(id)),
    ];
    for (const [id, item] of this.items) if (!shown.includes(item.root)) this.items.delete(id);
    arrange(
      this.root,
      shown.length
        ? shown
        : [
            element(
              "li",
              { class: "muted no-finding" },
              state.isBlind ? _("You have not marked anything yet.") : this.emptyText,
            ),
          ],
    );
    if (focused && !this.root.contains(document.activeElement))
      this.root.querySelector<HTMLElement>(focused)?.focus({ preventScroll: true });
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

  // The control that has the focus, to be found again where it has to be made anew.
  private focusKey(): string | null {
    const focused = document.activeElement;
    if (!(focused instanceof HTMLElement) || !this.root.contains(focused)) return null;
    const key = focused.dataset.key;
    const finding = focused.closest<HTMLElement>("[data-finding]")?.dataset.finding;
    return key && finding ? `[data-finding="${finding}"] [data-key="${CSS.escape(key)}"]` : null;
  }

  private entry(id: string): Item {
    const item = this.items.get(id) ?? new Item();
    this.items.set(id, item);
    item.root.dataset.finding = id;
    return item;
  }

  private item(finding: Finding, number: number): HTMLElement {
    const { isBlind, selected } = this.state;
    this.decisions.compare(finding.id, this.ownOf(finding));
    const [item, isSelected, draft] = [
      this.entry(finding.id),
      finding.id === selected,
      this.decisions.draft(finding.id),
    ];
    item.root.className = `finding ${finding.verdict ?? ""} ${isSelected ? "selected" : ""}`;
    const facts = { ...finding, assessment: null, verdict: null };
    const body: Part = ["body", [], () => element("div", { class: "finding-body" })];
    item.parts.show([
      ["row", [number, isSelected, isBlind, facts], () => this.row(finding, number)],
      ["tags", [finding, Boolean(draft)], () => this.tags(finding)],
      ...(isSelected ? [body] : []),
    ]);
    if (!isSelected) return item.root;
    item.showBody([
      ...(this.reader.mayDecide ? this.decisionParts(finding, draft) : []),
      ...(isBlind ? [] : this.factParts(finding, facts)),
    ]);
    this.showComment(item, draft?.comment ?? this.ownOf(finding)?.comment ?? "");
    return item.root;
  }

  private row(finding: Finding, number: number): HTMLElement {
    return element(
      "button",
      {
        type: "button",
        class: "finding-row",
        "data-key": "row",
        "aria-expanded": String(finding.id === this.state.selected),
        onclick: () => this.calls.select(finding.id),
      },
      element("b", { class: "num" }, String(number)),
      this.answer(finding),
      element(
        "span",
        { class: "num" },
        this.state.isBlind || finding.diameter_mm === null ? "" : millimetres(finding.diameter_mm),
      ),
    );
  }

  private decisionParts(finding: Finding, draft: Draft | null): Part[] {
    const own = this.ownOf(finding);
    const decision = draft ?? own;
    const why: Part[] = decision
      ? [
          ["why", [decision.verdict, decision.reason], () => this.why(decision.verdict as Verdict, decision.reason)],
          ["comment", [], () => this.commentField(finding.id)],
        ]
      : [];
    return [
      ["verdicts", [own?.verdict], () => this.verdicts(own?.verdict)],
      ...why,
      [
        "draft",
        draft && [{ ...draft, comment: "" }, own?.verdict, own?.reason],
        () => draft && this.draftBar(finding.id, draft, own),
      ],
      ["undo", [Boolean(own), this.isOwnMark(finding)], () => this.undoButton(finding)],
    ];
  }

  private factParts(finding: Finding, facts: object): Part[] {
    return [
      ["notes", facts, () => notes(finding)],
      ["facts", facts, () => factList(finding)],
      ["known", [facts, this.histogram], () => similarNodules(finding, this.histogram)],
      ["explanation", this.state.explanation?.map, () => mapChoice(this.state.explanation, this.calls.explained)],
    ];
  }

  /* what is not saved */

  // Findings that an analysis has replaced while a reader wrote about them.
  private get leftovers(): string[] {
    return this.state.isBlind
      ? []
      : this.decisions.unsaved.filter((id) => !this.state.findings.some((finding) => finding.id === id));
  }

  private leftover(id: string): HTMLElement {
    const [item, draft] = [this.entry(id), this.decisions.draft(id) as Draft];
    item.root.className = "finding leftover";
    item.parts.show([
      [
        "row",
        "leftover",
        () =>
          element(
            "div",
            { class: "finding-row" },
            element("b", {}, "–"),
            element("span", { class: "muted" }, _("Finding of an earlier analysis")),
          ),
      ],
      ["body", [], () => element("div", { class: "finding-body" })],
    ]);
    item.showBody([
      ["comment", [], () => this.commentField(id)],
      ["draft", [draft.verdict, draft.reason, draft.error, Boolean(this.chosen)], () => this.leftoverBar(id, draft)],
    ]);
    this.showComment(item, draft.comment);
    return item.root;
  }

  private commentField(id: string): HTMLElement {
    return element("input", {
      type: "text",
      name: "comment",
      maxlength: 2000,
      placeholder: _("Comment, then Enter"),
      "data-key": "comment",
      "aria-label": _("Comment"),
      autocomplete: "off",
      oninput: (event: Event) => this.type(id, (event.target as HTMLInputElement).value),
      onkeydown: (event: KeyboardEvent) => {
        if (event.key === "Enter" && !event.isComposing) void this.save(id);
        if (event.key === "Escape") (event.target as HTMLElement).blur();
      },
    });
  }

  // While somebody types, the draft is what stands in the field.
  private showComment(item: Item, text: string): void {
    const field = item.root.querySelector<HTMLInputElement>('input[name="comment"]');
    if (field && field.value !== text) field.value = text;
  }

  private draftBar(id: string, { verdict, reason, error, isPending }: Draft, own: Assessment | null): HTMLElement {
    if (isPending) return element("p", { class: "draft small muted", role: "status" }, _("Saving…"));
    const decision = `${VERDICT_WORDS[verdict as Verdict]}${reason ? `: ${_(reason)}` : ""}`;
    const isComment = !error && verdict === own?.verdict && reason === own.reason;
    const text = isComment ? _("The comment is not saved.") : _("Not saved: {decision}. {error}", { decision, error });
    return element(
      "div",
      { class: `draft note small ${error ? "bad" : ""}`, role: error ? "alert" : "status" },
      element("p", {}, text),
      element(
        "button",
        {
          type: "button",
          class: "button small",
          "data-key": "save",
          "data-draft-save": true,
          onclick: () => void this.save(id),
        },
        _("Save"),
      ),
      this.dropButton(id),
    );
  }

  private leftoverBar(id: string, { verdict, reason }: Draft): HTMLElement {
    const decision = `${VERDICT_WORDS[verdict as Verdict]}${reason ? `: ${_(reason)}` : ""}`;
    return element(
      "div",
      { class: "draft note warn small", role: "status" },
      element("p", {}, _("Not saved: {decision}. A new analysis has replaced this finding.", { decision })),
      this.chosen &&
        element(
          "button",
          { type: "button", class: "button small", "data-key": "move", onclick: () => this.move(id) },
          _("Use for the selected finding"),
        ),
      this.dropButton(id),
    );
  }

  private dropButton(id: string): HTMLElement {
    return element(
      "button",
      {
        type: "button",
        class: "button quiet small",
        "data-key": "drop",
        "data-draft-drop": true,
        onclick: () => this.decisions.drop(id),
      },
      _("Discard"),
    );
  }

  private type(id: string, comment: string): void {
    const finding = this.state.findings.find((candidate) => candidate.id === id);
    this.decisions.type(id, comment, finding ? this.ownOf(finding) : null);
    this.calls.typed();
  }

  private move(id: string): void {
    if (this.chosen) this.decisions.move(id, this.chosen.id, this.ownOf(this.chosen));
  }

  private async save(id: string): Promise<void> {
    if (this.reader.mayDecide && this.state.findings.some((finding) => finding.id === id))
      await this.decisions.save(id);
  }

  // Save all that is not saved yet.
  async saveAll(): Promise<boolean> {
    await this.decisions.settled;
    for (const { id } of this.state.findings) await this.save(id);
    return this.decisions.unsaved.length === 0;
  }

  /* what is said of a finding */

  // The latest verdict, if it is this reader's own: no other reader's text is sent under their name.
  private ownOf({ assessment }: Finding): Assessment | null {
    return assessment?.reader === this.reader.name ? assessment : null;
  }

  private isOwnMark({ origin, created_by }: Finding): boolean {
    return origin === "reader" && created_by === this.reader.name;
  }

  private answer(finding: Finding): HTMLElement {
    if (this.state.isBlind) return element("span", { class: "muted" }, _("Shown when you have read"));
    if (finding.displayed === null) return element("span", { class: "muted" }, _("No probability"));
    return probabilityBar(finding.displayed, finding.interval);
  }

  private tags(finding: Finding): Child {
    const tags: HTMLElement[] = [];
    if (finding.origin === "reader")
      tags.push(element("span", {}, _("marked by {name}", { name: finding.created_by_name })));
    if (this.decisions.draft(finding.id)) tags.push(element("span", { class: "unsaved" }, _("Not saved")));
    if (finding.assessment) {
      const { verdict, reason, reader_name, comment } = finding.assessment;
      tags.push(
        element(
          "span",
          { class: "verdict" },
          fromTemplate(`[data-icon="${verdict}"]`),
          reason ? `${VERDICT_WORDS[verdict]}: ${_(reason)}` : VERDICT_WORDS[verdict],
        ),
      );
      tags.push(element("span", {}, reader_name));
      if (comment) tags.push(element("span", { class: "comment" }, comment));
    }
    return tags.length > 0 && element("div", { class: "finding-tags" }, ...tags);
  }

  private verdicts(chosen: Verdict | undefined): HTMLElement {
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
          onclick: () => this.decide(verdict),
        },
        fromTemplate(`[data-icon="${verdict}"]`),
        BUTTONS[verdict],
      ),
    );
    return element("div", { class: "verdicts", role: "group", "aria-label": _("Your verdict") }, ...buttons);
  }

  private why(verdict: Verdict, chosen: string): HTMLElement {
    const choices = REASONS[verdict].map((reason) =>
      element(
        "label",
        {},
        element("input", {
          type: "radio",
          name: "reason",
          value: reason,
          checked: reason === chosen,
          "data-key": `reason ${reason}`,
          onchange: () => this.decide(verdict, reason),
        }),
        _(reason),
      ),
    );
    return element(
      "div",
      { class: "why" },
      element("div", { class: "choices", role: "radiogroup", "aria-label": _("Reason") }, ...choices),
    );
  }

  private undoButton(finding: Finding): Child {
    const what = this.ownOf(finding) ? _("Undo verdict") : this.isOwnMark(finding) ? _("Remove mark") : null;
    return (
      what &&
      element(
        "button",
        {
          type: "button",
          class: "button quiet undo",
          "data-undo": true,
          "data-key": "undo",
          title: "Ctrl+Z",
          onclick: () => this.undo(),
        },
        fromTemplate('[data-icon="again"]'),
        what,
      )
    );
  }

  private get chosen(): Finding | undefined {
    return this.state.findings.find(({ id }) => id === this.state.selected);
  }

  // Give a verdict, or a reason for it. A comment that is being written stays unsaved until its reader saves it.
  async decide(verdict: Verdict, reason?: string): Promise<void> {
    const finding = this.chosen;
    if (!finding || !this.reader.mayDecide) return;
    const [own, draft] = [this.ownOf(finding), this.decisions.draft(finding.id)];
    // another verdict starts without a reason
    const same = [draft, own].find((decision) => decision?.verdict === verdict);
    const comment = own?.comment ?? "";
    await this.decisions.send(
      finding.id,
      { verdict, reason: reason ?? same?.reason ?? "", comment },
      draft?.comment ?? comment,
    );
  }

  // Take back the reader's own verdict, or the mark itself where there is none.
  async undo(): Promise<void> {
    await this.decisions.settled;
    const finding = this.chosen;
    if (!finding || !this.reader.mayDecide) return;
    const url = `/api/v1/findings/${finding.id}`;
    if (this.ownOf(finding))
      await this.attempt(async () => this.calls.changed((await deleteJson<Finding>(`${url}/assessment`)) as Finding));
    else if (this.isOwnMark(finding))
      await this.attempt(async () => {
        await deleteJson(url);
        this.calls.withdrawn(finding);
      });
  }

  private async attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.calls.failed(error as Error);
    }
  }
}
