/* The labs of the static pages: show the frame that belongs to slider and choice. Frames and texts are in the page. */
document.addEventListener("DOMContentLoaded", () => {
  for (const lab of document.querySelectorAll(".lab")) {
    const frames = JSON.parse(lab.querySelector("script[type='application/json']").textContent);
    const [range, output, select] = ["input", "output", "select"].map((name) => lab.querySelector(name));
    const [image, titles] = [lab.querySelector("img"), lab.querySelector(".lab-titles")];
    const show = () => {
      const row = select ? frames[select.value] : Object.values(frames)[0]; // one row needs no choice
      const frame = row[Number(range.value)];
      output.textContent = frame.position;
      range.setAttribute("aria-valuetext", frame.position);
      image.src = `data:image/webp;base64,${frame.image}`;
      image.alt = frame.alt;
      titles.innerHTML = frame.caption;
    };
    range.addEventListener("input", show);
    select?.addEventListener("change", show);
    lab.querySelector(".lab-controls").hidden = false;
    show(); // a browser may restore an earlier position of the slider when the page is reloaded
  }
});
