// Clicks of our own, at once: Cornerstone's wait to see whether they become double clicks.
const STILL_PX = 4; // a press that moves less is a click

export type Position = [x: number, y: number];

export function isClick(down: Position, up: Position): boolean {
  return Math.hypot(up[0] - down[0], up[1] - down[1]) <= STILL_PX;
}

// Call with the position within the view, for each click of the main button.
export function onClick(view: HTMLElement, call: (at: Position) => void): void {
  let down: Position | null = null;
  const options = { capture: true };
  view.addEventListener(
    "pointerdown",
    ({ button, clientX, clientY }) => {
      down = button === 0 ? [clientX, clientY] : null;
    },
    options,
  );
  view.addEventListener(
    "pointerup",
    ({ clientX, clientY }) => {
      const start = down;
      down = null;
      if (!start || !isClick(start, [clientX, clientY])) return;
      const box = view.getBoundingClientRect();
      call([clientX - box.left, clientY - box.top]);
    },
    options,
  );
}
