// Texts, numbers and dates in one language. English is what the sources hold, so it needs no catalogue.
export interface Catalogue {
  words: Record<string, string>; // translations by their English texts
  recorded: string[]; // which of these are templates of recorded texts
}

type Form = [pattern: RegExp, names: string[], template: string];

export const EMPTY: Catalogue = { words: {}, recorded: [] };

export class Translation {
  private readonly words: Record<string, string>;
  private readonly forms: Form[];
  private readonly point: string;
  private readonly days: Intl.DateTimeFormat;

  constructor(
    private readonly language: string,
    { words, recorded }: Catalogue = EMPTY,
  ) {
    this.words = words;
    this.forms = recorded.map(formOf);
    this.point = language === "en" ? "." : new Intl.NumberFormat(language).format(0.5).charAt(1);
    this.days = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });
  }

  // A text in this language; `{name}` in it is replaced by the value of that name.
  text(text: string, values: Record<string, string | number> = {}): string {
    return (this.words[text] ?? text).replace(/\{(\w+)\}/g, (placeholder, name) => String(values[name] ?? placeholder));
  }

  // A recorded text in this language; one with numbers is recognised by the template that it was made of.
  recorded(text: string): string {
    if (this.words[text]) return this.words[text];
    for (const [pattern, names, template] of this.forms) {
      const match = pattern.exec(text);
      if (match)
        return this.text(template, Object.fromEntries(names.map((name, at) => [name, this.value(match[at + 1])])));
    }
    return text;
  }

  // A number with so many decimals.
  number(value: number, digits = 1): string {
    return value.toFixed(digits).replace(".", this.point);
  }

  // A DICOM date (DA, PS3.5 6.2): in English in the ISO form, which no reader takes for another day.
  day(text: string): string {
    const iso = `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`;
    const date = new Date(iso);
    return this.language === "en" || Number.isNaN(date.valueOf()) ? iso : this.days.format(date);
  }

  private value(text = ""): string {
    if (/^-?\d+\.\d+$/.test(text)) return text.replace(".", this.point);
    return text
      .split(", ")
      .map((part) => this.recorded(part))
      .join(", ");
  }
}

function formOf(template: string): Form {
  const parts = template.split(/\{(\w+)\}/); // text, name, text, name, text
  const escaped = parts.map((part, at) => (at % 2 ? "(.+)" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  return [new RegExp(`^${escaped.join("")}$`), parts.filter((_part, at) => at % 2), template];
}
