// Texts of the page's language; `frontend/words.py` collects the English ones and writes a catalogue for each language.
import { type Catalogue, EMPTY, Translation } from "./translation";

const language = document.documentElement.lang;
const translation = new Translation(language, language === "en" ? EMPTY : await fetchCatalogue());

async function fetchCatalogue(): Promise<Catalogue> {
  try {
    const response = await fetch(`/static/words/${language}.json`);
    return response.ok ? ((await response.json()) as Catalogue) : EMPTY;
  } catch {
    return EMPTY; // English is better than nothing
  }
}

// A text in the page's language; `{name}` in it is replaced by the value of that name.
export const _ = (text: string, values?: Record<string, string | number>): string => translation.text(text, values);
// A recorded text, which is English, in the page's language.
export const recorded = (text: string): string => translation.recorded(text);
export const number = (value: number, digits?: number): string => translation.number(value, digits);
export const day = (text: string): string => translation.day(text);
// Marks a text that is sent and stored in English, and shown in the page's language.
export const english = (text: string): string => text;
