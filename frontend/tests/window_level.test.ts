// Grey-scale windows in HU and the ranges that are drawn.
import { describe, expect, test } from "vitest";
import { isSameWindow, PRESETS, rangeOf, type Window, windowOf } from "../src/viewer/window_level";

describe("windowing", () => {
  test.each<[string, number, number]>([
    ["lung", -1350, 150],
    ["mediastinum", -150, 250],
    ["bone", -500, 1300],
    ["vessels", -250, 450],
    ["liver", 15, 165],
  ])("range of the preset %s", (name, lower, upper) => {
    expect(rangeOf(PRESETS[name] as Window)).toEqual({ lower, upper });
  });

  test.each<Window>([...Object.values(PRESETS), { center: 0.5, width: 1 }, { center: -1024, width: 4096 }])(
    "there and back: %j",
    (window) => {
      expect(windowOf(rangeOf(window))).toEqual(window);
    },
  );

  test.each<[Window, number, boolean]>([
    [{ center: -600, width: 1500 }, 1, true],
    [{ center: -600.9, width: 1499.1 }, 1, true],
    [{ center: -601, width: 1500 }, 1, false],
    [{ center: -600, width: 1501 }, 1, false],
    [{ center: -601, width: 1501 }, 1.5, true],
  ])("%j is the lung window within %d HU: %s", (window, tolerance, expected) => {
    expect(isSameWindow(window, PRESETS.lung as Window, tolerance)).toBe(expected);
  });

  test("the presets are distinguished", () => {
    const windows = Object.values(PRESETS);
    for (const [index, window] of windows.entries())
      expect(windows.filter((other) => isSameWindow(window, other, 1))).toEqual([windows[index]]);
  });
});
