// Words of the page's language. English is what the sources hold, so it needs none; another language is one small file.
const language = document.documentElement.lang;

/** @type {{words: Record<string, string>, recorded: string[]}} */
const { words, recorded: templates } = language === "en" ? { words: {}, recorded: [] } : await fetch(`/static/words/${language}.json`)
  .then((answer) => (answer.ok ? answer.json() : { words: {}, recorded: [] }))
  .catch(() => ({ words: {}, recorded: [] })); // English is better than nothing

/**
 * Say a text in the page's language; `{name}` in it is replaced by the value of that name.
 * @param {string} text
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function _(text, values = {}) {
  return (words[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** @type {[form: RegExp, names: string[], text: string][]} */
const forms = templates.map((text) => {
  const parts = text.split(/\{(\w+)\}/); // text, name, text, name, text
  const form = parts.map((part, at) => (at % 2 ? "(.+)" : part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"))).join("");
  return [new RegExp(`^${form}$`), parts.filter((_part, at) => at % 2), text];
});

/**
 * Say a recorded text in the page's language; one with numbers is recognised by the template that it was made of.
 * @param {string} text
 * @returns {string}
 */
export function recorded(text) {
  if (words[text]) return words[text];
  for (const [form, names, template] of forms) {
    const found = form.exec(text);
    if (found) return _(template, Object.fromEntries(names.map((name, at) => [name, filled(found[at + 1] ?? "")])));
  }
  return text;
}

const point = language === "en" ? "." : new Intl.NumberFormat(language).format(0.5).charAt(1);

/**
 * Write a number with so many decimals as the page's language does.
 * @param {number} value
 * @param {number} [digits]
 */
export const number = (value, digits = 1) => value.toFixed(digits).replace(".", point);

const days = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });

/**
 * Write a DICOM date: in English in the ISO form, which no reader takes for another day.
 * @param {string} text
 */
export function day(text) {
  const iso = `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`;
  const date = new Date(iso);
  return language === "en" || Number.isNaN(date.valueOf()) ? iso : days.format(date);
}

/** @param {string} text */
const filled = (text) => (/^-?\d+\.\d+$/.test(text) ? text.replace(".", point) : text.split(", ").map(recorded).join(", "));

/**
 * Mark a text that is kept in English and said in the page's language where it is shown.
 * @param {string} text
 */
export const english = (text) => text;
