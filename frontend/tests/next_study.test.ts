// Advance to the next unread study of the worklist.
import { expect, test } from "vitest";
import type { StudyState } from "../src/shared/api";
import { nextStudy, unreadQuery } from "../src/viewer/next_study";

test.each([
  ["first visit", "", "reviewed=no&limit=10"],
  ["filters stay", "q=a&state=analysed&sort=priority", "q=a&state=analysed&sort=priority&reviewed=no&limit=10"],
  ["reviewed ones are never next", "reviewed=yes&q=a", "reviewed=no&q=a&limit=10"],
  ["named twice", "reviewed=yes&reviewed=yes", "reviewed=no&limit=10"],
  ["pages and unknown names are left out", "cursor=abc&after=3&limit=500&q=a", "q=a&reviewed=no&limit=10"],
  [
    "dates and probabilities",
    "date_from=2026-01-01&min_probability=5",
    "date_from=2026-01-01&min_probability=5&reviewed=no&limit=10",
  ],
  ["names of patients are encoded", "q=M%C3%BCller%26", "q=M%C3%BCller%26&reviewed=no&limit=10"],
])("query: %s", (_name, page, expected) => {
  expect(unreadQuery(new URLSearchParams(page)).toString()).toBe(expected);
});

test("the query of the page itself stays", () => {
  const page = new URLSearchParams("cursor=abc");
  unreadQuery(page);
  expect(page.toString()).toBe("cursor=abc");
});

const study = (study_instance_uid: string, state: StudyState = "analysed") => ({ study_instance_uid, state });

test.each([
  ["first one", [study("1"), study("2")], "1"],
  ["not the one that was read", [study("0"), study("2")], "2"],
  ["not one that is being received", [study("1", "receiving"), study("2", "failed")], "2"],
  ["only itself", [study("0")], undefined],
  ["only ones being received", [study("1", "receiving")], undefined],
  ["none", [], undefined],
])("next study: %s", (_name, studies, expected) => {
  expect(nextStudy(studies, "0")?.study_instance_uid).toBe(expected);
});
