// The list of findings, most probably malignant first, and what a reader says to each.

import type { NewSize } from "../shared/api";
import { element } from "../shared/dom";
import type { Draft, DraftStore } from "../shared/drafts";
import { deleteJson, postJson } from "../shared/http";
import { _ } from "../shared/i18n";
import { Crops } from "./crops";
import { type Decision, Decisions } from "./decisions";
import { draftNote, replacedNote } from "./draft_notes";
import { factList, mapChoice, notes, similarNodules } from "./finding_facts";
import { findingRow, findingTags, type RowState, replacedRow } from "./finding_row";
import { REASONS } from "./finding_terms";
import type { Explanation } from "./overlay";
import { nextDecision, ownAssessment, replacedFindings, undoable } from "./own_decisions";
import { arrange, type Part, Slots } from "./slots";
import type { Assessment, Finding, Histogram, Verdict } from "./types";
import { History, numbered } from "./verdict_flow";
import { commentField, reasonChoices, showComment, undoButton, verdictButtons } from "./verdict_form";

export interface ListCalls {
  select(id: string): void;
  changed(finding: Finding): void;
  decided(id: string, decision: Decision, isFirst: boolean): void; // recorded; the first verdict of this reader or not
  undone(finding: Finding, what: "verdict" | "mark"): void;
  measured(finding: Finding): void;
  commented(): void; // the keyboard belongs to the images again
  withdrawn(finding: Finding): void;
  failed(error: Error): void;
  explained(explanation: Explanation | null): void;
  typed(): void; // a reader is there, even where nothing is sent
}

export interface ListState {
  findings: Finding[];
  selected: string | null;
  isBlind: boolean; // the model's numbers are hidden, also at points that the reader marked
  images: ReadonlyMap<string, number | null>; // Instance Numbers of the findings' slices
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
  private state: ListState = { findings: [], selected: null, isBlind: false, images: new Map(), explanation: null };
  readonly crops = new Crops();
  readonly history = new History();
  private lastDecided: string | null = null;
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
    const bottom = column.querySelector("[data-rail-foot]")?.getBoundingClientRect().top ?? around.bottom;
    if (box.top < around.top) column.scrollTop += box.top - around.top;
    else if (box.bottom > bottom) column.scrollTop += Math.min(box.bottom - bottom, box.top - around.top);
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
    const facts = { ...finding, assessment: null, verdict: null, size: finding.assessment?.size ?? null };
    const row = { number, isSelected, isBlind, image: this.state.images.get(finding.id) ?? null };
    const body: Part = ["body", [], () => element("div", { class: "finding-body" })];
    item.parts.show([
      ["row", [row, facts], () => this.row(finding, row)],
      ["tags", [finding, Boolean(draft)], () => findingTags(finding, Boolean(draft))],
      ...(isSelected ? [body] : []),
    ]);
    if (!isSelected) return item.root;
    item.showBody([
      ...(this.reader.mayDecide ? this.decisionParts(finding, draft) : []),
      ...(isBlind ? [] : this.factParts(finding, facts)),
    ]);
    showComment(item.root, draft?.comment ?? this.ownOf(finding)?.comment ?? "");
    return item.root;
  }

  private row(finding: Finding, state: RowState): HTMLElement {
    return findingRow(finding, state, this.crops.canvas(finding), () => this.calls.select(finding.id));
  }

  private decisionParts(finding: Finding, draft: Draft | null): Part[] {
    const own = this.ownOf(finding);
    const decision = draft ?? own;
    const undo = undoable(finding, this.reader.name);
    const why: Part[] = decision
      ? [
          ["why", [decision.verdict, decision.reason], () => this.reasons(decision)],
          ["comment", [], () => this.commentField(finding.id)],
        ]
      : [];
    return [
      ["verdicts", [own?.verdict], () => verdictButtons(own?.verdict, (verdict) => void this.decide(verdict))],
      ...why,
      [
        "draft",
        draft && [{ ...draft, comment: "" }, own?.verdict, own?.reason],
        () => draft && this.draftNote(finding.id, draft, own),
      ],
      ["undo", undo, () => undo && undoButton(undo, () => void this.undoSelected())],
    ];
  }

  private reasons({ verdict, reason }: Draft | Assessment): HTMLElement {
    return reasonChoices(verdict as Verdict, reason, (chosen) => void this.decide(verdict as Verdict, chosen));
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

  private get leftovers(): string[] {
    return this.state.isBlind ? [] : replacedFindings(this.decisions.unsaved, this.state.findings);
  }

  private leftover(id: string): HTMLElement {
    const [item, draft] = [this.entry(id), this.decisions.draft(id) as Draft];
    item.root.className = "finding leftover";
    item.parts.show([
      ["row", "leftover", replacedRow],
      ["body", [], () => element("div", { class: "finding-body" })],
    ]);
    item.showBody([
      ["comment", [], () => this.commentField(id)],
      ["draft", [draft.verdict, draft.reason, draft.error, Boolean(this.chosen)], () => this.replacedNote(id, draft)],
    ]);
    showComment(item.root, draft.comment);
    return item.root;
  }

  private commentField(id: string): HTMLElement {
    return commentField(
      (text) => this.type(id, text),
      () => {
        void this.save(id);
        this.calls.commented();
      },
    );
  }

  private draftNote(id: string, draft: Draft, own: Assessment | null): HTMLElement {
    return draftNote(
      draft,
      own,
      () => void this.save(id),
      () => this.decisions.drop(id),
    );
  }

  private replacedNote(id: string, draft: Draft): HTMLElement {
    return replacedNote(draft, this.chosen ? () => this.move(id) : null, () => this.decisions.drop(id));
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

  /* what the reader says */

  private ownOf(finding: Finding): Assessment | null {
    return ownAssessment(finding, this.reader.name);
  }

  private get chosen(): Finding | undefined {
    return this.state.findings.find(({ id }) => id === this.state.selected);
  }

  // Give a verdict, or a reason for it.
  async decide(verdict: Verdict, reason?: string): Promise<void> {
    if (this.chosen) await this.decideOn(this.chosen, verdict, reason);
  }

  // Give a verdict on any finding, or a reason for it.
  async decideOn(finding: Finding, verdict: Verdict, reason?: string): Promise<void> {
    if (!this.reader.mayDecide) return;
    const [{ id }, own, draft] = [finding, this.ownOf(finding), this.decisions.draft(finding.id)];
    const { decision, typed } = nextDecision(verdict, reason, own, draft);
    await this.decisions.send(id, decision, typed);
    if (this.decisions.draft(id)?.error) return;
    this.history.add(id);
    this.lastDecided = id;
    this.calls.decided(id, decision, !own && !draft);
  }

  // Record a size of the selected finding with the reader's verdict; measuring accepts what has none yet.
  async measure(size: NewSize): Promise<void> {
    await this.decisions.settled;
    const finding = this.chosen;
    if (!finding || !this.reader.mayDecide) return;
    const own = this.ownOf(finding);
    const { verdict, reason, comment } = own ?? { verdict: "accept" as Verdict, reason: "", comment: "" };
    await this.attempt(async () => {
      const url = `/api/v1/findings/${finding.id}/assessment`;
      const measured = await postJson<Finding>(url, { verdict, reason, comment, size });
      this.history.add(finding.id);
      this.calls.changed(measured);
      this.calls.measured(measured);
    });
  }

  // The reason with this number, for the selected finding or, where that has no verdict yet, for the last one.
  async giveReason(number: number): Promise<void> {
    const target = [this.chosen, this.find(this.lastDecided)].find((finding) => finding && this.decisionOn(finding));
    const verdict = target && (this.decisionOn(target)?.verdict as Verdict);
    const reason = verdict && numbered(REASONS[verdict], number);
    if (target && reason) await this.decideOn(target, verdict, reason);
  }

  // Write a comment on the selected finding or, where that has no verdict yet, on the last one.
  comment(): void {
    const chosen = this.chosen;
    if (!(chosen && this.decisionOn(chosen)) && this.lastDecided) this.calls.select(this.lastDecided);
    this.root.querySelector<HTMLElement>('.finding.selected input[name="comment"]')?.focus();
  }

  private decisionOn(finding: Finding): Draft | Assessment | null {
    return this.decisions.draft(finding.id) ?? this.ownOf(finding);
  }

  private find(id: string | null): Finding | undefined {
    return this.state.findings.find((finding) => finding.id === id);
  }

  // Undo the reader's latest verdict or mark, whichever finding is selected; without one, that of the selected one.
  async undo(): Promise<void> {
    await this.decisions.settled;
    const finding = this.history.take(this.state.findings, this.reader.name) ?? this.chosen;
    if (finding) await this.withdraw(finding);
  }

  private async undoSelected(): Promise<void> {
    await this.decisions.settled;
    if (!this.chosen) return;
    this.history.remove(this.chosen.id);
    await this.withdraw(this.chosen);
  }

  // Take back the reader's own verdict, or the mark itself where there is none.
  private async withdraw(finding: Finding): Promise<void> {
    const what = undoable(finding, this.reader.name);
    if (!this.reader.mayDecide || !what) return;
    const url = `/api/v1/findings/${finding.id}`;
    await this.attempt(async () => {
      if (what === "verdict") this.calls.changed((await deleteJson<Finding>(`${url}/assessment`)) as Finding);
      else {
        await deleteJson(url);
        this.calls.withdrawn(finding);
      }
      this.calls.undone(finding, what);
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
