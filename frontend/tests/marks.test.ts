// Placing of findings' marks on slices and on the screen.
import { describe, expect, test } from "vitest";
import type { Plane } from "../src/viewer/geometry";
import { ellipseOf, imageNumber, isHit, marksOnSlice, sliceIndex, slicePointOf } from "../src/viewer/marks";
import { finding, slice, stack } from "./records";

const series = { uid: "1.2", frameOfReference: "1.9", slices: stack(11) }; // heights 0, -2, ..., -20
const at = (z: number, values = {}) => finding({ sop_instance_uid: `1.2.${z}`, ...values });

describe("number of an image", () => {
  const frames = [1, 2, 3].map((frame_number) => slice(0, { frame_number, instance_number: 7 }));
  test.each([
    ["Instance Number", [slice(0, { instance_number: 65 })], 0, 65],
    ["no Instance Number", stack(2), 1, null],
    ["first frame of a multi-frame instance", frames, 0, 1],
    ["later frame", frames, 2, 3],
  ])("%s", (_name, slices, index, expected) => {
    expect(imageNumber(slices, slices[index] as (typeof slices)[number])).toBe(expected);
  });
});

describe("slice of a finding", () => {
  const multiFrame = {
    uid: "1.2",
    frameOfReference: "",
    slices: [1, 2, 3].map((frame_number) => slice(0, { frame_number })),
  };
  test.each([
    ["first", series, at(0), 0],
    ["later", series, at(-6), 3],
    ["frame of a multi-frame instance", multiFrame, at(0, { frame_number: 3 }), 2],
    ["unknown instance", series, at(-7), -1],
    ["unknown frame", series, at(0, { frame_number: 2 }), -1],
    ["another series", series, at(0, { series_instance_uid: "1.3" }), -1],
    ["no series", null, at(0), -1],
  ])("%s", (_name, shown, target, expected) => {
    expect(sliceIndex(shown, target)).toBe(expected);
  });
});

describe("marks on a slice", () => {
  const marks = (index: number, findings = [at(-6)], selected: string | null = null) =>
    marksOnSlice(series, index, findings, selected);

  test.each([
    ["own slice", 3, 8],
    ["one slice up", 2, Math.sqrt(25 - 4) + 3],
    ["one slice down", 4, Math.sqrt(25 - 4) + 3],
    ["two slices down", 5, 6],
  ])("%s", (_name, index, radiusMm) => {
    expect(marks(index).map((mark) => mark.radiusMm)).toEqual([radiusMm]);
  });

  test.each([0, 6, 10])("none on slice %d, which the nodule does not reach", (index) => {
    expect(marks(index)).toEqual([]);
  });

  test("the number is the place in the list, on the own slice only", () => {
    const findings = [at(-20, { id: "a" }), at(-6, { id: "b" }), at(-8, { id: "c" })];
    expect(marks(3, findings).map(({ finding, label }) => [finding.id, label])).toEqual([
      ["b", "2"],
      ["c", ""],
    ]);
  });

  test.each([
    ["model's", at(-6), null, "model"],
    ["reader's", at(-6, { origin: "reader" }), null, "reader"],
    ["rejected", at(-6, { verdict: "reject" }), null, "model reject"],
    ["selected", at(-6), "f1", "model selected"],
    ["selected, on the next slice", at(-8, { verdict: "accept" }), "f1", "model accept near selected"],
  ])("classes: %s", (_name, target, selected, expected) => {
    expect(marks(3, [target], selected)[0]?.classes).toBe(expected);
  });

  test("slices without a place show marks on their own slice only", () => {
    const flat = {
      uid: "1.2",
      frameOfReference: "",
      slices: [slice(null, { sop_instance_uid: "1.2.0" }), slice(null)],
    };
    expect(marksOnSlice(flat, 0, [at(0)], null)).toHaveLength(1);
    expect(marksOnSlice(flat, 1, [at(0)], null)).toHaveLength(0);
  });

  test("findings of other series have no marks", () => {
    expect(marks(3, [at(-6, { series_instance_uid: "1.3" })])).toEqual([]);
  });
});

describe("findings of another series in the same frame of reference", () => {
  const other = (values = {}) =>
    finding({ series_instance_uid: "1.3", frame_of_reference_uid: "1.9", position_mm: [-90, -80, -6.8], ...values });
  const thick = { ...series, slices: stack(5, 5) }; // heights 0, -5, ..., -20
  const pointOf = (target = other(), shown = series) => slicePointOf(shown, target);

  test.each([
    ["nearest slice", series, other(), { index: 3, row: 40, column: 20, isOwn: false }],
    ["nearest thick slice", thick, other(), { index: 1, row: 40, column: 20, isOwn: false }],
    ["within the last slice", series, other({ position_mm: [-90, -80, -20.9] }), { index: 10, row: 40, column: 20 }],
  ])("%s", (_name, shown, target, expected) => {
    const point = pointOf(target, shown);
    expect(point).toMatchObject({ ...expected, row: expect.closeTo(40, 6), column: expect.closeTo(20, 6) });
  });

  test.each([
    ["another frame of reference", other({ frame_of_reference_uid: "1.8" })],
    ["no frame of reference", other({ frame_of_reference_uid: null })],
    ["above the stack", other({ position_mm: [-90, -80, 1.2] })],
    ["below the stack", other({ position_mm: [-90, -80, -21.2] })],
    ["beside the image", other({ position_mm: [-101, -80, -6] })],
    ["an instance of this series that is not shown", other({ series_instance_uid: "1.2", sop_instance_uid: "1.2.7" })],
  ])("nothing: %s", (_name, target) => {
    expect(pointOf(target)).toBeNull();
    expect(series.slices.flatMap((_slice, index) => marksOnSlice(series, index, [target], null))).toEqual([]);
  });

  test("a series without a frame of reference or positions shows none", () => {
    expect(pointOf(other(), { ...series, frameOfReference: "" })).toBeNull();
    expect(pointOf(other(), { ...series, slices: [slice(null), slice(null)] })).toBeNull();
  });

  test("marks reach as far as the nodule, and the number is on the nearest slice", () => {
    const marks = series.slices.flatMap((_slice, index) => marksOnSlice(series, index, [other()], "f1"));
    expect(marks.map(({ label, classes }) => [label, classes])).toEqual([
      ["", "model near selected"],
      ["", "model near selected"],
      ["1", "model selected"],
      ["", "model near selected"],
      ["", "model near selected"],
    ]);
  });
});

describe("marks on the screen", () => {
  const plane: Plane = {
    imagePositionPatient: [0, 0, 0],
    rowCosines: [1, 0, 0],
    columnCosines: [0, 1, 0],
    rowPixelSpacing: 0.8,
    columnPixelSpacing: 0.4,
  };
  // two screen pixels a millimetre, moved by (100, 50); mirrored where the factor is negative
  const toCanvas = (factor: number) => (row: number, column: number) => [
    100 + factor * column * 0.4,
    50 + factor * row * 0.8,
  ];

  test.each([2, -2])("a circle is round whatever the pixels are: factor %d", (factor) => {
    const ellipse = ellipseOf(toCanvas(factor), plane, { row: 10, column: 20 }, 5);
    expect(ellipse).toEqual({ cx: 100 + factor * 8, cy: 50 + factor * 8, rx: 10, ry: 10 });
  });

  test.each([
    ["middle", 100, 50, true],
    ["edge", 110, 50, true],
    ["a little outside", 112, 50, true],
    ["outside", 113, 50, false],
    ["corner of the box", 110, 60, false],
  ])("click at the %s", (_name, x, y, expected) => {
    expect(isHit({ cx: 100, cy: 50, rx: 10, ry: 10 }, x, y)).toBe(expected);
  });
});
