// Details of the selected finding: notes, measurements, similar nodules, maps.
import { type Child, element, svg } from "../shared/dom";
import { _, recorded } from "../shared/i18n";
import { millimetres } from "./display";
import { MAPS, TERMS } from "./finding_terms";
import { histogramFigure } from "./histogram";
import type { Explanation, MapName } from "./overlay";
import { sizesOf } from "./sizes";
import type { Finding, Histogram } from "./types";

const HALF = 0.5; // opacity of a map at first

// Measurements and computed attributes of a finding.
export function factList(finding: Finding): HTMLElement {
  const rows: [string, string][] = [
    ...sizes(finding),
    ...submodels(finding),
    [
      _("Nodule probability"),
      finding.displayed_nodule === null ? _("not assessed") : recorded(finding.displayed_nodule),
    ],
    [_("Prediction set (90 %)"), finding.prediction_set.map((name) => TERMS[name] ?? name).join(_(" or ")) || "–"],
    [_("Position"), `${finding.position_mm.map((part) => part.toFixed(0)).join(", ")} mm`],
  ];
  return element(
    "dl",
    { class: "facts num" },
    ...rows.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]),
  );
}

// Ratings of the calibration nodules with a similar score.
export function similarNodules(finding: Finding, histogram: Histogram | null): Child {
  const { displayed_basis: basis, interval, malignancy_probability: score } = finding;
  if (basis === null || score === null) return null;
  const frequency = element(
    "div",
    { class: "frequency" },
    interval && hundredDots(...interval),
    element("p", {}, sentence(recorded(basis))),
  );
  return element(
    "div",
    { class: "known-nodules" },
    frequency,
    interval && histogram && histogramFigure(histogram, score),
  );
}

// The choice of a map over the image, and of its opacity.
export function mapChoice(
  explanation: Explanation | null,
  explained: (explanation: Explanation | null) => void,
): HTMLElement {
  const choice = (map: MapName | null, label: string) =>
    element(
      "label",
      {},
      element("input", {
        type: "radio",
        name: "map",
        checked: (explanation?.map ?? null) === map,
        "data-map": map ?? "none",
        "data-key": `map ${map}`,
        onchange: () => explained(map && { map, opacity: explanation?.opacity ?? HALF }),
      }),
      label,
    );
  const maps = (Object.keys(MAPS) as MapName[]).map((map) => choice(map, MAPS[map].label));
  const slider =
    explanation &&
    element("input", {
      type: "range",
      min: 0,
      max: 100,
      step: 5,
      value: Math.round(explanation.opacity * 100),
      "data-key": "opacity",
      "aria-label": _("Opacity of the map"),
      oninput: (event: Event) =>
        explained({
          map: explanation.map,
          opacity: Number((event.target as HTMLInputElement).value) / 100,
        }),
    });
  return element(
    "fieldset",
    { class: "explanation" },
    element("legend", {}, _("Map over the image")),
    element("div", { class: "choices" }, choice(null, _("None")), ...maps),
    slider,
    explanation && element("p", { class: "small muted", role: "note" }, MAPS[explanation.map].explains),
  );
}

const sentence = (text: string) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

// Reasons for no answer, or for doubting it.
export function notes({ reasons, attributes }: Finding): Child {
  const texts = [...reasons.map(({ text }) => text), ...(attributes.doubts ?? [])];
  return (
    texts.length > 0 &&
    element("ul", { class: "note warn small reasons" }, ...texts.map((text) => element("li", {}, recorded(text))))
  );
}

// Diameters, density class or the reason for none, and the volume with its repeatability.
function sizes(finding: Finding): [string, string][] {
  const { density, density_limit: limit } = finding.attributes;
  const { longMm, shortMm, meanMm, volumeMm3: volume, repeatability: share, reader } = sizesOf(finding);
  const rows: [string, string][] = [[_("Diameter"), millimetres(longMm)]];
  if (shortMm !== null) rows.push([_("Short axis"), millimetres(shortMm)]);
  if (meanMm !== null) rows.push([_("Mean diameter"), millimetres(meanMm)]);
  if (reader) rows.push([_("Measured by"), reader], [_("Diameter by the model"), millimetres(finding.diameter_mm)]);
  if (typeof density === "string") rows.push([_("Density"), TERMS[density] ?? density]);
  else if (limit === "slice_thickness") rows.push([_("Density"), _("not given: slices thicker than 1.5 mm")]);
  else if (limit === "size") rows.push([_("Density"), _("not given: mean diameter below 6 mm")]);
  if (volume !== null) {
    const bounds = share !== null ? ` ± ${(share * 100).toFixed(0)} %` : "";
    rows.push([_("Volume"), `${volume.toFixed(0)} mm³${bounds}`]);
  }
  return rows;
}

// Probabilities of the 2D and the 3D networks alone, each bounded by its own calibration cases.
function submodels({ attributes }: Finding): [string, string][] {
  const [planar, volumetric] = [attributes.opinions?.planar?.displayed, attributes.opinions?.volumetric?.displayed];
  return planar && volumetric
    ? [[_("Sub-models"), `2D ${recorded(planar.bounds)}, 3D ${recorded(volumetric.bounds)}`]]
    : [];
}

// Filled up to the lower bound, half filled up to the upper one.
function hundredDots(low: number, high: number): SVGElement {
  const [least, most] = [Math.floor(low * 100), Math.min(Math.ceil(high * 100), 99)];
  const dots = Array.from({ length: 100 }, (_, index) =>
    svg("circle", {
      cx: 10.5 + 21 * (index % 10),
      cy: 10.5 + 21 * Math.floor(index / 10),
      r: 7,
      class: index < least ? "on" : index < most ? "maybe" : null,
    }),
  );
  return svg(
    "svg",
    {
      class: "dots",
      viewBox: "0 0 210 210",
      role: "img",
      "aria-label": _("100 dots, {count} of them filled", { count: least }),
    },
    ...dots,
  );
}
