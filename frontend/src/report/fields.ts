// Labelled fields of the category form.
import { element } from "../shared/dom";
import { _ } from "../shared/i18n";

export interface Field<T> {
  root: HTMLElement;
  value(): T | null; // null until it is given
}

// A choice; without a first value nothing is chosen.
export function choiceField<T extends string>(
  label: string,
  options: Record<T, string>,
  changed: () => void,
  first: T | null = null,
): Field<T> {
  const select = element(
    "select",
    { onchange: changed },
    first === null && element("option", { value: "" }, _("Choose")),
    ...Object.entries<string>(options).map(([value, text]) =>
      element("option", { value, selected: value === first }, text),
    ),
  );
  return {
    root: element("label", {}, label, select),
    value: () => (select.value === "" ? null : (select.value as T)),
  };
}

// A size in millimetres.
export function sizeField(label: string, first: number | null, changed: () => void): Field<number> {
  const input = element("input", {
    type: "number",
    class: "num",
    min: 1,
    max: 300,
    step: 0.1,
    value: first?.toFixed(1),
    oninput: changed,
  });
  return {
    root: element("label", {}, label, input),
    value: () => (input.value !== "" && input.validity.valid ? Number(input.value) : null),
  };
}
