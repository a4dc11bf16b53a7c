// Filters of the worklist as names and values.
export type Filters = Record<string, string>;

const FOLDED_AWAY = ["date_from", "date_to", "min_probability", "max_probability"]; // below "More"

// The filters of a form, without empty ones.
export function filtersOf(entries: Iterable<[string, unknown]>): Filters {
  const trimmed = [...entries].map(([name, value]) => [name, String(value).trim()] as const);
  return Object.fromEntries(trimmed.filter(([, value]) => value));
}

export function worklistUrl(filters: Filters): string {
  const query = new URLSearchParams(filters);
  return query.size ? `/worklist?${query}` : "/worklist";
}

// Number of set filters that the form folds away.
export function foldedCount(filters: Filters): number {
  return FOLDED_AWAY.filter((name) => name in filters).length;
}

// So many days before a day, in local time, as YYYY-MM-DD.
export function dayBefore(today: Date, days: number): string {
  const date = new Date(today.getFullYear(), today.getMonth(), today.getDate() - days);
  const two = (value: number) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
