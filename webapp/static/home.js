// The hundred dots follow the slider.
const slider = document.querySelector("#share");
const figure = document.querySelector("[data-dots]");

if (slider && figure) {
  const dots = [...figure.querySelectorAll("circle")];
  const show = () => {
    const count = Number(slider.value);
    dots.forEach((dot, index) => dot.classList.toggle("on", index < count));
    figure.setAttribute("aria-label", `100 dots, ${count} of them filled`);
    document.querySelector("[data-dots-text]").textContent = String(count);
    document.querySelector("[data-dots-rest]").textContent = String(100 - count);
    document.querySelector("[data-dots-percent]").textContent = `${count} %`;
  };
  slider.addEventListener("input", show);
  show();
}
