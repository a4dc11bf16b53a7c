// Elements without markup: text from datasets never becomes HTML.
import { _, day, number, recorded } from "../../../webapp/static/words.js";

const SVG = "http://www.w3.org/2000/svg";

type Value = string | number | boolean | null | undefined | ((event: never) => void);
export type Attributes = Record<string, Value>;
export type Child = Node | string | null | undefined | false;

function fill<E extends Element>(made: E, attributes: Attributes, children: Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child): child is Node | string => Boolean(child)));
  return made;
}

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(name), attributes, children);
}

export function svg<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, name) as SVGElementTagNameMap[K], attributes, children);
}

// The element that the page's template promises; a page without it is a mistake of ours.
export function find<E extends Element = HTMLElement>(name: string, root: ParentNode = document): E {
  const found = root.querySelector<E>(`[data-${name}]`);
  if (!found) throw new Error(`the page has no data-${name}`);
  return found;
}

export function all<E extends Element = HTMLElement>(name: string, root: ParentNode = document): E[] {
  return [...root.querySelectorAll<E>(`[data-${name}]`)];
}

export function fromTemplate(selector: string): Node {
  const template = document.querySelector<HTMLTemplateElement>(`template${selector}`);
  if (!template) throw new Error(`the page has no template ${selector}`);
  return template.content.cloneNode(true);
}

export function millimetres(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? "–" : `${number(value, digits)} mm`;
}

export function dicomDate(text: string): string {
  return /^\d{8}$/.test(text) ? day(text) : text || _("no date");
}

// What is shown of a probability, and the interval as a bar where there is one.
export function probabilityBar(displayed: string, interval: [number, number] | null): HTMLElement {
  const value = element("span", { class: "value" }, recorded(displayed));
  if (!interval) return element("span", { class: "prob muted" }, value);
  const [low, high] = interval;
  const bar = svg(
    "svg",
    { class: "prob-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 3.5, width: 100, height: 3, rx: 1 }),
    svg("rect", { class: "interval", x: low * 100, y: 2, width: (high - low) * 100, height: 6, rx: 1 }),
  );
  return element("span", { class: "prob num" }, value, bar);
}

export function remembered(name: string, value?: string): string | null {
  try {
    if (value !== undefined) sessionStorage.setItem(name, value);
    return sessionStorage.getItem(name);
  } catch {
    return null; // no storage: the choice holds for this page
  }
}
