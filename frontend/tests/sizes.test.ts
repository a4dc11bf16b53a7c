// Sizes of findings: the reader's before the model's, and the lines of the calipers in pairs.
import { expect, test } from "vitest";
import { CaliperPair } from "../src/viewer/caliper_pair";
import { sizesOf } from "../src/viewer/sizes";
import { assessed, finding } from "./records";

const attributes = {
  perpendicular_mm: 8,
  mean_diameter_mm: 9,
  volume_mm3: 400,
  volume_repeatability: 0.25,
};
const size = {
  sop_instance_uid: "1.2.0",
  frame_number: 1,
  long_axis: [
    [0, 0],
    [0, 24],
  ] as [[number, number], [number, number]],
  short_axis: [
    [0, 0],
    [10, 0],
  ] as [[number, number], [number, number]],
  long_mm: 12,
  short_mm: 5,
  mean_mm: 8.5,
};

test("the model's sizes, as far as there are any", () => {
  const model = { longMm: 10, shortMm: 8, meanMm: 9, volumeMm3: 400, repeatability: 0.25, reader: null };
  expect(sizesOf(finding({ attributes }))).toEqual(model);
  expect(sizesOf(finding({ attributes, assessment: assessed(null) }))).toEqual(model);
  const none = { longMm: null, shortMm: null, meanMm: null, volumeMm3: null, repeatability: null, reader: null };
  expect(sizesOf(finding({ diameter_mm: null }))).toEqual(none);
});

test("a reader's size overrides all of them, and has no volume", () => {
  const own = { longMm: 12, shortMm: 5, meanMm: 8.5, volumeMm3: null, repeatability: null, reader: "Anna" };
  expect(sizesOf(finding({ attributes, assessment: assessed(size) }))).toEqual(own);
});

test.each<[string, string[], number]>([
  ["one line is no size", ["a"], 0],
  ["two on one image are", ["a", "a"], 1],
  ["another image begins anew", ["a", "b"], 0],
  ["and is completed there", ["a", "b", "b"], 1],
  ["each line counts once", ["a", "a", "a"], 1],
  ["two sizes", ["a", "a", "b", "b"], 2],
])("calipers: %s", (_name, images, sizes) => {
  const pair = new CaliperPair<{ imageId: string }>();
  expect(images.map((imageId) => pair.add({ imageId })).filter(Boolean)).toHaveLength(sizes);
});

test("lines that were cleared complete nothing", () => {
  const pair = new CaliperPair<{ imageId: string }>();
  pair.add({ imageId: "a" });
  pair.clear();
  expect(pair.add({ imageId: "a" })).toBeNull();
});
