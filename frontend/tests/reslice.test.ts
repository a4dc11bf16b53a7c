// Coronal and sagittal planes, slabs, and the crosshair that links them.
import { describe, expect, test } from "vitest";
import { crosshairLines } from "../src/viewer/crosshair";
import type { Plane } from "../src/viewer/geometry";
import {
  across,
  depthAt,
  fitted,
  pictureOf,
  placementOf,
  planeLetters,
  pointAt,
  sliceAtDepth,
} from "../src/viewer/planes_geometry";
import { depthsOf, greyValues, linesOf, maximumOf, reslice, type Stack, slabRange } from "../src/viewer/reslice";
import type { Slice, Triple } from "../src/viewer/types";
import { slice, stack } from "./records";

const plane = (position: Triple, values: Partial<Plane> = {}): Plane => ({
  imagePositionPatient: position,
  rowCosines: [1, 0, 0],
  columnCosines: [0, 1, 0],
  rowPixelSpacing: 0.5,
  columnPixelSpacing: 0.5,
  ...values,
});
const planesOf = (slices: Slice[], values: Partial<Plane> = {}) =>
  slices.map(({ position_mm }) => plane(position_mm ?? [0, 0, 0], values));

describe("depths of slices", () => {
  test("grow towards the feet", () => {
    const slices = [slice(10), slice(8), slice(5)];
    expect(depthsOf(slices, planesOf(slices))).toEqual([0, 2, 5]);
  });

  const sagittal = { rowCosines: [0, 1, 0] as Triple, columnCosines: [0, 0, -1] as Triple };
  test.each<[string, Slice[], Partial<Plane>]>([
    ["one slice", [slice(0)], {}],
    ["a slice without position", [slice(0), slice(null)], {}],
    ["two at one position", [slice(0), slice(-2), slice(-2)], {}],
    ["out of order", [slice(0), slice(-4), slice(-2)], {}],
    ["another matrix", [slice(0), slice(-2, { rows: 256 })], {}],
    ["sagittal slices", stack(3), sagittal],
    ["a tilted gantry", [slice(0), slice(-2, { position_mm: [-100, -98, -2] })], {}],
  ])("none for %s", (_name, slices, values) => {
    expect(depthsOf(slices, planesOf(slices, values))).toBeNull();
  });

  test("none where one slice is turned", () => {
    const slices = stack(2);
    expect(depthsOf(slices, [plane([0, 0, 0]), plane([0, 0, -2], { rowCosines: [0, 1, 0] })])).toBeNull();
  });
});

test.each<[string, number[], number, number, [number, number]]>([
  ["no slab", [0, 1, 2, 3], 2, 0, [2, 2]],
  ["5 mm of 1 mm slices", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 5, 5, [3, 7]],
  ["10 mm of 1 mm slices", Array.from({ length: 30 }, (_, at) => at), 15, 10, [10, 20]],
  ["5 mm of 0.6 mm slices", Array.from({ length: 30 }, (_, at) => at * 0.6), 15, 5, [11, 19]],
  ["5 mm of 3 mm slices", [0, 3, 6, 9, 12], 2, 5, [1, 3]],
  ["5 mm of 6 mm slices", [0, 6, 12], 1, 5, [1, 1]],
  ["at the head", [0, 1, 2, 3], 0, 5, [0, 2]],
  ["at the feet", [0, 1, 2, 3], 3, 8, [0, 3]],
])("slices of a slab: %s", (_name, depths, index, mm, expected) => {
  expect(slabRange(depths, index, mm)).toEqual(expected);
});

test.each<[number, number, number, number, [number, number]]>([
  [10.4, 512, 0.7, 0, [10, 10]],
  [10, 512, 1, 5, [8, 12]],
  [0, 512, 0.5, 5, [0, 5]],
  [511.6, 512, 1, 8, [507, 511]],
])("lines about %d of %d at %d mm, slab of %d mm", (at, count, spacing, mm, expected) => {
  expect(linesOf(at, count, spacing, mm)).toEqual(expected);
});

test("a projection has the greatest value of each pixel", () => {
  const into = new Float32Array(3);
  maximumOf([Int16Array.of(-1000, 5, -3), Int16Array.of(-900, 4, -2), Float32Array.of(-950, 6, -9)], into);
  expect([...into]).toEqual([-900, 6, -2]);
});

// Values that say where they are: 100 a slice, 10 a row, 1 a column; slices 2 mm apart, pixels of 1 mm.
const volume = (count = 3, depthsMm = [0, 2, 4]): Stack => ({
  rows: 4,
  columns: 5,
  rowMm: 1,
  columnMm: 1,
  depthsMm,
  slices: Array.from({ length: count }, (_, z) =>
    Int16Array.from({ length: 20 }, (_, at) => 100 * z + 10 * Math.floor(at / 5) + (at % 5)),
  ),
});
const rowsOf = (values: Float32Array, width: number) =>
  Array.from({ length: values.length / width }, (_, y) => [...values.subarray(y * width, (y + 1) * width)]);

describe("resliced planes", () => {
  test("coronal: columns across, slices down, between slices by interpolation", () => {
    const { width, height, values } = reslice(volume(), "coronal", 2, 0);
    expect([width, height]).toEqual([5, 5]);
    expect(rowsOf(values, width).map((row) => row[0])).toEqual([20, 70, 120, 170, 220]);
    expect(rowsOf(values, width)[0]).toEqual([20, 21, 22, 23, 24]);
  });

  test("sagittal: rows across, slices down", () => {
    const { width, values } = reslice(volume(), "sagittal", 3, 0);
    expect(rowsOf(values, width)[2]).toEqual([103, 113, 123, 133]);
  });

  test("a slab shows the greatest value across the plane", () => {
    const { width, values } = reslice(volume(), "coronal", 1, 3);
    expect(rowsOf(values, width)[0]).toEqual([20, 21, 22, 23, 24]); // rows 0 to 2
  });

  test("a slice that is not here yet, or a gap, stays black and is not invented", () => {
    const waiting = volume();
    waiting.slices[2] = null;
    const { values, width } = reslice(waiting, "coronal", 0, 0);
    expect(rowsOf(values, width).map((row) => Number.isNaN(row[0] as number))).toEqual([
      false,
      false,
      true,
      true,
      true,
    ]);
    const gap = reslice(volume(5, [0, 1, 2, 6, 7]), "coronal", 0, 0);
    expect(rowsOf(gap.values, gap.width).map((row) => Number.isNaN(row[0] as number))).toEqual([
      false,
      false,
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  test("grey values lie between the bounds of the window", () => {
    const values = Float32Array.of(-2000, 0, 500, 2000, NaN);
    const greys = (isInverted: boolean) => [...greyValues(values, 0, 1000, isInverted)].filter((_, at) => at % 4 === 0);
    expect(greys(false)).toEqual([0, 0, 128, 255, 0]);
    expect(greys(true)).toEqual([255, 255, 128, 0, 0]);
  });
});

describe("positions on a plane", () => {
  const point = { row: 2, column: 3, slice: 1 };

  test.each([
    [0, 0],
    [1.5, 3],
    [2, 4],
    [9, 4],
    [-1, 0],
  ])("slice %d lies at %d mm", (at, expected) => {
    expect(depthAt([0, 2, 4], at)).toBe(expected);
  });

  test.each([
    [-5, 0],
    [0.9, 0],
    [1.1, 1],
    [99, 2],
  ])("%d mm: slice %d", (depth, expected) => {
    expect(sliceAtDepth([0, 2, 4], depth)).toBe(expected);
  });

  test.each(["coronal", "sagittal"] as const)("there and back: %s", (name) => {
    const pixel = pictureOf(name, volume(), 1, point);
    expect(pointAt(name, volume(), 1, pixel, point)).toEqual(point);
  });

  test("a point stays within the stack", () => {
    expect(pointAt("coronal", volume(), 1, [-4, 900], point)).toEqual({ row: 2, column: 0, slice: 2 });
    expect(across("coronal", volume(), 9, point)).toEqual({ row: 3, column: 3, slice: 1 });
    expect(across("sagittal", volume(), -1, point)).toEqual({ row: 2, column: 2, slice: 1 });
  });

  test("a picture fits, and a zoom is about the camera's pixel", () => {
    const picture = { width: 10, height: 5, pixelMm: 1 };
    expect(placementOf(picture, fitted(picture), { width: 100, height: 100 })).toEqual({ left: 0, top: 25, scale: 10 });
    const { left, top, scale } = placementOf(picture, { x: 7, y: 1, zoom: 3 }, { width: 100, height: 100 });
    expect([left + 7.5 * scale, top + 1.5 * scale]).toEqual([50, 50]);
  });

  test("letters", () => {
    const axial = plane([0, 0, 0]);
    expect(planeLetters("coronal", axial, [0, 0, -1])).toEqual({ left: "R", right: "L", top: "H", bottom: "F" });
    expect(planeLetters("sagittal", axial, [0, 0, -1])).toEqual({ left: "A", right: "P", top: "H", bottom: "F" });
    const prone = plane([0, 0, 0], { rowCosines: [-1, 0, 0], columnCosines: [0, -1, 0] });
    expect(planeLetters("coronal", prone, [0, 0, -1]).left).toBe("L");
  });
});

test("the crosshair leaves its point free and is not drawn where the point is outside", () => {
  const size = { width: 100, height: 80 };
  const names = { vertical: "sagittal", horizontal: "coronal" };
  const lines = crosshairLines([50, 40], 20, size, names);
  expect(lines.map((line) => line.class)).toEqual([
    "line-halo sagittal",
    "line-halo coronal",
    "line sagittal",
    "line coronal",
  ]);
  expect(lines[0]?.d).toBe("M50 0V20M50 60V80");
  expect(lines[1]?.d).toBe("M0 40H30M70 40H100");
  expect(crosshairLines([150, 40], 20, size, names).map((line) => line.class)).toEqual([
    "line-halo coronal",
    "line coronal",
  ]);
});
