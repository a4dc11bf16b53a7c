// The line of a finding in a report: a template of the site with `{names}`, and `[clauses]` that need all of theirs.

// Names that a template may hold; `lungnode.settings.web` refuses others.
export const PLACEHOLDERS = [
  "number",
  "density",
  "side",
  "third",
  "mean",
  "long",
  "short",
  "volume",
  "image",
  "series",
  "comment",
] as const;

export type Values = Partial<Record<(typeof PLACEHOLDERS)[number], string>>;

const UNKNOWN = "–";

// Fill a template. A clause with a missing value is left out; outside of clauses it becomes a dash.
export function fillTemplate(template: string, values: Values): string {
  const clauses = template.replace(/\[([^[\]]*)\]/g, (_clause, inner: string) =>
    names(inner).every((name) => values[name]) ? inner : "",
  );
  return clauses.replace(/\{(\w+)\}/g, (_placeholder, name: keyof Values) => values[name] || UNKNOWN);
}

function names(text: string): (keyof Values)[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as keyof Values);
}
