// Cases of the published tables of Fleischner 2017, Lung-RADS v2022 and BTS 2015, at and beside their limits.
import { describe, expect, test } from "vitest";
import {
  type Bts,
  bts,
  type Fleischner,
  fleischner,
  type History,
  highest,
  type LungRads,
  lungRads,
  type NoduleType,
} from "../src/report/guidelines";

const [SINGLE, SEVERAL, LOW, HIGH] = [false, true, false, true];

describe("Fleischner 2017", () => {
  test.each<[NoduleType, number, boolean, boolean, Fleischner]>([
    ["solid", 5.4, SINGLE, LOW, "none"],
    ["solid", 5.4, SINGLE, HIGH, "optional_12"],
    ["solid", 5.5, SINGLE, LOW, "6_12_consider_18_24"], // 6 mm, rounded
    ["solid", 6, SINGLE, HIGH, "6_12_and_18_24"],
    ["solid", 8.4, SINGLE, LOW, "6_12_consider_18_24"],
    ["solid", 8.5, SINGLE, LOW, "3_or_pet_or_tissue"],
    ["solid", 20, SINGLE, HIGH, "3_or_pet_or_tissue"],
    ["solid", 5, SEVERAL, LOW, "none"],
    ["solid", 5, SEVERAL, HIGH, "optional_12"],
    ["solid", 7, SEVERAL, LOW, "3_6_consider_18_24"],
    ["solid", 7, SEVERAL, HIGH, "3_6_and_18_24"],
    ["solid", 12, SEVERAL, LOW, "3_6_consider_18_24"],
    ["solid", 12, SEVERAL, HIGH, "3_6_and_18_24"],
    ["ground-glass", 5, SINGLE, HIGH, "none"],
    ["ground-glass", 6, SINGLE, LOW, "6_12_then_every_2_years"],
    ["part-solid", 5, SINGLE, HIGH, "none"],
    ["part-solid", 6, SINGLE, LOW, "3_6_then_yearly"],
    ["ground-glass", 5, SEVERAL, LOW, "3_6_then_2_and_4_years"],
    ["part-solid", 9, SEVERAL, LOW, "3_6_then_most_suspicious"],
    ["solid", 30, SINGLE, LOW, "3_or_pet_or_tissue"],
    ["solid", 30.1, SINGLE, LOW, "mass"],
    ["ground-glass", 41, SINGLE, LOW, "mass"],
  ])("%s of %d mm, several: %s, high risk: %s: %s", (type, meanMm, isOneOfSeveral, isHighRisk, expected) => {
    expect(fleischner(type, meanMm, isOneOfSeveral, isHighRisk)).toBe(expected);
  });
});

describe("Lung-RADS v2022", () => {
  test.each<[NoduleType, History, number, number, LungRads]>([
    ["solid", "baseline", 5.9, 0, "2"],
    ["solid", "baseline", 5.95, 0, "3"], // 6.0 mm, rounded
    ["solid", "baseline", 7.9, 0, "3"],
    ["solid", "baseline", 8, 0, "4A"],
    ["solid", "baseline", 14.9, 0, "4A"],
    ["solid", "baseline", 15, 0, "4B"],
    ["solid", "new", 3.9, 0, "2"],
    ["solid", "new", 4, 0, "3"],
    ["solid", "new", 6, 0, "4A"],
    ["solid", "new", 8, 0, "4B"],
    ["solid", "growing", 7.9, 0, "4A"],
    ["solid", "growing", 8, 0, "4B"],
    ["part-solid", "baseline", 5.9, 3, "2"],
    ["part-solid", "baseline", 6, 5.9, "3"],
    ["part-solid", "baseline", 10, 6, "4A"],
    ["part-solid", "baseline", 10, 7.9, "4A"],
    ["part-solid", "baseline", 10, 8, "4B"],
    ["part-solid", "new", 5.9, 2, "3"],
    ["part-solid", "new", 8, 3.9, "4A"],
    ["part-solid", "new", 8, 4, "4B"],
    ["part-solid", "growing", 8, 3.9, "4A"],
    ["part-solid", "growing", 8, 4, "4B"],
    ["ground-glass", "baseline", 29.9, 0, "2"],
    ["ground-glass", "baseline", 30, 0, "3"],
    ["ground-glass", "new", 30, 0, "3"],
    ["ground-glass", "growing", 29, 0, "2"],
    ["ground-glass", "stable", 35, 0, "2"],
  ])("%s, %s, %d mm with a solid part of %d mm: %s", (type, history, meanMm, solidMm, expected) => {
    expect(lungRads({ type, history, meanMm, solidMm, previous: "2" })).toBe(expected);
  });

  test.each<[LungRads, LungRads | null]>([
    ["2", "2"],
    ["3", "2"],
    ["4A", "3"],
    ["4B", null],
  ])("stable after %s: %s", (previous, expected) => {
    expect(lungRads({ type: "solid", history: "stable", meanMm: 9, solidMm: 0, previous })).toBe(expected);
  });

  test("a growing ground-glass nodule of 30 mm has no category", () => {
    expect(lungRads({ type: "ground-glass", history: "growing", meanMm: 30, solidMm: 0, previous: "2" })).toBeNull();
  });

  test.each<[(LungRads | null)[], LungRads | null]>([
    [["2", "4A", "3"], "4A"],
    [["2", null], null],
    [["4B"], "4B"],
  ])("an examination of %j: %s", (categories, expected) => {
    expect(highest(categories)).toBe(expected);
  });
});

describe("BTS 2015", () => {
  test.each<[NoduleType, number, Bts]>([
    ["solid", 4.9, "none"],
    ["solid", 5, "12"],
    ["solid", 5.9, "12"],
    ["solid", 6, "3"],
    ["solid", 7.9, "3"],
    ["solid", 8, "risk"],
    ["solid", 30.1, "mass"],
    ["ground-glass", 4.9, "none"],
    ["ground-glass", 5, "3_then_risk"],
    ["part-solid", 9, "3_then_risk"],
  ])("%s of %d mm: %s", (type, longestMm, expected) => {
    expect(bts(type, longestMm)).toBe(expected);
  });
});
