// Elements without markup: text from datasets never becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

type Value = string | number | boolean | null | undefined | ((event: never) => void);
export type Attributes = Record<string, Value>;
export type Child = Node | string | null | undefined | false;

function fill<E extends Element>(target: E, attributes: Attributes, children: Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") target.addEventListener(name.slice(2), value as EventListener);
    else if (value === true) target.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) target.setAttribute(name, String(value));
  }
  target.append(...children.filter((child): child is Node | string => Boolean(child)));
  return target;
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
  const match = root.querySelector<E>(`[data-${name}]`);
  if (!match) throw new Error(`the page has no data-${name}`);
  return match;
}

export function all<E extends Element = HTMLElement>(name: string, root: ParentNode = document): E[] {
  return [...root.querySelectorAll<E>(`[data-${name}]`)];
}

export function fromTemplate(selector: string): Node {
  const template = document.querySelector<HTMLTemplateElement>(`template${selector}`);
  if (!template) throw new Error(`the page has no template ${selector}`);
  return template.content.cloneNode(true);
}
