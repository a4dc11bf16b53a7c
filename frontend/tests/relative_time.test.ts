// How long ago a moment was.
import { expect, test } from "vitest";
import { ago } from "../src/shared/relative_time";

const now = new Date("2026-01-31T12:00:00Z");

test.each([
  [0, "now"],
  [30, "30 sec. ago"],
  [59.4, "59 sec. ago"],
  [60, "1 min. ago"],
  [89, "1 min. ago"],
  [3599, "60 min. ago"],
  [3600, "1 hr. ago"],
  [86_399, "24 hr. ago"],
  [86_400, "yesterday"],
  [10 * 86_400, "10 days ago"],
  [-120, "in 2 min."],
])("%d seconds ago: %s", (seconds, expected) => {
  expect(ago(new Date(now.valueOf() - seconds * 1000), now, "en")).toBe(expected);
});

test("in the page's language", () => {
  expect(ago(new Date(now.valueOf() - 86_400_000), now, "de")).toBe("gestern");
});
