// Geometry of slices in the patient (PS3.3 C.7.6.2.1.1) and of what is drawn over them.
import { describe, expect, test } from "vitest";
import {
  distanceMm,
  edgeLetters,
  fromTheHead,
  isInView,
  isOnImage,
  letters,
  linkOffsetMm,
  markRadiusMm,
  nearestSlice,
  type Plane,
  pixelOfPoint,
  pointOfPixel,
  scaleLengthMm,
} from "../src/viewer/geometry";
import type { Triple } from "../src/viewer/types";
import { finding, slice, stack } from "./records";

describe("orientation letters", () => {
  test.each<[string, number[], string]>([
    ["left", [1, 0, 0], "L"],
    ["right", [-1, 0, 0], "R"],
    ["posterior", [0, 1, 0], "P"],
    ["anterior", [0, -1, 0], "A"],
    ["head", [0, 0, 1], "H"],
    ["feet", [0, 0, -1], "F"],
    ["oblique, larger part first", [0.6, 0, -0.8], "FL"],
    ["slightly tilted", [0.98, 0.19, 0], "L"],
    ["no direction", [], ""],
  ])("%s", (_name, direction, expected) => {
    expect(letters(direction)).toBe(expected);
  });

  test.each<[string, number[] | null, string]>([
    ["axial", [1, 0, 0, 0, 1, 0], "RLAP"],
    ["axial, prone", [-1, 0, 0, 0, -1, 0], "LRPA"],
    ["coronal", [1, 0, 0, 0, 0, -1], "RLHF"],
    ["sagittal", [0, 1, 0, 0, 0, -1], "APHF"],
    ["none", null, ""],
  ])("edges of an image: %s", (_name, orientation, expected) => {
    const { left, right, top, bottom } = edgeLetters(orientation);
    expect(left + right + top + bottom).toBe(expected);
  });
});

describe("slice order", () => {
  test.each<[string, (number | null)[], (number | null)[]]>([
    ["from the feet is reversed", [0, 2, 4], [4, 2, 0]],
    ["from the head stays", [4, 2, 0], [4, 2, 0]],
    ["one slice", [7], [7]],
    ["none", [], []],
    ["no place at an end: as it comes", [null, 2, 4], [null, 2, 4]],
    ["equal heights: as they come", [3, 3], [3, 3]],
  ])("%s", (_name, heights, expected) => {
    const ordered = fromTheHead(heights.map((z) => slice(z)));
    expect(ordered.map(({ position_mm }) => position_mm?.[2] ?? null)).toEqual(expected);
  });

  test("the given slices are not reordered in place", () => {
    const slices = [slice(0), slice(2)];
    fromTheHead(slices);
    expect(slices[0]?.position_mm?.[2]).toBe(0);
  });

  test.each<[string, (number | null)[], number, number | null]>([
    ["exact", [4, 2, 0], 2, 1],
    ["between two", [4, 2, 0], 1.2, 1],
    ["in the middle: the first", [4, 2, 0], 3, 0],
    ["beyond the head", [4, 2, 0], 900, 0],
    ["beyond the feet", [4, 2, 0], -900, 2],
    ["some without a place", [null, 2, null], 0, 1],
    ["all without a place", [null, null], 0, null],
    ["no slices", [], 0, null],
  ])("nearest slice: %s", (_name, heights, z, expected) => {
    const slices = heights.map((height) => slice(height));
    expect(nearestSlice(slices, z)).toBe(expected);
  });

  test.each<[string, number, number, number]>([
    ["same heights", 0, 0, 0],
    ["another table height", 0, 120, 120],
    ["below", 50, -50, -100],
  ])("offset of linked stacks: %s", (_name, top, otherTop, expected) => {
    expect(linkOffsetMm(stack(11, 2, top), stack(11, 2, otherTop))).toBeCloseTo(expected);
  });

  test("stacks without a place are not offset", () => {
    expect(linkOffsetMm([slice(null)], stack(3))).toBe(0);
    expect(linkOffsetMm([], [])).toBe(0);
  });
});

describe("distances and radii", () => {
  test.each<[Triple | null, Triple | null, number | null]>([
    [[0, 0, 0], [3, 4, 0], 5],
    [[0, 0, -2], [0, 0, 2], 4],
    [null, [0, 0, 0], null],
    [[0, 0, 0], null, null],
  ])("%j to %j", (a, b, expected) => {
    expect(distanceMm(a, b)).toBe(expected);
  });

  test.each<[string, number | null, number | null, number | null]>([
    ["own slice", 10, 0, 8],
    ["through the sphere", 10, 3, 7],
    ["at its surface", 10, 5, null],
    ["beyond it", 10, 6, null],
    ["without a diameter", null, 0, 7],
    ["without a distance", 10, null, null],
  ])("mark of a finding: %s", (_name, diameter, distance, expected) => {
    expect(markRadiusMm(finding({ diameter_mm: diameter }), distance)).toBe(expected);
  });
});

describe("pixels and points", () => {
  const PLANES: Record<string, Plane> = {
    axial: {
      imagePositionPatient: [-100, -120, 30],
      rowCosines: [1, 0, 0],
      columnCosines: [0, 1, 0],
      rowPixelSpacing: 0.7,
      columnPixelSpacing: 0.5,
    },
    coronal: {
      imagePositionPatient: [-100, 10, 200],
      rowCosines: [1, 0, 0],
      columnCosines: [0, 0, -1],
      rowPixelSpacing: 2,
      columnPixelSpacing: 0.5,
    },
    oblique: {
      imagePositionPatient: [5, -7, 11],
      rowCosines: [0.8, 0.6, 0],
      columnCosines: [-0.6, 0.8, 0],
      rowPixelSpacing: 0.6,
      columnPixelSpacing: 0.9,
    },
  };

  test.each<[string, number, number, Triple]>([
    ["axial", 0, 0, [-100, -120, 30]],
    ["axial", 10, 4, [-98, -113, 30]],
    ["coronal", 3, 2, [-99, 10, 194]],
    ["oblique", 10, 0, [1.4, -2.2, 11]],
  ])("%s: row %d, column %d", (name, row, column, expected) => {
    const point = pointOfPixel(PLANES[name] as Plane, { row, column });
    expect(point.map((part) => Math.round(part * 1e6) / 1e6)).toEqual(expected);
  });

  test.each(Object.keys(PLANES).flatMap((name) => [0, 0.5].map((offset) => [name, offset] as const)))(
    "there and back: %s, offset %d",
    (name, offset) => {
      const plane = PLANES[name] as Plane;
      for (const [row, column] of [
        [0, 0],
        [12.5, 300.25],
        [511, 1],
      ] as const) {
        const pixel = pixelOfPoint(plane, pointOfPixel(plane, { row, column }, offset), offset);
        expect(pixel.row).toBeCloseTo(row, 9);
        expect(pixel.column).toBeCloseTo(column, 9);
      }
    },
  );

  test("a point off the plane is projected onto it", () => {
    const { row, column } = pixelOfPoint(PLANES.axial as Plane, [-98, -113, 999]);
    expect([row, column].map(Math.round)).toEqual([10, 4]);
  });

  test.each<[number, number, boolean]>([
    [0, 0, true],
    [-0.5, -0.5, true],
    [-0.51, 0, false],
    [9.5, 19.5, true],
    [9.51, 0, false],
    [0, 19.51, false],
    [Number.NaN, 0, false],
  ])("row %d, column %d of 10 by 20 pixels", (row, column, expected) => {
    expect(isOnImage({ row, column }, { rows: 10, columns: 20 })).toBe(expected);
  });
});

describe("on the screen", () => {
  const size = { width: 400, height: 300 };
  test.each<[string, [number, number], number, boolean]>([
    ["middle", [200, 150], 30, true],
    ["touches the left edge", [30, 150], 30, true],
    ["over the left edge", [29, 150], 30, false],
    ["over the bottom edge", [200, 271], 30, false],
    ["off the screen", [-50, 150], 30, false],
    ["larger than the pane, in its middle", [200, 150], 900, true],
    ["larger than the pane, half its height from the left edge", [150, 150], 900, true],
    ["larger than the pane, nearer to the left edge", [149, 150], 900, false],
  ])("in view: %s", (_name, point, radius, expected) => {
    expect(isInView(point, radius, size)).toBe(expected);
  });

  test.each([
    [0.5, 200],
    [1, 100],
    [1.5, 100],
    [1.6, 50],
    [3.2, 20],
    [15, 10],
    [20, 5],
    [500, 5],
  ])("scale at %d pixels a millimetre: %d mm", (pxPerMm, expected) => {
    expect(scaleLengthMm(pxPerMm)).toBe(expected);
  });
});
