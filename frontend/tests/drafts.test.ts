// Unsaved verdicts and comments: stored for their reader alone.
import { beforeEach, expect, test } from "vitest";
import { DraftStore, dropAllDrafts } from "../src/shared/drafts";
import { MemoryStorage } from "./storage";

const draft = { verdict: "accept", reason: "", comment: "text", error: "", isPending: false };
let tab: MemoryStorage;
let store: DraftStore;

beforeEach(() => {
  tab = new MemoryStorage({ worklist: "?q=a" });
  store = new DraftStore("1.2", "anna", tab);
  store.put("f1", { ...draft, isPending: true });
});

test("a draft is stored by its finding", () => {
  expect(store.get("f1")?.comment).toBe("text");
  expect(store.get("f2")).toBeNull();
});

test("after a reload it is there and nothing is on its way", () => {
  expect(new DraftStore("1.2", "anna", tab).get("f1")).toMatchObject({ comment: "text", isPending: false });
});

test.each([
  ["another study", "1.2.3", "anna", 0, 1],
  ["a study whose UID begins alike", "1.20", "anna", 0, 1],
  ["another reader, who also drops it", "1.2", "bert", 0, 0],
])("%s", (_name, study, reader, count, countAfterwards) => {
  expect(new DraftStore(study, reader, tab).size).toBe(count);
  expect(new DraftStore("1.2", "anna", tab).size).toBe(countAfterwards);
});

test.each<[string, () => void]>([
  ["dropped", () => store.drop("f1")],
  ["cleared", () => store.clear()],
  ["signed out", () => dropAllDrafts(tab)],
])("%s: other entries of the tab stay", (_name, remove) => {
  remove();
  expect(Object.keys(tab)).toEqual(["worklist"]);
});

test.each(["{", "null", "[]", '"text"', '{"reader":"anna"}', '{"reader":"anna","verdict":1}'])(
  "a damaged entry is removed: %s",
  (text) => {
    tab.setItem("lungnode draft 1.2 f2", text);
    expect(new DraftStore("1.2", "anna", tab).findings).toEqual(["f1"]);
    expect(tab.getItem("lungnode draft 1.2 f2")).toBeNull();
  },
);

test("a full storage loses nothing as long as the page is open", () => {
  tab.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  store.put("f2", draft);
  expect(store.size).toBe(2);
});

test("a browser without storage keeps drafts as long as the page is open", () => {
  const page = new DraftStore("1.2", "anna", null);
  page.put("f1", draft);
  expect(page.size).toBe(1);
  page.clear();
  expect(page.size).toBe(0);
});
