/* What the pages whose networks run in the browser are made of: elements, dials, what is announced, and how a page begins. */
"use strict";

const labControls = (() => {
  const QUIET = 700; // milliseconds without a change after which a result is announced

  const made = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const labelled = (text, ...controls) => made("label", {}, `${text} `, ...controls);
  const choice = (options, attributes = {}) =>
    made("select", {autocomplete: "off", ...attributes}, ...Object.entries(options).map(([value, text]) => made("option", {value}, text)));

  /* A slider and a field for any value between its steps, which follow each other; changed() is called for each new value, and
     complain(text) for what is no number between the ends. */
  const dial = ({name, symbol, value, max, step = 1}, changed, complain) => {
    const bounds = {min: 0, max, value, autocomplete: "off"};
    const slider = made("input", {type: "range", ...bounds, step});
    const field = made("input", {type: "number", step: "any", inputmode: "decimal", "aria-label": `${name}, any value from 0 to ${max}`,
                                 ...bounds});
    const whole = {value, element: made("span", {class: "noise-lab-dial"}, labelled(name, slider), field)};
    const set = (next) => {
      whole.value = next;
      slider.setAttribute("aria-valuetext", `${symbol} = ${next}`);
    };
    set(value);
    slider.addEventListener("input", () => {
      field.value = slider.value;
      field.removeAttribute("aria-invalid");
      set(Number(slider.value));
      changed();
    });
    field.addEventListener("input", () => {
      const next = field.valueAsNumber, good = next >= 0 && next <= max;
      if (!good) {
        field.setAttribute("aria-invalid", "true");
        return complain(`${name}: give a number from 0 to ${max}.`);
      }
      field.removeAttribute("aria-invalid");
      slider.value = next;
      set(next);
      changed();
    });
    return whole;
  };

  /* The one place of a lab that announces: say(text) now, which drops what was about to be said; later(text, done) once nothing has
     changed for a while, so that a slider that moves is not talked over; hush() drops what was about to be said. */
  const announcer = () => {
    const element = made("p", {role: "status", class: "noise-lab-status"});
    let announced = null;
    const hush = () => clearTimeout(announced);
    const say = (text) => {
      hush();
      element.textContent = text;
    };
    const later = (text, done = () => {}) => {
      hush();
      announced = setTimeout(() => {
        element.textContent = text;
        done();
      }, QUIET);
    };
    return {element, hush, say, later};
  };

  /* Standard normal numbers, the same for the same seed: mulberry32, and Box and Muller's method. */
  const normal = (count, seed) => {
    const found = new Float32Array(count);
    let state = seed * 0x9e3779b9;
    const uniform = () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
    for (let i = 0; i < count; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
      found[i] = radius * Math.cos(angle);
      if (i + 1 < count) found[i + 1] = radius * Math.sin(angle);
    }
    return found;
  };

  const megabytes = (...names) => `${(names.reduce((sum, name) => sum + noiseLabManifest.sizes[name], 0) / 1e6).toFixed(1)} MB`;

  /* The button that loads files and begins: begin(progressed) loads, calls progressed() for each of `names`, and shows;
     failed(error) says why that did not work, and the button offers another try. */
  const starter = ({words, names, say}, begin, failed) => {
    const button = made("button", {type: "button", class: "noise-lab-begin"}, `${words} (${megabytes(...names)})`);
    button.addEventListener("click", async () => {
      if (button.getAttribute("aria-disabled")) return;
      button.setAttribute("aria-disabled", "true"); // it keeps the focus
      let loaded = 0, over = false;
      const progressed = () => { // files that are still on their way arrive after one has failed
        loaded += 1;
        if (!over) button.textContent = `Loading, ${Math.min(loaded, names.length)} of ${names.length} files …`;
      };
      say(`Loading ${megabytes(...names)} …`);
      try {
        await begin(progressed);
        button.remove();
      } catch (error) {
        over = true;
        button.removeAttribute("aria-disabled");
        button.textContent = "Try again";
        failed(error);
        say("");
      }
    });
    return button;
  };

  return {made, labelled, choice, dial, announcer, megabytes, starter, normal};
})();
