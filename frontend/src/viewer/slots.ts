// Parts of the page that are made anew only when what they show has changed: focus, caret and drags outlast the rest.
import type { Child } from "../shared/dom";

export type Part = [name: string, shows: unknown, make: () => Child];

export class Slots {
  private parts = new Map<string, { shows: string; node: Node | null }>();

  constructor(readonly root: HTMLElement) {}

  // Show these parts, in this order, and no others.
  show(parts: Part[]): void {
    const before = this.parts;
    this.parts = new Map(
      parts.map(([name, value, make]) => {
        const shows = JSON.stringify(value) ?? "";
        const same = before.get(name);
        return [name, same?.shows === shows ? same : { shows, node: nodeOf(make()) }];
      }),
    );
    arrange(
      this.root,
      [...this.parts.values()].flatMap(({ node }) => node ?? []),
    );
  }

  node(name: string): Node | null {
    return this.parts.get(name)?.node ?? null;
  }
}

// Make these the children, in this order. What stays is not moved where that can be helped: moving takes the focus
// away.
export function arrange(root: HTMLElement, nodes: Node[]): void {
  for (const child of [...root.childNodes]) if (!nodes.includes(child)) child.remove();
  nodes.forEach((node, at) => {
    if (root.childNodes[at] !== node) root.insertBefore(node, root.childNodes[at] ?? null);
  });
}

function nodeOf(child: Child): Node | null {
  if (typeof child === "string") return document.createTextNode(child);
  return child || null;
}
