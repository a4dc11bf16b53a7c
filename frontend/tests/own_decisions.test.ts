// A reader's own verdicts and marks, and what a new verdict makes of them.
import { describe, expect, test } from "vitest";
import type { Draft } from "../src/shared/drafts";
import { nextDecision, ownAssessment, replacedFindings, undoable } from "../src/viewer/own_decisions";
import type { Assessment } from "../src/viewer/types";
import { finding } from "./records";

const assessed = (reader: string, values: Partial<Assessment> = {}) =>
  ({ reader, verdict: "reject", reason: "vessel", comment: "near the hilum", ...values }) as Assessment;
const drafted = (values: Partial<Draft> = {}): Draft => ({
  verdict: "reject",
  reason: "scar",
  comment: "typed",
  error: "",
  isPending: false,
  ...values,
});

describe("own verdict", () => {
  test("of the reader", () => {
    expect(ownAssessment(finding({ assessment: assessed("ann") }), "ann")?.verdict).toBe("reject");
  });
  test.each([
    ["of another reader", finding({ assessment: assessed("bob") })],
    ["none", finding({ assessment: null })],
  ])("%s", (_name, item) => {
    expect(ownAssessment(item, "ann")).toBeNull();
  });
});

test.each([
  ["own verdict", finding({ assessment: assessed("ann") }), "verdict"],
  [
    "own verdict on an own mark",
    finding({ assessment: assessed("ann"), origin: "reader", created_by: "ann" }),
    "verdict",
  ],
  ["own mark", finding({ assessment: null, origin: "reader", created_by: "ann" }), "mark"],
  ["mark of another reader", finding({ assessment: null, origin: "reader", created_by: "bob" }), null],
  ["finding of the model", finding({ assessment: null, origin: "model", created_by: "ann" }), null],
])("what can be undone: %s", (_name, item, expected) => {
  expect(undoable(item, "ann")).toBe(expected);
});

describe("next decision", () => {
  test.each([
    ["first verdict", "accept", undefined, null, null, "", "", ""],
    [
      "same verdict keeps its reason",
      "reject",
      undefined,
      assessed("ann"),
      null,
      "vessel",
      "near the hilum",
      "near the hilum",
    ],
    [
      "another verdict has no reason",
      "accept",
      undefined,
      assessed("ann"),
      null,
      "",
      "near the hilum",
      "near the hilum",
    ],
    ["a reason is taken", "reject", "scar", assessed("ann"), null, "scar", "near the hilum", "near the hilum"],
    [
      "the draft's reason counts first",
      "reject",
      undefined,
      assessed("ann"),
      drafted(),
      "scar",
      "near the hilum",
      "typed",
    ],
    ["a typed comment is not sent", "accept", undefined, null, drafted(), "", "", "typed"],
  ] as const)("%s", (_name, verdict, reason, own, draft, expected, comment, typed) => {
    expect(nextDecision(verdict, reason, own, draft)).toEqual({
      decision: { verdict, reason: expected, comment },
      typed,
    });
  });
});

test("drafts of findings that are no longer listed", () => {
  const listed = [finding({ id: "a" }), finding({ id: "b" })];
  expect(replacedFindings(["b", "c"], listed)).toEqual(["c"]);
});
