/* The noise slider of the static pages: shows the frame that belongs to σ and photo. Frames and texts are in the page. */
document.addEventListener("DOMContentLoaded", () => {
  for (const lab of document.querySelectorAll(".noise-lab")) {
    const data = JSON.parse(lab.querySelector("script[type='application/json']").textContent);
    const [range, output, select] = ["input", "output", "select"].map((name) => lab.querySelector(name));
    const [image, titles] = [lab.querySelector("img"), lab.querySelector(".noise-lab-titles")];
    const show = () => {
      const sigma = data.sigmas[Number(range.value)];
      const frame = data.frames[`${select.value}/${sigma}`];
      output.textContent = sigma;
      range.setAttribute("aria-valuetext", `σ = ${sigma}`);
      image.src = `data:image/webp;base64,${frame.image}`;
      image.alt = frame.alt;
      titles.innerHTML = frame.caption;
    };
    range.addEventListener("input", show);
    select.addEventListener("change", show);
    lab.querySelector(".noise-lab-controls").hidden = false;
    show(); // a browser may restore an earlier position of the slider when the page is reloaded
  }
});
