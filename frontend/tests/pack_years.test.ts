// Pack-years: packs a day times years.
import { expect, test } from "vitest";
import { packYears } from "../src/home/pack_years";

test.each([
  ["1", "20", 20],
  ["0.5", "13", 6.5],
  ["0.33", "10", 3.3],
  ["", "", 0],
  ["-1", "10", null],
  ["a", "10", null],
  ["1e999", "1", null],
])("%s packs for %s years: %s", (packs, years, expected) => {
  expect(packYears(packs, years)).toBe(expected);
});
