// Verdicts and comments that are not saved yet: in this tab until they are saved or dropped, and never in a URL.
const PREFIX = "lungnode draft ";
const TEXTS = ["reader", "verdict", "reason", "comment", "error"];

export interface Draft {
  verdict: string;
  reason: string;
  comment: string;
  error: string; // why it could not be saved; empty before the first attempt
  isPending: boolean; // on its way to the server
}

type StoredDraft = Draft & { reader: string };

function isDraft(value: unknown): value is StoredDraft {
  const draft = value as Record<string, unknown> | null;
  return typeof draft === "object" && draft !== null && TEXTS.every((name) => typeof draft[name] === "string");
}

function parsed(text: string | null): StoredDraft | null {
  try {
    const value: unknown = JSON.parse(text ?? "null");
    return isDraft(value) ? value : null;
  } catch {
    return null;
  }
}

const keysOf = (storage: Storage): string[] => Object.keys(storage).filter((key) => key.startsWith(PREFIX));

export function dropAllDrafts(storage: Storage): void {
  for (const key of keysOf(storage)) storage.removeItem(key);
}

// The unsaved verdicts and comments of one reader on one study.
export class DraftStore {
  private readonly drafts = new Map<string, Draft>();
  private readonly prefix: string;

  // Read what this reader left unsaved; what another person left in this tab is dropped. Without storage, drafts last
  // as long as the page.
  constructor(
    studyUid: string,
    private readonly reader: string,
    private readonly storage: Storage | null,
  ) {
    this.prefix = `${PREFIX}${studyUid} `;
    if (!storage) return;
    for (const key of keysOf(storage)) {
      const draft = parsed(storage.getItem(key));
      if (!draft || draft.reader !== reader) storage.removeItem(key);
      else if (key.startsWith(this.prefix))
        this.drafts.set(key.slice(this.prefix.length), { ...draft, isPending: false });
    }
  }

  get size(): number {
    return this.drafts.size;
  }

  // Ids of the findings that have a draft.
  get findings(): string[] {
    return [...this.drafts.keys()];
  }

  get(finding: string): Draft | null {
    return this.drafts.get(finding) ?? null;
  }

  put(finding: string, draft: Draft): void {
    this.drafts.set(finding, draft);
    try {
      this.storage?.setItem(this.prefix + finding, JSON.stringify({ ...draft, reader: this.reader }));
    } catch {
      // no room: it lasts as long as the page
    }
  }

  drop(finding: string): void {
    this.drafts.delete(finding);
    this.storage?.removeItem(this.prefix + finding);
  }

  clear(): void {
    for (const finding of this.findings) this.drop(finding);
  }
}
