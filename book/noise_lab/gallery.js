/* The gallery lab: a pad to draw characters on, people who are enrolled by them, and who the character on the pad is. The network that
   makes embeddings runs in the browser; nothing of it is loaded before the reader asks. The rules are those of
   course_lib.metric_learning.gallery. */
"use strict";

const galleryLabState = (() => {
  const {hindrance, network, embed} = noiseLabEngine;
  const {made, labelled, choice, dial, announcer, starter, normal} = labControls;
  const SIDE = 28, BOX = 20; // pixels of the images that the network was trained on, and of the box that a character fills there
  const PEN = 2.4; // width of the pen in those pixels
  const PAD = 280; // pixels of the pad, a side
  const GAMMA = 0.62; // one in a hundred comparisons of two unseen characters is below it
  const FARTHEST = 2; // distance of two opposite points of the unit sphere
  const NEEDED = ["tf-core", "tf-wasm", "worker", "wasm", "weights-embedder"];
  /* Strokes of capital letters, which are no digits: the network was trained on none of them. */
  const EXAMPLES = {
    A: [[[0.1, 1], [0.5, 0], [0.9, 1]], [[0.27, 0.6], [0.73, 0.6]]],
    E: [[[0.9, 0], [0.1, 0], [0.1, 1], [0.9, 1]], [[0.1, 0.5], [0.75, 0.5]]],
    K: [[[0.15, 0], [0.15, 1]], [[0.85, 0], [0.15, 0.55], [0.9, 1]]],
    M: [[[0.05, 1], [0.15, 0], [0.5, 0.6], [0.85, 0], [0.95, 1]]],
    S: [[[0.85, 0.15], [0.5, 0], [0.15, 0.2], [0.3, 0.42], [0.7, 0.58], [0.85, 0.8], [0.5, 1], [0.12, 0.85]]],
    X: [[[0.1, 0], [0.9, 1]], [[0.9, 0], [0.1, 1]]],
    Z: [[[0.1, 0], [0.9, 0], [0.1, 1], [0.9, 1]]],
  };

  const root = document.querySelector(".gallery-lab");
  const shown = root.querySelector(".noise-lab-shown"), stored = document.querySelector(".stored-lab");
  const {element: status, say: announce, later} = announcer();
  const spoken = (is) => status.classList.toggle("gallery-spoken", is); // the verdict is on the page already: it is only announced
  const say = (text) => {
    spoken(false);
    announce(text);
  };

  // --- characters -----------------------------------------------------------------------------------------------------------

  /* The strokes of an example as another hand would write them: turned, slanted, stretched, and unsteady. */
  const rewritten = (strokes, seed) => {
    const points = strokes.reduce((sum, {length}) => sum + length, 0), draws = normal(4 + 2 * points, seed);
    const [turn, slant, wide, high] = [0.12 * draws[0], 0.12 * draws[1], 1 + 0.1 * draws[2], 1 + 0.1 * draws[3]];
    let i = 4;
    return strokes.map((stroke) => stroke.map(([x, y]) => {
      const [u, v] = [wide * (x - 0.5 + slant * (0.5 - y)) + 0.02 * draws[i++], high * (y - 0.5) + 0.02 * draws[i++]];
      const clamp = (value) => Math.min(0.98, Math.max(0.02, value));
      return [u * Math.cos(turn) - v * Math.sin(turn), u * Math.sin(turn) + v * Math.cos(turn)].map((w) => clamp(0.5 + 0.6 * w));
    }));
  };

  const trace = (context, strokes, place, width) => {
    Object.assign(context, {lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: "white", fillStyle: "white"});
    for (const stroke of strokes) {
      context.beginPath();
      stroke.map(place).forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      if (stroke.length === 1) context.lineTo(...place(stroke[0])); // a dot
      context.stroke();
    }
  };

  /* Strokes as an image (SIDE, SIDE) on the [0, 1] scale, white on black, as the makers of MNIST did: the character fills a box of 20
     pixels, and its centre of mass is in the middle. */
  const image = (strokes) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [SIDE, SIDE];
    const context = canvas.getContext("2d", {willReadFrequently: true}), points = strokes.flat();
    const ends = [0, 1].map((axis) => [Math.min, Math.max].map((most) => most(...points.map((point) => point[axis]))));
    const middle = ends.map(([low, high]) => (low + high) / 2), extent = Math.max(...ends.map(([low, high]) => high - low), 0.02);
    const drawn = (right, down) => {
      context.fillStyle = "black";
      context.fillRect(0, 0, SIDE, SIDE);
      const scale = (BOX - PEN) / extent;
      const place = (point) => point.map((value, axis) => SIDE / 2 + [right, down][axis] + scale * (value - middle[axis]));
      trace(context, strokes, place, PEN);
      const {data} = context.getImageData(0, 0, SIDE, SIDE);
      return Float32Array.from({length: SIDE * SIDE}, (_, i) => data[4 * i] / 255);
    };
    const first = drawn(0, 0), mass = first.reduce((sum, value) => sum + value, 0);
    const places = [(i) => i % SIDE, (i) => Math.floor(i / SIDE)];
    const centre = places.map((of) => first.reduce((sum, value, i) => sum + value * of(i), 0) / mass);
    return drawn(...centre.map((at) => (SIDE - 1) / 2 - at));
  };

  const picture = (values, label) => {
    const canvas = made("canvas", {role: "img", "aria-label": label, class: "gallery-picture"});
    [canvas.width, canvas.height] = [SIDE, SIDE];
    const data = new ImageData(SIDE, SIDE);
    values.forEach((value, i) => data.data.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas;
  };

  // --- the state ------------------------------------------------------------------------------------------------------------

  let strokes = []; // on the pad, points in the unit square
  let people = []; // {name, templates: [{image, vector}], score}
  let query = null; // {image, vector} of what is on the pad; null where nothing is, or it is not computed yet
  let answer = null; // {person, nearest, score}
  let written = 0; // examples so far: each is written by another hand

  const distance = (a, b) => Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0));

  /* s_u, the mean distance to the templates of each person; the nearest one is the answer if that is below γ. */
  const judge = () => {
    for (const person of people) {
      const {templates} = person;
      person.score = query ? templates.reduce((sum, {vector}) => sum + distance(query.vector, vector), 0) / templates.length : null;
    }
    answer = null;
    if (query && people.length) {
      const nearest = people.reduce((best, person) => (person.score < best.score ? person : best));
      answer = {person: nearest.score < gamma.value ? nearest.name : null, nearest: nearest.name, score: nearest.score};
    }
    show();
  };

  let busy = false, stale = false;
  /* The embedding of what is on the pad; while one is computed no other one is begun, and the last one counts. */
  const look = async () => {
    draw();
    if (busy) {
      stale = true;
      return;
    }
    query = null;
    if (strokes.length) {
      busy = true;
      const clean = image(strokes), pattern = normal(clean.length, 1);
      const noisy = clean.map((value, i) => value + (noise.value / 255) * pattern[i]); // not clipped, as in training
      try {
        query = {image: noisy, vector: await embed({name: "embedder", image: noisy, width: SIDE, height: SIDE})};
      } catch (error) {
        return say(`The network failed: ${error.message}. Load the page again.`);
      } finally {
        busy = false;
      }
      if (stale) {
        stale = false;
        return look();
      }
    }
    judge();
  };

  // --- controls -------------------------------------------------------------------------------------------------------------

  const pad = made("canvas", {
    tabindex: 0, role: "application", "aria-label": "pad: draw a character", width: PAD, height: PAD, class: "gallery-pad",
    "aria-roledescription": "pad: arrow keys move the pen, Space puts it down and lifts it",
  });
  const seen = made("span", {class: "gallery-seen"});
  const clear = made("button", {type: "button"}, "Clear the pad");
  const example = choice(Object.fromEntries(Object.keys(EXAMPLES).map((letter) => [letter, letter])));
  const write = made("button", {type: "button"}, "Write it");
  const name = made("input", {type: "text", maxlength: 20, autocomplete: "off", size: 8});
  const enrol = made("button", {type: "button"}, "Enrol");
  const gamma = dial({name: "Threshold γ", symbol: "γ", value: GAMMA, max: FARTHEST, step: 0.01}, () => judge(), say);
  const noise = dial({name: "Noise σ on the pad", symbol: "σ", value: 0, max: 75}, () => look(), say);
  const verdict = made("p", {class: "gallery-verdict"});
  const rows = made("tbody");
  const table = made("table", {class: "gallery-people"},
    made("caption", {}, "Enrolled"),
    made("thead", {}, made("tr", {}, ...["person", "templates", "distance", ""].map((head) => made("th", {scope: "col"}, head)))), rows);
  const live = made("div", {class: "noise-lab-live", hidden: true},
    made("div", {class: "gallery-desk"},
      made("div", {}, pad),
      made("div", {class: "gallery-tools"},
        made("div", {class: "lab-controls"}, clear),
        made("div", {class: "lab-controls"}, labelled("Example", example), write),
        made("div", {class: "lab-controls"}, labelled("Who is it?", name), enrol),
        made("p", {}, "The network sees ", seen))),
    made("div", {class: "lab-controls"}, gamma.element, noise.element),
    verdict, table);

  const pen = {x: 0.5, y: 0.5, down: false, seen: false}; // of the keyboard
  const draw = () => {
    const context = pad.getContext("2d");
    context.fillStyle = "black";
    context.fillRect(0, 0, PAD, PAD);
    trace(context, strokes, (point) => point.map((value) => PAD * value), PAD / 14);
    if (pen.seen) {
      context.fillStyle = context.strokeStyle = pen.down ? "#ff8c1a" : "#4db2ff";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(PAD * pen.x, PAD * pen.y, 8, 0, 2 * Math.PI);
      if (pen.down) context.fill();
      else context.stroke();
    }
  };

  const words = () => {
    if (!strokes.length) return "The pad is empty: draw a character, or write an example.";
    if (!people.length) return "Nobody is enrolled: say who this is, and enrol them.";
    const {person, nearest, score} = answer;
    return person === null
      ? `Nobody I know: the nearest is ${nearest}, at ${score.toFixed(2)}, which is not below γ = ${gamma.value}.`
      : `This is ${person}: ${score.toFixed(2)} is below γ = ${gamma.value}.`;
  };

  const show = () => {
    seen.replaceChildren(query ? picture(query.image, "the character, 28×28 pixels") : "nothing");
    verdict.textContent = words();
    rows.replaceChildren(...people.map((person) => {
      const remove = made("button", {type: "button", "aria-label": `Remove ${person.name}`}, "Remove");
      remove.addEventListener("click", () => {
        people = people.filter((one) => one !== person);
        judge();
        say(`${person.name} has left. ${words()}`);
        name.focus(); // the button is gone
      });
      const parts = ["gallery-length", "gallery-gamma"].map((part) => made("span", {class: part}));
      const bar = made("span", {class: "gallery-bar", "aria-hidden": "true"}, ...parts);
      bar.firstChild.style.width = `${(100 * (person.score ?? 0)) / FARTHEST}%`;
      bar.lastChild.style.left = `${(100 * gamma.value) / FARTHEST}%`;
      const row = made("tr", {},
        made("th", {scope: "row"}, person.name),
        made("td", {}, ...person.templates.map((one, i) => picture(one.image, `template ${i + 1} of ${person.name}`))),
        made("td", {}, person.score === null ? "–" : person.score.toFixed(2), bar), made("td", {}, remove));
      row.classList.toggle("gallery-match", answer?.person === person.name);
      return row;
    }));
    later(words(), () => spoken(true));
  };

  // --- drawing --------------------------------------------------------------------------------------------------------------

  const at = (event) => {
    const box = pad.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((v) => Math.min(1, Math.max(0, v)));
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pad.setPointerCapture(event.pointerId);
    pen.seen = false;
    strokes.push([at(event)]);
    look();
  });
  pad.addEventListener("pointermove", (event) => {
    if (!(event.buttons & 1) || !pad.hasPointerCapture(event.pointerId)) return;
    strokes.at(-1).push(at(event));
    look();
  });
  pad.addEventListener("keydown", (event) => {
    const [x, y] = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key] ?? [0, 0];
    if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) strokes.push([[pen.x, pen.y]]);
      say(pen.down ? "The pen is down." : "The pen is lifted.");
    } else if (!x && !y) return;
    event.preventDefault(); // neither scroll nor turn the page
    event.stopPropagation();
    [pen.x, pen.y] = [pen.x + x / 20, pen.y + y / 20].map((value) => Math.min(0.95, Math.max(0.05, value)));
    pen.seen = true;
    if (pen.down && (x || y)) strokes.at(-1).push([pen.x, pen.y]);
    look();
  });
  pad.addEventListener("blur", () => {
    [pen.down, pen.seen] = [false, false];
    draw();
  });
  clear.addEventListener("click", () => {
    strokes = [];
    pen.down = false;
    look();
  });
  write.addEventListener("click", () => {
    strokes = rewritten(EXAMPLES[example.value], ++written);
    look();
  });

  // --- enrolling ------------------------------------------------------------------------------------------------------------

  const admit = (who, template) => {
    const known = people.find((person) => person.name === who);
    if (known) known.templates.push(template);
    else people.push({name: who, templates: [template], score: null});
  };

  enrol.addEventListener("click", async () => {
    const who = name.value.trim().normalize("NFC");
    if (!strokes.length) return say("The pad is empty: draw a character first, or write an example.");
    if (!who) {
      name.focus();
      return say("Say who it is: a name is needed.");
    }
    const clean = image(strokes);
    admit(who, {image: clean, vector: await embed({name: "embedder", image: clean, width: SIDE, height: SIDE})}); // without the noise
    name.value = "";
    judge();
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter") enrol.click();
    event.stopPropagation(); // an arrow key moves within the name
  });

  // --- from the stored pictures to the network ------------------------------------------------------------------------------

  const instead = (why) => {
    shown.textContent = `Shown: stored pictures of chapter 3. The network cannot run here: ${why}.`;
  };

  const begin = async (progressed) => {
    await network("embedder", progressed);
    for (const letter of ["A", "Z"]) {
      const clean = image(rewritten(EXAMPLES[letter], ++written));
      admit(letter, {image: clean, vector: await embed({name: "embedder", image: clean, width: SIDE, height: SIDE})});
    }
    stored.hidden = true;
    live.hidden = false;
    shown.textContent = "Shown: what the network of the gallery computes in this browser, by WebAssembly.";
    strokes = rewritten(EXAMPLES.A, ++written);
    await look();
    pad.focus();
  };

  const why = hindrance();
  if (why) instead(why);
  else {
    shown.textContent = "Shown: stored pictures of chapter 3.";
    root.append(starter({words: "Open the gallery here", names: NEEDED, say}, begin, (error) => instead(error.message)), live);
  }
  root.append(status);

  /* What the page knows. For tests, and for the curious. */
  return () => ({
    query, answer, gamma: gamma.value, busy,
    people: people.map(({name: who, templates, score}) => ({name: who, templates, score})),
  });
})();
