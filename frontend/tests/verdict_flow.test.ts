// The order of reading: next unread finding, reasons by number, undo; crops and positions in the list.
import { describe, expect, test } from "vitest";
import { cropBox, drawnInCrop } from "../src/viewer/crop_geometry";
import type { Finding } from "../src/viewer/types";
import { countUnread, History, nextUnread, numbered } from "../src/viewer/verdict_flow";
import { finding } from "./records";

const assessed = (id: string, reader = "anna"): Finding =>
  finding({
    id,
    assessment: {
      verdict: "accept",
      reason: "",
      comment: "",
      reader,
      reader_name: reader,
      created_at: "2026-01-01",
      size: null,
    },
  });
const [one, two, three] = [finding({ id: "1" }), finding({ id: "2" }), finding({ id: "3" })];

describe("the next unread finding", () => {
  test.each<[string, Finding[], string | null, string | null]>([
    ["the one after", [assessed("1"), two, three], "1", "2"],
    ["not one that is read", [assessed("1"), assessed("2"), three], "1", "3"],
    ["round the end", [one, assessed("2"), assessed("3")], "3", "1"],
    ["none is left", [assessed("1"), assessed("2")], "2", null],
    ["only itself is left", [one, assessed("2")], "1", null],
    ["another reader's verdict counts for that reader", [assessed("1"), assessed("2", "bert")], "1", "2"],
    ["nothing selected", [assessed("1"), two], null, "2"],
    ["one that is gone", [one, two], "9", "1"],
    ["no findings", [], null, null],
  ])("%s", (_name, findings, from, expected) => {
    expect(nextUnread(findings, from, "anna")).toBe(expected);
  });

  test("count", () => {
    expect(countUnread([assessed("1"), assessed("2", "bert"), three], "anna")).toBe(2);
  });
});

test.each([
  [1, "Vessel"],
  [2, "Scar"],
  [3, null],
  [0, null],
])("choice %d: %s", (number, expected) => {
  expect(numbered(["Vessel", "Scar"], number)).toBe(expected);
});

describe("undo", () => {
  test("goes back from the last one, and leaves out what cannot be undone", () => {
    const history = new History();
    for (const id of ["1", "2", "2", "gone", "3"]) history.add(id);
    const findings = [assessed("1"), assessed("2"), three]; // the third has no verdict any more
    expect([1, 2, 3, 4].map(() => history.take(findings, "anna")?.id ?? null)).toEqual(["2", "2", "1", null]);
  });

  test("not what was undone otherwise, nor another reader's", () => {
    const history = new History();
    for (const id of ["1", "2", "1"]) history.add(id);
    history.remove("1");
    expect(history.take([assessed("1"), assessed("2", "bert")], "anna")?.id).toBe("1");
    expect(history.take([assessed("1")], "anna")).toBeNull();
  });
});

describe("crops", () => {
  test.each([
    [{ row: 100, column: 50 }, { row_spacing_mm: 0.5, column_spacing_mm: 0.5 }, 40, [61, 11, 80, 80]],
    [{ row: 10.4, column: 10 }, { row_spacing_mm: 1, column_spacing_mm: 2 }, 11, [5, 8, 6, 11]],
    [{ row: 0, column: 0 }, { row_spacing_mm: null, column_spacing_mm: null }, 3, [-1, -1, 3, 3]],
  ])("box about %j", (at, grid, field, [top, left, width, height]) => {
    expect(cropBox(at, grid, field as number)).toEqual({ top, left, width, height });
  });

  test("nothing is invented beyond the image", () => {
    const values = drawnInCrop(Int16Array.of(1, 2, 3, 4), 2, 2, { top: -1, left: 0, width: 2, height: 3 });
    expect([...values]).toEqual([NaN, NaN, 1, 2, 3, 4]);
  });
});
