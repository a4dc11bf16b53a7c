// A reader's verdicts on findings: saved one after the other, and a draft until the server has it.
import type { Draft, DraftStore } from "../shared/drafts";
import type { Assessment, Finding, Verdict } from "./types";

export interface Decision {
  verdict: Verdict;
  reason: string;
  comment: string;
}

export interface DecisionCalls {
  save(id: string, decision: Decision): Promise<Finding>; // on the server
  changed(finding: Finding): void;
  failed(error: Error): void;
  redraw(): void;
}

type Said = Pick<Draft, "verdict" | "reason" | "comment">;
const isSame = (one: Said, other: Said) =>
  one.verdict === other.verdict && one.reason === other.reason && one.comment === other.comment;

export class Decisions {
  private readonly sent = new Map<string, number>(); // number of the latest request for a finding
  private sending: Promise<void> = Promise.resolve();

  constructor(
    private readonly drafts: DraftStore,
    private readonly calls: DecisionCalls,
  ) {}

  get unsaved(): string[] {
    return this.drafts.findings;
  }

  draft(id: string): Draft | null {
    return this.drafts.get(id);
  }

  // Resolves once nothing is on its way any more.
  get settled(): Promise<void> {
    return this.sending;
  }

  drop(id: string): void {
    this.drafts.drop(id);
    this.calls.redraw();
  }

  dropAll(): void {
    this.drafts.clear();
    this.calls.redraw();
  }

  // Keep the text of the comment field; it belongs to the verdict that the reader had given when the writing began.
  type(id: string, comment: string, own: Assessment | null): void {
    const draft = this.drafts.get(id);
    const decision = draft ?? own;
    if (!decision) return;
    const { verdict, reason } = decision;
    if (own && !draft?.isPending && isSame({ verdict, reason, comment }, own)) this.drafts.drop(id);
    else
      this.drafts.put(id, {
        verdict,
        reason,
        comment,
        error: draft?.error ?? "",
        isPending: draft?.isPending ?? false,
      });
    this.calls.redraw();
  }

  // A draft that says what the server has is none: an answer may be lost after the verdict was recorded.
  compare(id: string, own: Assessment | null): void {
    const draft = this.drafts.get(id);
    if (draft && own && !draft.isPending && isSame(draft, own)) this.drafts.drop(id);
  }

  // Add an unsaved comment to what is written about another finding.
  move(id: string, target: string, own: Assessment | null): void {
    const [draft, present] = [this.drafts.get(id), this.drafts.get(target)];
    if (!draft) return;
    const { verdict, reason } = present ?? own ?? draft;
    const comment = [present?.comment ?? own?.comment, draft.comment].filter(Boolean).join(" ");
    this.drafts.put(target, { verdict, reason, comment, error: present?.error ?? "", isPending: false });
    this.drop(id);
  }

  // Save what was typed, or a verdict that could not be saved before.
  async save(id: string): Promise<void> {
    await this.sending; // a verdict that was given before comes first
    const draft = this.drafts.get(id);
    if (!draft || draft.isPending) return;
    const { verdict, reason, comment } = draft;
    await this.send(id, { verdict: verdict as Verdict, reason, comment }, comment);
  }

  // `comment` is what stands in the field, which may not be meant to be saved yet.
  send(id: string, decision: Decision, comment: string): Promise<void> {
    const request = (this.sent.get(id) ?? 0) + 1;
    this.sent.set(id, request);
    this.drafts.put(id, { ...decision, comment, error: "", isPending: true });
    this.calls.redraw();
    this.sending = this.sending.then(() => this.post(id, decision, request));
    return this.sending;
  }

  private async post(id: string, decision: Decision, request: number): Promise<void> {
    try {
      const finding = await this.calls.save(id, decision);
      if (this.sent.get(id) === request) this.settle(id, decision);
      this.calls.changed(finding);
    } catch (error) {
      const draft = this.drafts.get(id);
      if (draft && this.sent.get(id) === request)
        this.drafts.put(id, { ...draft, error: (error as Error).message, isPending: false });
      this.calls.failed(error as Error);
    }
    this.calls.redraw();
  }

  // It is saved; what was typed since is not.
  private settle(id: string, { comment }: Decision): void {
    const draft = this.drafts.get(id);
    if (!draft || draft.comment === comment) this.drafts.drop(id);
    else this.drafts.put(id, { ...draft, error: "", isPending: false });
  }
}
