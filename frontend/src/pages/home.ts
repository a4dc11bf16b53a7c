// Entry of the page for patients: the hundred dots follow the slider; packs and years make pack-years.
import { packYears } from "../home/pack_years";
import { _ } from "../shared/i18n";

const slider = document.querySelector<HTMLInputElement>("#share");
const figure = document.querySelector("[data-dots-live]");
const packs = document.querySelector<HTMLInputElement>("[data-packs]");
const years = document.querySelector<HTMLInputElement>("[data-years]");

function write(selector: string, text: string): void {
  const element = document.querySelector(selector);
  if (element) element.textContent = text;
}

function showShare(count: number): void {
  figure?.querySelectorAll("circle").forEach((dot, index) => {
    dot.classList.toggle("on", index < count);
  });
  figure?.setAttribute("aria-label", _("100 dots, {count} of them filled", { count }));
  write("[data-dots-text]", String(count));
  write("[data-dots-rest]", String(100 - count));
  write("[data-dots-percent]", `${count} %`);
}

function showPackYears(): void {
  const count = packYears(packs?.value ?? "", years?.value ?? "");
  write("[data-pack-years]", count === null ? "" : _("{count} pack-years", { count }));
}

if (slider && figure) {
  slider.addEventListener("input", () => showShare(Number(slider.value)));
  showShare(Number(slider.value));
}
for (const input of [packs, years]) input?.addEventListener("input", showPackYears);
