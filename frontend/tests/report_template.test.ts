// The line of a finding: clauses that need their values, dashes outside of them.
import { expect, test } from "vitest";
import { fillTemplate, type Values } from "../src/report/template";

const ALL: Values = { number: "1", density: "solid", side: "left", mean: "8.2", long: "9", short: "7.4", image: "65" };

test.each<[string, string, Values, string]>([
  ["all is known", "{number}: {mean} mm[, {side}][, image {image}]", ALL, "1: 8.2 mm, left, image 65"],
  ["a clause is left out", "{number}[, {third}]", ALL, "1"],
  ["a clause with two values needs both", "{number}[ ({long} x {short} mm)]", { number: "1", long: "9" }, "1"],
  ["a clause without values stays", "{number}[, seen]", ALL, "1, seen"],
  ["outside of clauses it is a dash", "{number}: {volume} mm³", ALL, "1: – mm³"],
  ["values are text", "{comment}", { comment: "[{side}] $& <b>" }, "[{side}] $& <b>"],
])("%s", (_name, template, values, expected) => {
  expect(fillTemplate(template, values)).toBe(expected);
});
