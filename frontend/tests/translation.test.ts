// Texts, numbers and dates in the page's language.
import { describe, expect, test } from "vitest";
import { Translation } from "../src/shared/translation";

const english = new Translation("en");
const german = new Translation("de", {
  words: {
    Save: "Speichern",
    "{count} slices": "{count} Schichten",
    "below {high} %": "unter {high} %",
    "slice thickness {mm} mm": "Schichtdicke {mm} mm",
    "too few: {names} (at least {least})": "zu wenige: {names} (mindestens {least})",
    "the lungs": "die Lunge",
    "the heart": "das Herz",
  },
  recorded: ["slice thickness {mm} mm", "too few: {names} (at least {least})"],
});

describe("texts", () => {
  test.each([
    ["Save", {}, "Speichern"],
    ["Discard", {}, "Discard"],
    ["{count} slices", { count: 3 }, "3 Schichten"],
    ["{count} slices", { count: 0 }, "0 Schichten"],
    ["{count} slices", {}, "{count} Schichten"],
    ["{a} and {b}", { b: "{a}", a: "x" }, "x and {a}"],
  ])("%s with %j", (text, values, expected) => {
    expect(german.text(text, values)).toBe(expected);
  });

  test("English needs no catalogue", () => {
    expect(english.text("{count} slices", { count: 3 })).toBe("3 slices");
    expect(english.recorded("slice thickness 2.5 mm")).toBe("slice thickness 2.5 mm");
  });
});

describe("recorded texts", () => {
  test.each([
    ["a fixed text", "the lungs", "die Lunge"],
    ["a number", "slice thickness 2.5 mm", "Schichtdicke 2,5 mm"],
    ["a whole number", "slice thickness 5 mm", "Schichtdicke 5 mm"],
    ["texts in a text", "too few: the lungs, the heart (at least 2)", "zu wenige: die Lunge, das Herz (mindestens 2)"],
    ["an unknown text in a text", "too few: the liver (at least 2)", "zu wenige: the liver (mindestens 2)"],
    ["a template that is no recorded one", "below 30 %", "below 30 %"],
    ["only a part of a template", "slice thickness 2.5 mm or so", "slice thickness 2.5 mm or so"],
    ["an unknown text", "something else", "something else"],
  ])("%s", (_name, text, expected) => {
    expect(german.recorded(text)).toBe(expected);
  });
});

describe("numbers and dates", () => {
  test.each([
    [0.25, 1, "0.3", "0,3"],
    [-2.468, 2, "-2.47", "-2,47"],
    [12, 0, "12", "12"],
    [1234.5, 1, "1234.5", "1234,5"],
  ])("%d with %d decimals", (value, digits, inEnglish, inGerman) => {
    expect([english.number(value, digits), german.number(value, digits)]).toEqual([inEnglish, inGerman]);
  });

  test.each([
    ["20260131", "2026-01-31", "31.01.2026"],
    ["20241203", "2024-12-03", "03.12.2024"],
    ["20269999", "2026-99-99", "2026-99-99"],
  ])("the date %s", (text, inEnglish, inGerman) => {
    expect([english.day(text), german.day(text)]).toEqual([inEnglish, inGerman]);
  });
});
