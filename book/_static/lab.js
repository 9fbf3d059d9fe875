/* The labs of the static pages. A page carries, without loss, the clean and the restored photos, and of the noise one pattern;
   the noisy photo and the error are computed here, to the last bit as course_lib.widgets does. Figures come as they are.

   A lab stays the picture of its start unless every picture was read exactly: some browsers alter what a page reads from a canvas. */
const decoded = async (base64) => {
  const image = new Image();
  image.src = `data:image/webp;base64,${base64}`;
  await image.decode();
  return image;
};

const pixelsOf = (image) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
};

const sumOf = ({data}) => data.reduce((sum, level, i) => (i % 4 === 3 ? sum : sum + level), 0);

/* Degraded, restored and error side by side. Writing to an ImageData rounds halves to even and clips, as NumPy does there. */
const drawRestored = (canvas, {gain, gap, steps, zero}, frame, pixels) => {
  const [clean, restored] = [pixels[frame.clean], pixels[frame.restored]];
  const {width, height} = clean;
  const [degraded, error] = [new ImageData(width, height), new ImageData(width, height)];
  const given = pixels["sigma" in frame ? frame.pattern : frame.degraded].data;
  for (let i = 0; i < given.length; i++) {
    if (i % 4 === 3) {
      degraded.data[i] = error.data[i] = 255; // opaque
    } else {
      degraded.data[i] = "sigma" in frame ? clean.data[i] + (frame.sigma * (given[i] - zero)) / steps : given[i];
      error.data[i] = 128 + gain * (restored.data[i] - clean.data[i]);
    }
  }
  [canvas.width, canvas.height] = [3 * width + 2 * gap, height];
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  [degraded, restored, error].forEach((part, i) => context.putImageData(part, i * (width + gap), 0));
};

const drawFigure = (canvas, image) => {
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
};

const made = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const enliven = async (lab) => {
  const content = JSON.parse(lab.querySelector("script[type='application/json']").textContent);
  const images = await Promise.all(content.pictures.map(decoded));
  const photos = !("figure" in Object.values(content.rows)[0][0]);
  const pixels = photos ? images.map(pixelsOf) : [];
  if (!pixels.every((picture, i) => sumOf(picture) === content.sums[i])) {
    throw new Error("this browser alters the pictures that a page reads: the slider stays the picture of its start");
  }
  const names = Object.keys(content.rows);
  // autocomplete: after a reload a browser would put a control where it was, and the picture where it begins
  const range = made("input", {
    type: "range", min: 0, max: content.rows[names[0]].length - 1, step: 1, value: content.start, autocomplete: "off",
  });
  const select = made("select", {autocomplete: "off"}, ...names.map((name) => made("option", {}, name)));
  const output = made("output", {"aria-live": "off"}); // the slider itself says its position
  const controls = made("div", {class: "lab-controls"}, made("label", {}, `${content.slider} `, range), output);
  if (names.length > 1) controls.append(made("label", {}, `${content.choice} `, select)); // a choice of one would do nothing
  if (content.by) controls.append(made("span", {}, `by ${content.by}`));
  const titles = made("div", {class: "lab-titles", "aria-live": "polite"});
  const canvas = made("canvas", {role: "img"});
  const view = made("div", {class: "lab-view", role: "group", tabindex: 0, "aria-label": "picture; on a narrow screen it moves sideways"}, titles, canvas);
  const show = () => {
    const frame = content.rows[select.value][Number(range.value)];
    if (photos) drawRestored(canvas, content, frame, pixels);
    else drawFigure(canvas, images[frame.figure]);
    canvas.setAttribute("aria-label", frame.alt);
    range.setAttribute("aria-valuetext", frame.position);
    output.textContent = frame.position;
    titles.innerHTML = frame.caption;
  };
  range.addEventListener("input", show);
  select.addEventListener("change", show);
  window.addEventListener("pageshow", show); // whatever the browser did to the controls, the picture is theirs
  show();
  const start = lab.querySelector(".lab-start img"); // on paper; without this the same picture would be loaded as a file too
  start.removeAttribute("loading");
  start.src = canvas.toDataURL();
  lab.append(made("div", {class: "lab-live"}, controls, view));
  lab.setAttribute("role", "group");
  lab.setAttribute("aria-label", `pictures along a slider: ${content.slider}`);
  lab.classList.add("lab-alive");
};

const enlivenAll = () => document.querySelectorAll(".lab").forEach((lab) => enliven(lab).catch((error) => console.warn(error.message)));
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", enlivenAll);
else enlivenAll();
