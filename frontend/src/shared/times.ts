// Moments in the reader's own time zone.
import { ago } from "./relative_time";

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

// The text of a time element: seconds where the order of events matters, an age, the clock for today, or the moment.
function textOf(date: Date, { dataset }: HTMLTimeElement, now: Date): string {
  if (dataset.exact !== undefined) return exact.format(date);
  if (dataset.ago !== undefined) return ago(date, now, document.documentElement.lang);
  return date.toDateString() === now.toDateString() ? clock.format(date) : moment.format(date);
}

export function localiseTimes(scope: ParentNode): void {
  for (const element of scope.querySelectorAll<HTMLTimeElement>("time[datetime]")) {
    const date = new Date(element.dateTime);
    if (Number.isNaN(date.valueOf())) continue;
    element.title = moment.format(date);
    element.textContent = textOf(date, element, new Date());
  }
}
