/* Pictures of a page, but for those of labs, open large: by a click, or by the button in their corner, which the keyboard reaches.
   A picture of pixels is shown with a whole number of the screen's pixels to each of its own, so that a gray value stays what it is;
   a drawing fills the window. The dialog is the browser's own: Esc closes it, and the focus goes back to the button. */
{
  const MARGIN = 24; // pixels between a picture and the edge of the window, on each side
  const LARGEST = 16; // pixels of the screen to a pixel of the picture
  const FACTOR = 1.5; // of one step for a drawing

  const element = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };
  const isDrawing = (image) => /^data:image\/svg|\.svg$/.test(image.src);
  const button = (name, words, label) => element("button", {type: "button", class: `enlarged-${name}`, "aria-label": label, title: label}, words);

  const smaller = button("smaller", "−", "smaller");
  const larger = button("larger", "+", "larger");
  const close = button("close", "×", "close");
  const size = element("output", {class: "enlarged-size"});
  const place = element("div", {class: "enlarged-place", tabindex: 0, role: "group", "aria-label": "picture; where it is larger than the window it moves"});
  const bar = element("div", {class: "enlarged-bar"}, size, smaller, larger, close);
  const dialog = element("dialog", {class: "enlarged", "aria-label": "Picture, enlarged"}, bar, place);

  let [picture, unit, steps, most] = [null, 1, 1, LARGEST]; // a step is `unit` times as wide as the picture's own pixels

  const show = (wanted) => {
    steps = Math.min(most, Math.max(1, wanted));
    const scale = isDrawing(picture) ? unit * FACTOR ** (steps - 1) : unit * steps;
    picture.style.width = `${picture.width0 * scale}px`;
    size.textContent = isDrawing(picture) ? `${Math.round(100 * scale)} %` : `${steps} × ${steps} pixels of the screen to a pixel`;
    [smaller.disabled, larger.disabled] = [steps === 1, steps === most];
  };

  const open = async (image, opener) => {
    const [wide, high] = [innerWidth - 2 * MARGIN, innerHeight - 2 * MARGIN - 48];
    const loaded = element("img", {src: image.currentSrc || image.src, alt: image.alt});
    await loaded.decode();
    const shape = loaded.naturalHeight / loaded.naturalWidth;
    const width = isDrawing(image) ? Number(image.getAttribute("width")) || image.clientWidth : loaded.naturalWidth;
    const fitting = Math.min(wide, high / shape) / width;
    picture = Object.assign(loaded, {width0: width});
    place.replaceChildren(picture);
    if (isDrawing(image)) {
      const stepsTo = (scale) => 1 + Math.max(0, Math.ceil(Math.log(scale / fitting) / Math.log(FACTOR)));
      [unit, most] = [fitting, stepsTo(Math.max(4, 2 * fitting))];
      picture.classList.add("enlarged-drawing");
      show(fitting * width > 1.2 * image.clientWidth ? 1 : stepsTo(1)); // on a phone the window is no larger than the page
    } else {
      [unit, most] = [1 / devicePixelRatio, LARGEST];
      const fits = Math.max(1, Math.floor(fitting * devicePixelRatio));
      show(fits * unit * width > image.clientWidth ? fits : Math.floor(image.clientWidth / (unit * width)) + 1);
    }
    document.body.append(dialog);
    opener.focus(); // to which the browser gives the focus back
    dialog.showModal();
    close.focus();
  };

  smaller.addEventListener("click", () => show(steps - 1));
  larger.addEventListener("click", () => show(steps + 1));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  dialog.addEventListener("close", () => dialog.remove());

  const offer = (image) => {
    const opener = element("button", {type: "button", class: "enlarge", "aria-haspopup": "dialog", "aria-label": `Enlarge: ${image.alt.slice(0, 60)}`}, "⤢");
    opener.addEventListener("click", () => open(image, opener));
    image.classList.add("enlargeable");
    image.addEventListener("click", () => open(image, opener));
    image.after(opener);
  };

  const PICTURES = "article :is(.cell_output, .stored-picture) img:not(.lab img, table img, a img)";
  const offerAll = () => document.querySelectorAll(PICTURES).forEach(offer);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", offerAll);
  else offerAll();
}
