// Arithmetic of a pane: camera, zoom, ticks and clicks.
import { describe, expect, test } from "vitest";
import { boundedZoom, centredOn, middleHolding, zoomAfterWheel } from "../src/viewer/camera";
import { isClick } from "../src/viewer/clicks";
import { tickSpans } from "../src/viewer/ticks";

describe("camera", () => {
  const camera = {
    focalPoint: [0, 0, 5] as [number, number, number],
    position: [0, 0, 105] as [number, number, number],
    viewPlaneNormal: [0, 0, 1] as [number, number, number],
  };
  test("moves within its plane", () => {
    expect(centredOn([10, -20, 80], camera)).toEqual({ focalPoint: [10, -20, 5], position: [10, -20, 105] });
  });
  test("stays over its own middle", () => {
    expect(centredOn([0, 0, 50], camera)).toEqual({ focalPoint: [0, 0, 5], position: [0, 0, 105] });
  });
  test("moves within an oblique plane", () => {
    const normal = [0, Math.SQRT1_2, Math.SQRT1_2] as [number, number, number];
    const { focalPoint } = centredOn([3, 7, 1], { ...camera, focalPoint: [0, 0, 0], viewPlaneNormal: normal });
    expect(focalPoint.map((part) => Math.round(part * 1e9) / 1e9)).toEqual([3, 3, -3]);
  });
});

test.each([
  ["no travel", 2, 0, 2],
  ["towards the reader", 1, 300, Math.exp(-1)],
  ["away", 1, -300, Math.E],
  ["least", 0.4, 1000, 0.3],
  ["most", 19, -1000, 20],
])("zoom: %s", (_name, zoom, deltaY, expected) => {
  expect(zoomAfterWheel(zoom, deltaY)).toBeCloseTo(expected);
});

test.each([
  ["still", [5, 5], [5, 5], true],
  ["a little", [5, 5], [8, 7], true],
  ["a drag", [5, 5], [9, 6], false],
] as const)("click: %s", (_name, down, up, expected) => {
  expect(isClick([...down], [...up])).toBe(expected);
});

test.each([
  [0.1, 0.3],
  [3, 3],
  [50, 20],
])("a zoom of %d is %d", (zoom, expected) => {
  expect(boundedZoom(zoom)).toBe(expected);
});

test("a zoom about a point leaves that point where it is", () => {
  // 2 px a mm, then 4: a point 30 px right of the middle is 15 mm away from it, then 7.5 mm
  const middle = middleHolding([100, 50, 5], [115, 50, 5], [107.5, 50, 5]);
  expect(middle).toEqual([107.5, 50, 5]);
  expect((115 - middle[0]) * 4).toBe(30);
});

test("ticks lie in the middle of their slices, those of other series nowhere", () => {
  expect(tickSpans([-1, 0, 299], 300)).toEqual([
    { x: 0, width: 1 },
    { x: 299, width: 1 },
  ]);
  expect(tickSpans([4], 10)).toEqual([{ x: 4.35, width: 0.3 }]);
});
