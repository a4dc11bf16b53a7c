// Orders and choices among findings, series and slices.
import { describe, expect, test } from "vitest";
import { byMalignancy, largestSeries, mostSimilarSeries, nearestIndex, stepThrough } from "../src/viewer/order";
import { finding, seriesItem } from "./records";

test.each<[(number | null)[], (number | null)[]]>([
  [
    [0.1, 0.9, 0.5],
    [0.9, 0.5, 0.1],
  ],
  [
    [null, 0, 0.2],
    [0.2, 0, null],
  ],
  [[], []],
])("findings by malignancy: %j", (given, expected) => {
  const findings = given.map((malignancy_probability) => finding({ malignancy_probability }));
  expect(findings.sort(byMalignancy).map((each) => each.malignancy_probability)).toEqual(expected);
});

test.each<[string, string[], string | null, number, string | null]>([
  ["next", ["a", "b", "c"], "a", 1, "b"],
  ["previous", ["a", "b", "c"], "b", -1, "a"],
  ["after the last: the first", ["a", "b", "c"], "c", 1, "a"],
  ["before the first: the last", ["a", "b", "c"], "a", -1, "c"],
  ["further than round", ["a", "b", "c"], "a", -4, "c"],
  ["none selected, forwards", ["a", "b", "c"], null, 1, "a"],
  ["none selected, backwards", ["a", "b", "c"], null, -1, "c"],
  ["selected one is gone", ["a", "b"], "x", 1, "a"],
  ["only one", ["a"], "a", 1, "a"],
  ["none", [], null, 1, null],
])("stepping: %s", (_name, entries, from, by, expected) => {
  expect(stepThrough(entries, from, by)).toBe(expected);
});

const count = (series_instance_uid: string, instance_count: number, modality = "CT") =>
  seriesItem({ series_instance_uid, instance_count, modality });

describe("choice of a series", () => {
  test("the largest", () => {
    expect(largestSeries([count("1", 3), count("2", 300), count("3", 30)])?.series_instance_uid).toBe("2");
    expect(largestSeries([])).toBeNull();
  });

  test.each([
    ["same modality before size", [count("1", 120, "SC"), count("2", 300)], count("0", 120), "2"],
    ["nearest number of images", [count("1", 600), count("2", 130), count("3", 2)], count("0", 120), "2"],
    ["as near: the larger", [count("1", 110), count("2", 130)], count("0", 120), "2"],
    ["no such modality: any", [count("1", 1, "SC"), count("2", 9, "SR")], count("0", 10), "2"],
    ["nothing is shown: the largest", [count("1", 10), count("2", 90)], undefined, "2"],
    ["none", [], count("0", 10), undefined],
  ])("%s", (_name, series, shown, expected) => {
    expect(mostSimilarSeries(series, shown)?.series_instance_uid).toBe(expected);
  });
});

test.each<[number[], number, number | null]>([
  [[0, 5, 9], 6, 5],
  [[0, 5, 9], 7, 5],
  [[0, 5, 9], 8, 9],
  [[4, 6], 5, 4],
  [[3], 100, 3],
  [[], 0, null],
])("of %j nearest to %d: %j", (indices, at, expected) => {
  expect(nearestIndex(new Set(indices), at)).toBe(expected);
});

test("slices are fetched outwards from the one that is shown", () => {
  const waiting = new Set(Array.from({ length: 6 }, (_, index) => index));
  const order: number[] = [];
  for (let next = nearestIndex(waiting, 3); next !== null; next = nearestIndex(waiting, 3)) {
    waiting.delete(next);
    order.push(next);
  }
  expect(order).toEqual([3, 2, 4, 1, 5, 0]);
});
