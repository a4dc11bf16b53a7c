// The age of a moment in words of a language.
type Step = [limit: number, unit: Intl.RelativeTimeFormatUnit, seconds: number];

const STEPS: Step[] = [
  [60, "second", 1],
  [3600, "minute", 60],
  [86_400, "hour", 3600],
];
const LONGEST: Step = [Number.POSITIVE_INFINITY, "day", 86_400];
const formats = new Map<string, Intl.RelativeTimeFormat>();

export function ago(date: Date, now: Date, language: string): string {
  const seconds = Math.round((date.valueOf() - now.valueOf()) / 1000);
  const [, unit, size] = STEPS.find(([limit]) => Math.abs(seconds) < limit) ?? LONGEST;
  const format = formats.get(language) ?? new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  formats.set(language, format);
  return format.format(Math.round(seconds / size), unit);
}
