// Filters of the worklist and its chosen row.
import { describe, expect, test } from "vitest";
import { dayBefore, filtersOf, foldedCount, worklistUrl } from "../src/worklist/query";
import { Selection } from "../src/worklist/selection";

describe("filters", () => {
  test.each<[string, [string, string][], Record<string, string>]>([
    ["none", [], {}],
    [
      "left open",
      [
        ["q", ""],
        ["state", ""],
      ],
      {},
    ],
    ["blank", [["q", "  "]], {}],
    ["trimmed", [["q", " MUELLER^ANNA "]], { q: "MUELLER^ANNA" }],
    ["zero is a value", [["min_probability", "0"]], { min_probability: "0" }],
    [
      "the last of a name",
      [
        ["state", "failed"],
        ["state", "analysed"],
      ],
      { state: "analysed" },
    ],
  ])("of a form: %s", (_name, entries, expected) => {
    expect(filtersOf(entries)).toEqual(expected);
  });

  test.each([
    [{}, "/worklist"],
    [{ q: "a b", state: "failed" }, "/worklist?q=a+b&state=failed"],
    [{ q: "ä&=?#" }, "/worklist?q=%C3%A4%26%3D%3F%23"],
  ])("URL of %j", (filters, expected) => {
    expect(worklistUrl(filters)).toBe(expected);
  });

  test.each([
    [{}, 0],
    [{ q: "a", state: "failed", sort: "priority" }, 0],
    [{ date_from: "2026-01-01" }, 1],
    [{ date_from: "2026-01-01", date_to: "2026-01-31", min_probability: "5", max_probability: "9", q: "a" }, 4],
  ])("folded away in %j: %d", (filters, expected) => {
    expect(foldedCount(filters)).toBe(expected);
  });

  test.each([
    [new Date(2026, 0, 31), 0, "2026-01-31"],
    [new Date(2026, 0, 31, 23, 59), 1, "2026-01-30"],
    [new Date(2026, 2, 1), 1, "2026-02-28"],
    [new Date(2024, 2, 1), 1, "2024-02-29"],
    [new Date(2026, 0, 3), 7, "2025-12-27"],
    [new Date(2026, 2, 30, 0, 30), 2, "2026-03-28"], // across the change to summer time
  ])("%s, %d days before: %s", (today, days, expected) => {
    expect(dayBefore(today, days)).toBe(expected);
  });
});

describe("chosen row", () => {
  const uids = ["a", "b", "c"];

  test.each<[string, string | null, number, string | null]>([
    ["nothing chosen, down", null, 1, "a"],
    ["nothing chosen, up", null, -1, "a"],
    ["down", "a", 1, "b"],
    ["up", "c", -1, "b"],
    ["not beyond the last", "c", 1, "c"],
    ["not beyond the first", "a", -1, "a"],
    ["to itself", "b", 0, "b"],
    ["one that is no longer listed", "x", 1, "a"],
  ])("%s", (_name, chosen, by, expected) => {
    const selection = new Selection();
    selection.choose(chosen);
    expect(selection.step(uids, by)).toBe(expected);
    expect(selection.uid).toBe(expected);
  });

  test("an empty list has none to choose", () => {
    expect(new Selection().step([], 1)).toBeNull();
  });

  test.each<[string, string | null, string[], string | null]>([
    ["still listed, elsewhere", "b", ["c", "a", "b"], "b"],
    ["gone: the one in its place", "b", ["a", "c"], "c"],
    ["gone, and it was the last: the last", "c", ["a", "b"], "b"],
    ["all gone", "a", [], null],
    ["nothing chosen", null, ["a"], null],
    ["not listed before either", "x", ["a"], "x"],
  ])("after the rows were loaded again: %s", (_name, chosen, after, expected) => {
    const selection = new Selection();
    selection.choose(chosen);
    selection.reloaded(uids, after);
    expect(selection.uid).toBe(expected);
  });
});
