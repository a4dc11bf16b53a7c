// Verdicts and comments that are not saved yet: in this tab until they are saved or dropped, and never in an address.
const PREFIX = "lungnode draft ";

/**
 * @typedef {object} Draft
 * @property {string} verdict
 * @property {string} reason
 * @property {string} comment
 * @property {string} error why it could not be saved; empty while nobody tried
 * @property {boolean} isPending on its way to the server
 */

/**
 * @param {unknown} value
 * @returns {value is Draft & {reader: string}}
 */
function isDraft(value) {
  const draft = /** @type {Record<string, unknown> | null} */ (value);
  return typeof draft === "object" && draft !== null
    && ["reader", "verdict", "reason", "comment", "error"].every((name) => typeof draft[name] === "string");
}

/**
 * @param {string | null} text
 * @returns {(Draft & {reader: string}) | null}
 */
function parsed(text) {
  try {
    const value = JSON.parse(text ?? "null");
    return isDraft(value) ? value : null;
  } catch {
    return null;
  }
}

/**
 * @param {Storage} storage
 * @returns {string[]}
 */
const keysOf = (storage) => Object.keys(storage).filter((key) => key.startsWith(PREFIX));

/** @param {Storage} storage */
export function dropAllDrafts(storage = sessionStorage) {
  for (const key of keysOf(storage)) storage.removeItem(key);
}

/** The unsaved verdicts and comments of one reader on one study. */
export class DraftStore {
  /** @type {Map<string, Draft>} */
  #drafts = new Map();
  #prefix;
  #reader;
  #storage;

  /**
   * Read what this reader left unsaved; what another person left in this tab is dropped.
   * @param {string} study UID
   * @param {string} reader
   * @param {Storage | null} storage null where the browser has none: drafts then last as long as the page
   */
  constructor(study, reader, storage) {
    this.#prefix = `${PREFIX}${study} `;
    this.#reader = reader;
    this.#storage = storage;
    if (!storage) return;
    for (const key of keysOf(storage)) {
      const draft = parsed(storage.getItem(key));
      if (!draft || draft.reader !== reader) storage.removeItem(key);
      else if (key.startsWith(this.#prefix)) this.#drafts.set(key.slice(this.#prefix.length), { ...draft, isPending: false });
    }
  }

  get size() {
    return this.#drafts.size;
  }

  /** @returns {string[]} ids of findings */
  get findings() {
    return [...this.#drafts.keys()];
  }

  /** @param {string} finding */
  get(finding) {
    return this.#drafts.get(finding) ?? null;
  }

  /**
   * @param {string} finding
   * @param {Draft} draft
   */
  put(finding, draft) {
    this.#drafts.set(finding, draft);
    try {
      this.#storage?.setItem(this.#prefix + finding, JSON.stringify({ ...draft, reader: this.#reader }));
    } catch {
      // no room: it lasts as long as the page
    }
  }

  /** @param {string} finding */
  drop(finding) {
    this.#drafts.delete(finding);
    this.#storage?.removeItem(this.#prefix + finding);
  }

  clear() {
    for (const finding of this.findings) this.drop(finding);
  }
}

/** @returns {Storage | null} the tab's own storage, where the browser lets pages have it */
export function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
