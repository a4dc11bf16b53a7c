// Words of the page's language. English is what the sources hold, so it needs none; another language is one small file.
const language = document.documentElement.lang;

/** @type {Record<string, string>} */
const words = language === "en" ? {} : await fetch(`/static/words/${language}.json`)
  .then((answer) => (answer.ok ? answer.json() : {}))
  .catch(() => ({})); // English is better than nothing

/**
 * Say a text in the page's language; `{name}` in it is replaced by the value of that name.
 * @param {string} text
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function _(text, values = {}) {
  return (words[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/**
 * Mark a text that is kept in English and said in the page's language where it is shown.
 * @param {string} text
 */
export const english = (text) => text;
