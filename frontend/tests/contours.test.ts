// Contours of masks on slices and on the screen.
import { describe, expect, test } from "vitest";
import type { Mask, ReaderSize } from "../src/shared/api";
import { contoursOn, outlineOf, pathOf } from "../src/viewer/contours";
import { assessed, finding } from "./records";

const slices = ["1.2.0", "1.2.-2"].map((sop_instance_uid) => ({ sop_instance_uid, frame_number: 1 }));
const axes = {
  slice_index: 1,
  long: [
    [10, 20],
    [12, 22],
  ],
  short: [
    [12, 20],
    [10, 22],
  ],
} as Mask["axes"];
const mask = (values: Partial<Mask> = {}): Mask => ({
  finding_id: "f1",
  slices,
  row: 10,
  column: 20,
  rows: 2,
  columns: 3,
  runs: [0, 1, 6, 2, 2, 1],
  axes,
  ...values,
});

describe("outline of a slice of a mask", () => {
  test("a pixel has its four edges", () => {
    expect(outlineOf(mask(), 0)).toEqual([
      [
        [9.5, 19.5],
        [9.5, 20.5],
      ],
      [
        [9.5, 19.5],
        [10.5, 19.5],
      ],
      [
        [9.5, 20.5],
        [10.5, 20.5],
      ],
      [
        [10.5, 19.5],
        [10.5, 20.5],
      ],
    ]);
  });

  test.each([
    ["two pixels side by side and one below", 1, 8],
    ["a slice beyond the mask", 2, 0],
  ])("%s", (_name, index, count) => {
    expect(outlineOf(mask(), index)).toHaveLength(count);
  });

  test.each([[[]], [[12]], [[0, 1, 6, 2, 2, 2]], [[0, 13]]])("runs %j leave nothing inside", (runs) => {
    expect(outlineOf(mask({ runs }), 0)).toEqual([]);
  });
});

describe("contours on a slice", () => {
  const on = (sop_instance_uid: string, masks = [mask()], findings = [finding({ verdict: "reject" })]) =>
    contoursOn({ sop_instance_uid, frame_number: 1 }, masks, findings, "f1");

  test("the axes are on their own slice only", () => {
    expect(on("1.2.0").map((one) => one.axes.length)).toEqual([0]);
    expect(on("1.2.-2").map((one) => one.axes)).toEqual([[axes?.long, axes?.short]]);
    expect(on("1.2.-2", [mask({ axes: null })]).map((one) => one.axes)).toEqual([[]]);
  });

  test("they look as their findings do", () => {
    expect(on("1.2.0").map(({ classes }) => classes)).toEqual(["model reject selected"]);
  });

  test.each([
    ["another slice", on("1.2.-4")],
    ["a finding that is not shown", on("1.2.0", [mask()], [])],
    ["no mask", on("1.2.0", [])],
  ])("none for %s", (_name, contours) => {
    expect(contours).toEqual([]);
  });
});

test("segments become a path on the screen", () => {
  const twice = (row: number, column: number) => [2 * column, 2 * row];
  expect(
    pathOf(
      [
        [
          [1, 2],
          [3, 4.25],
        ],
      ],
      twice,
    ),
  ).toBe("M4.0 2.0L8.5 6.0");
  expect(pathOf([], twice)).toBe("");
});

describe("axes that a reader measured", () => {
  const size: ReaderSize = {
    sop_instance_uid: "1.2.0",
    frame_number: 1,
    long_axis: [
      [9, 19],
      [9, 23],
    ],
    short_axis: [
      [8, 21],
      [11, 21],
    ],
    long_mm: 2,
    short_mm: 1.5,
    mean_mm: 1.8,
  };
  const measured = finding({ assessment: assessed(size) });

  test("replace those of the mask, whose outline stays", () => {
    const [own] = contoursOn(slices[0] as (typeof slices)[0], [mask()], [measured], null);
    expect(own?.axes).toEqual([size.long_axis, size.short_axis]);
    expect(own?.outline).toHaveLength(4);
    const [other] = contoursOn(slices[1] as (typeof slices)[0], [mask()], [measured], null);
    expect(other?.axes).toEqual([]);
  });

  test("are drawn without a mask, on their own frame only", () => {
    const on = (sop_instance_uid: string, frame_number: number) =>
      contoursOn({ sop_instance_uid, frame_number }, [], [measured], null);
    expect(on("1.2.0", 1).map(({ axes: lines }) => lines)).toEqual([[size.long_axis, size.short_axis]]);
    expect(on("1.2.0", 2)).toEqual([]);
    expect(on("1.2.-2", 1)).toEqual([]);
  });
});
