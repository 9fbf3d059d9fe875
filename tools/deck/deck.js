/* A deck of slides: arrows, Page keys and the space bar turn it; a slider that has the focus keeps the arrows to itself. */
const slides = [...document.querySelectorAll(".slide")];
const number = document.getElementById("number");
let shown = -1;

const show = (wanted) => {
  const next = Math.min(Math.max(wanted, 0), slides.length - 1);
  if (next === shown) return;
  document.activeElement?.blur(); // else the arrows would go on moving a slider that is out of sight
  slides.forEach((slide, i) => {
    slide.classList.toggle("shown", i === next);
    slide.inert = i !== next; // out of the tab order, and of what is read aloud
  });
  shown = next;
  number.textContent = `${shown + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${shown + 1}`);
};

/* The stage has 1280 × 720 pixels of its own and is as large as the window allows. */
const scale = () => {
  const factor = Math.min(innerWidth / 1280, innerHeight / 720);
  document.getElementById("stage").style.transform = `translate(-50%, -50%) scale(${factor})`;
};

/* What does not fit gets smaller letters, step by step. */
const SMALLEST = 17; // pixels of 720: smaller ones are not read from the last row
const fit = (slide) => {
  const body = slide.querySelector(".body");
  body.querySelectorAll(".katex-display").forEach((formula) => {
    const [needed, there] = [formula.scrollWidth, formula.clientWidth];
    if (needed > there) formula.style.fontSize = `${Math.floor((98 * there) / needed)}%`; // a long formula alone, not the words
  });
  const overflows = () => body.scrollHeight > body.clientHeight + 1 || body.scrollWidth > body.clientWidth + 1;
  for (let size = 30; size >= SMALLEST; size -= 1) {
    body.style.fontSize = `${size}px`;
    if (!overflows()) return;
  }
  slide.classList.add("overflows");
};

const KEYS = {
  ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, Enter: 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1, Backspace: -1,
  Home: -Infinity, End: Infinity,
};
const PAGES = ["PageDown", "PageUp"]; // what a presenter's remote control sends

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") document.activeElement?.blur();
  else if (event.key === "n") document.body.classList.toggle("with-notes");
  else if (event.key in KEYS && (PAGES.includes(event.key) || !event.target.closest?.("input, select, button, a, summary"))) {
    event.preventDefault();
    show(shown + KEYS[event.key]);
  }
});
document.getElementById("back").addEventListener("click", () => show(shown - 1));
document.getElementById("on").addEventListener("click", () => show(shown + 1));
addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1));
addEventListener("resize", scale);

scale();
show((Number(location.hash.slice(1)) || 1) - 1);
addEventListener("load", async () => {
  await document.fonts.ready;
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  slides.forEach(fit);
  document.body.classList.add("ready");
});
