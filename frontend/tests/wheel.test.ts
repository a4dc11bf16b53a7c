// Slices for what wheels and trackpads report.
import { expect, test } from "vitest";
import { WheelSlices } from "../src/viewer/wheel";

const [PIXEL, LINE, PAGE] = [0, 1, 2];
const TRACKPAD = 3; // ticks that browsers count for each pixel of a trackpad
const EVERY_MS = 16;

const times = (count: number, delta: number) => Array.from({ length: count }, () => delta);

function movement(deltaY: number, deltaMode: number, ticks: number | null, index: number) {
  const event = { deltaY, deltaMode, timeStamp: 1000 + index * EVERY_MS };
  if (ticks === null) return event;
  return { ...event, wheelDeltaY: ticks === TRACKPAD ? -deltaY * ticks : -ticks * (deltaY > 0 ? 1 : -1) };
}

test.each<[string, number[], number, number | null, number]>([
  ["Chromium on Windows", times(20, 100), PIXEL, 120, 20],
  ["upwards", times(20, -100), PIXEL, 120, -20],
  ["browser zoom 150 %", times(20, 66.7), PIXEL, 120, 20],
  ["one line a notch", times(20, 33.3), PIXEL, 120, 20],
  ["nine lines a notch", times(4, 300), PIXEL, 120, 4],
  ["two notches in one event", [200, 300], PIXEL, 240, 4],
  ["no ticks", times(7, 100), PIXEL, null, 7],
  ["three lines", times(5, 3), LINE, null, 5],
  ["one line", times(5, 1), LINE, null, 5],
  ["two notches of lines", times(2, 6), LINE, null, 4],
  ["parts of lines", times(12, 0.5), LINE, null, 2],
  ["Firefox", times(5, 3), LINE, 120, 5],
  ["pages", [1, -1, 1], PAGE, null, 1],
  ["trackpad", times(100, 4), PIXEL, TRACKPAD, 4],
  ["flick of a trackpad", [4, 20, 60, 60, 56], PIXEL, TRACKPAD, 2],
  ["flick with a notch's ticks", [4, 40, 56], PIXEL, TRACKPAD, 1],
  ["to and fro", [60, -60, 60, -60], PIXEL, TRACKPAD, 0],
  ["turned before a slice was reached", [...times(9, 10), ...times(10, -10)], PIXEL, TRACKPAD, -1],
  ["sideways", [0, 0], PIXEL, null, 0],
  ["not a number", [Number.NaN, Number.POSITIVE_INFINITY], PIXEL, null, 0],
])("%s", (_name, deltas, mode, ticks, expected) => {
  const wheel = new WheelSlices();
  const slices = deltas.map((delta, index) => wheel.slicesOf(movement(delta, mode, ticks, index)));
  expect(slices.reduce((sum, each) => sum + each, 0)).toBe(expected);
});
