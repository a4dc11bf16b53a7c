// Fingers, cine and magnifier: what they make of a pane.
import { describe, expect, test } from "vitest";
import { nextCineSlice } from "../src/viewer/cine";
import { lensSource } from "../src/viewer/lens";
import { pixelsPerSlice, Scroller, type TouchPoint, touchMovement } from "../src/viewer/touch";

const at = (id: number, x: number, y: number): TouchPoint => ({ id, at: [x, y] });

describe("fingers", () => {
  test.each([
    ["one moves", [at(1, 10, 10)], [at(1, 14, 40)], { scale: 1, shift: [4, 30], about: [14, 40] }],
    ["two move together", [at(1, 0, 0), at(2, 10, 0)], [at(1, 5, 5), at(2, 15, 5)], [1, [5, 5], [10, 5]]],
    ["two part", [at(1, 0, 0), at(2, 10, 0)], [at(1, -5, 0), at(2, 15, 0)], [2, [0, 0], [5, 0]]],
    ["two close, in another order", [at(2, 40, 0), at(1, 0, 0)], [at(1, 10, 0), at(2, 30, 0)], [0.5, [0, 0], [20, 0]]],
    ["a second one comes", [at(1, 0, 0)], [at(1, 0, 0), at(2, 50, 0)], [1, [0, 0], [25, 0]]],
    ["one of two goes", [at(1, 0, 0), at(2, 50, 0)], [at(2, 50, 0)], [1, [0, 0], [50, 0]]],
    ["another one", [at(1, 0, 0)], [at(7, 90, 90)], [1, [0, 0], [90, 90]]],
    ["two on one pixel", [at(1, 5, 5), at(2, 5, 5)], [at(1, 0, 5), at(2, 10, 5)], [1, [0, 0], [5, 5]]],
    ["all go", [at(1, 5, 5)], [], [1, [0, 0], [0, 0]]],
  ])("%s", (_name, before, after, expected) => {
    const [scale, shift, about] = Array.isArray(expected) ? expected : [expected.scale, expected.shift, expected.about];
    expect(touchMovement(before, after)).toEqual({ scale, shift, about });
  });

  test.each([
    [600, 40, 12],
    [600, 300, 4],
    [600, 5000, 1],
    [600, 0, 12],
  ])("%d px and %d slices: %d px a slice", (height, count, expected) => {
    expect(pixelsPerSlice(height, count)).toBe(expected);
  });

  test("parts of a slice add up, and go with a new gesture", () => {
    const scroller = new Scroller();
    expect([5, 5, 5, -15].map((px) => scroller.slicesOf(px, 600, 40))).toEqual([0, 0, 1, -1]);
    scroller.slicesOf(11, 600, 40);
    scroller.start();
    expect(scroller.slicesOf(2, 600, 40)).toBe(0);
  });
});

test.each([
  [0, 40, 1],
  [39, 40, 0],
  [-1, 40, 0],
  [0, 1, 0],
  [0, 0, 0],
])("cine: after slice %d of %d comes %d", (index, count, expected) => {
  expect(nextCineSlice(index, count)).toBe(expected);
});

test.each([
  [1, { x: 60, y: 10, side: 80 }],
  [2, { x: 120, y: 20, side: 160 }],
])("the lens shows what is under the pointer, at %d pixels for one of the page", (ratio, expected) => {
  expect(lensSource([100, 50], 200, 2.5, ratio)).toEqual(expected);
});
