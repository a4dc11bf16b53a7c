// Reading times: a page in the background does not count.
import { expect, test } from "vitest";
import { VisibleTime } from "../src/viewer/visible_time";

type Change = [at: number, isVisible: boolean];

test.each<[string, boolean, Change[], number, number]>([
  ["all the time", true, [], 4000, 3],
  [
    "hidden in between",
    true,
    [
      [2000, false],
      [9000, true],
    ],
    10_000,
    2,
  ],
  ["still hidden", true, [[2000, false]], 60_000, 1],
  ["opened in the background", false, [[5000, true]], 6500, 1.5],
  ["never shown", false, [], 90_000, 0],
  [
    "shown twice in a row",
    true,
    [
      [2000, true],
      [3000, true],
    ],
    4000,
    3,
  ],
  [
    "hidden twice in a row",
    true,
    [
      [2000, false],
      [3000, false],
    ],
    4000,
    1,
  ],
  ["to a tenth of a second", true, [], 1149, 0.1],
])("%s", (_name, isVisible, changes, now, expected) => {
  const time = new VisibleTime();
  time.start(1000, isVisible);
  for (const [at, isShown] of changes) time.setVisible(isShown, at);
  expect(time.seconds(now)).toBe(expected);
});

test("nothing counts before the start", () => {
  const time = new VisibleTime();
  time.setVisible(true, 0);
  expect([time.hasStarted, time.seconds(5000)]).toEqual([false, 0]);
  time.start(5000, true);
  expect([time.hasStarted, time.seconds(6000)]).toEqual([true, 1]);
});
