// Moments in the reader's own time zone, and how long ago they were.
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto", style: "short" });
/** @typedef {[limit: number, unit: Intl.RelativeTimeFormatUnit, seconds: number]} Step */
/** @type {Step[]} */
const STEPS = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600]];
/** @type {Step} */
const LONGEST = [Infinity, "day", 86400];

/**
 * @param {Date} date
 * @param {Date} [now]
 */
export function ago(date, now = new Date()) {
  const seconds = Math.round((date.valueOf() - now.valueOf()) / 1000);
  const [, unit, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit) ?? LONGEST;
  return relative.format(Math.round(seconds / size), unit);
}

/** @param {ParentNode} scope */
export function localiseTimes(scope) {
  for (const element of /** @type {NodeListOf<HTMLTimeElement>} */ (scope.querySelectorAll("time[datetime]"))) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    element.title = moment.format(date);
    if (element.dataset.exact !== undefined) { // where the order of events matters, seconds do
      element.textContent = exact.format(date);
      continue;
    }
    const isToday = date.toDateString() === new Date().toDateString();
    element.textContent = element.dataset.ago !== undefined ? ago(date) : isToday ? clock.format(date) : moment.format(date);
  }
}
