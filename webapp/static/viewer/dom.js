// Elements without markup: text from datasets never becomes HTML.
const SVG = "http://www.w3.org/2000/svg";

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export function fromTemplate(selector) {
  return document.querySelector(selector).content.cloneNode(true);
}

export function percent(share) {
  if (share > 0.999) return "> 99.9 %";
  return share < 0.001 ? "< 0.1 %" : `${(share * 100).toFixed(1)} %`;
}

export function probabilityBar(value, interval) {
  const bar = svg("svg", { class: "prob-bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", x: 0, y: 3.5, width: 100, height: 3, rx: 1 }));
  if (interval) {
    bar.append(svg("rect", { class: "interval", x: interval[0] * 100, y: 2, width: Math.max((interval[1] - interval[0]) * 100, 0.6), height: 6, rx: 1 }));
  }
  bar.append(svg("rect", { class: "point", x: Math.min(Math.max(value * 100 - 0.8, 0), 98.4), y: 0, width: 1.6, height: 10, rx: 0.5 }));
  const spoken = interval ? element("span", { class: "visually-hidden" }, `interval ${percent(interval[0])} to ${percent(interval[1])}`) : null;
  return element("span", { class: "prob num" }, element("span", { class: "value" }, percent(value)), bar, spoken);
}

// A probability in natural frequencies; nobody knows all or none of a hundred.
export function outOfHundred(share) {
  if (share > 0.99) return { count: 99, words: "more than 99" };
  if (share < 0.01) return { count: 0, words: "fewer than 1" };
  const count = Math.round(share * 100);
  return { count, words: `about ${count}` };
}

export function hundredDots(count) {
  const dots = Array.from({ length: 100 }, (_, index) =>
    svg("circle", { cx: 10.5 + 21 * (index % 10), cy: 10.5 + 21 * Math.floor(index / 10), r: 7, class: index < count ? "on" : null }));
  return svg("svg", { class: "dots", viewBox: "0 0 210 210", role: "img", "aria-label": `100 dots, ${count} of them filled` }, ...dots);
}
