/* The noise lab: controls, pictures and figures around the networks of engine.js. The script makes every control, so that there is
   never one that does nothing; until the reader asks for the network, the stored pictures of a chapter serve. */
"use strict";

(() => {
  const {hindrance, start, network, asset, denoise, stop, tiled} = noiseLabEngine;
  const HIGHEST = 75, GAIN = 4; // of σ on the 0–255 scale, as in training; of the error
  const SIDES = [128, 256, 512, 1024, 2048]; // longer side in pixels
  const QUIET = 700; // milliseconds without a change after which the result is announced
  const PAUSE = 250; // the same, before a large photo is denoised anew
  const LAYERS = {noisy: "noisy", denoised: "denoised", clean: "clean", error: `error × ${GAIN}`, map: "noise-level map"};
  const DRAGS = {wipe: "move the wipe", noise: "paint noise, and tell the network", told: "paint only what the network is told"};

  const root = document.getElementById("noise-lab");
  const shown = root.querySelector(".noise-lab-shown"), stored = document.querySelector(".stored-lab");

  // --- elements -----------------------------------------------------------------------------------------------------------

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

  /* A slider and a field for any value between its steps, which follow each other. */
  const dial = (name, value, changed) => {
    const bounds = {min: 0, max: HIGHEST, value, autocomplete: "off"};
    const slider = made("input", {type: "range", step: 1, ...bounds});
    const field = made("input", {type: "number", step: "any", inputmode: "decimal", "aria-label": `${name}, any value from 0 to ${HIGHEST}`,
                                 ...bounds});
    const whole = {value, element: made("span", {class: "noise-lab-dial"}, labelled(name, slider), field)};
    const set = (next) => {
      whole.value = next;
      slider.setAttribute("aria-valuetext", `σ = ${next}`);
    };
    set(value);
    slider.addEventListener("input", () => {
      field.value = slider.value;
      field.removeAttribute("aria-invalid");
      set(Number(slider.value));
      changed();
    });
    field.addEventListener("input", () => {
      const next = field.valueAsNumber, good = next >= 0 && next <= HIGHEST;
      if (!good) {
        field.setAttribute("aria-invalid", "true");
        return say(`${name}: give a number from 0 to ${HIGHEST}.`);
      }
      field.removeAttribute("aria-invalid");
      slider.value = next;
      set(next);
      changed();
    });
    return whole;
  };

  // --- what the reader is told --------------------------------------------------------------------------------------------

  const status = made("p", {role: "status", class: "noise-lab-status"});
  let announced = null;
  /* Say something now; what was about to be announced is dropped. */
  const say = (text) => {
    clearTimeout(announced);
    status.textContent = text;
  };
  /* Say it once nothing has changed for a while, so that a slider that moves is not talked over. */
  const sayLater = (text) => {
    clearTimeout(announced);
    announced = setTimeout(() => {
      status.textContent = text;
      news = "";
    }, QUIET);
  };
  const megabytes = (...names) => `${(names.reduce((sum, name) => sum + noiseLabManifest.sizes[name], 0) / 1e6).toFixed(1)} MB`;
  const decibels = (psnr) => (psnr === Infinity ? "exact" : `${psnr.toFixed(2)} dB`);

  // --- the state ----------------------------------------------------------------------------------------------------------

  let photo = null; // {image, name, width, height, remarks}
  let width = 0, height = 0, channels = 1, seed = 1;
  let clean, pattern, noisy, map, denoised; // planes, on the [0, 1] scale; map and the painted ones have one plane
  let painted = {noise: null, told: null}; // σ on the 0–255 scale where it was painted, NaN elsewhere; null where nothing was
  let before = Infinity; // PSNR of noisy
  let result = null; // {psnr, milliseconds} of what denoised shows, null while it is not that of noisy
  let partly = false; // was the network stopped before it had all tiles?
  let news = ""; // of a photo that was just read, for the next announcement

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

  /* PSNR in dB of what a screen shows: clamped to [0, 1], 8 bits, as the papers measure it. */
  const psnr = (planes) => {
    let sum = 0;
    for (let i = 0; i < planes.length; i++) {
      sum += (Math.round(255 * Math.min(1, Math.max(0, planes[i]))) / 255 - clean[i]) ** 2;
    }
    return sum ? -10 * Math.log10(sum / planes.length) : Infinity;
  };

  // --- pictures -----------------------------------------------------------------------------------------------------------

  const canvas = made("canvas", {role: "img"});
  const line = made("div", {class: "noise-lab-line"}), brush = made("div", {class: "noise-lab-brush", hidden: true});
  const view = made("div", {class: "noise-lab-view"}, canvas, line, brush);
  const layers = new Map(); // layer -> canvas, dropped where it is no longer true

  const levelsOf = {
    noisy: (c, i) => 255 * noisy[c + i],
    denoised: (c, i) => 255 * denoised[c + i],
    clean: (c, i) => 255 * clean[c + i],
    error: (c, i) => 128 + GAIN * 255 * (denoised[c + i] - clean[c + i]),
    map: (_, i) => (255 * 255 * map[i]) / HIGHEST,
  };

  const drawn = (layer) => {
    if (!layers.has(layer)) {
      const picture = new ImageData(width, height), level = levelsOf[layer], count = width * height;
      for (let i = 0; i < count; i++) {
        for (let c = 0; c < 3; c++) picture.data[4 * i + c] = level(channels === 3 ? c * count : 0, i);
        picture.data[4 * i + 3] = 255;
      }
      const own = document.createElement("canvas");
      [own.width, own.height] = [width, height];
      own.getContext("2d").putImageData(picture, 0, 0);
      layers.set(layer, own);
    }
    return layers.get(layer);
  };

  const figures = (layer) => {
    if (layer === "noisy") return `, ${decibels(before)}`;
    if (layer === "denoised") return result ? `, ${decibels(result.psnr)}` : partly ? " in part" : ", …";
    return "";
  };

  const draw = () => {
    const names = [left.value, right.value], at = Math.round((width * wipe.value) / 100);
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    if (at > 0) context.drawImage(drawn(names[0]), 0, 0, at, height, 0, 0, at, height);
    if (at < width) context.drawImage(drawn(names[1]), at, 0, width - at, height, at, 0, width - at, height);
    line.style.left = `${(100 * at) / width}%`;
    const texts = names.map((name) => LAYERS[name] + figures(name));
    captions.replaceChildren(...texts.map((text) => made("span", {}, text)));
    wipe.setAttribute("aria-valuetext", `${wipe.value} % ${LAYERS[names[0]]}`);
    canvas.setAttribute("aria-label", `${photo.name}, ${width}×${height} pixels, noise of σ = ${sigma.value}`
      + `${painted.noise || painted.told ? " and painted" : ""}: left of the wipe at ${wipe.value} % ${texts[0]}; right ${texts[1]}.`);
  };

  // --- what depends on what -----------------------------------------------------------------------------------------------

  /* The noise-level maps: of the noise, and what the network is told of it. */
  const levels = () => {
    const actual = (i) => (painted.noise && painted.noise[i] === painted.noise[i] ? painted.noise[i] : sigma.value);
    const said = linked.checked ? actual : () => told.value;
    return [actual, (i) => (painted.told && painted.told[i] === painted.told[i] ? painted.told[i] : said(i))];
  };

  /* Make the noisy photo and the map anew, show them, and denoise. */
  const renew = () => {
    const count = width * height, [actual, said] = levels();
    noisy = new Float32Array(clean.length);
    map = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const strength = actual(i) / 255;
      for (let at = i; at < clean.length; at += count) noisy[at] = clean[at] + strength * pattern[at];
      map[i] = said(i) / 255;
    }
    for (const layer of ["noisy", "map"]) layers.delete(layer);
    before = psnr(noisy);
    [result, partly] = [null, false];
    clearTimeout(announced); // what was about to be said is no longer so
    draw();
    schedule();
  };

  let busy = false, again = false, number = 0, waiting = null;
  /* One piece is finished first, so that pictures keep coming while a slider moves; a large photo waits until it rests. */
  const schedule = () => {
    clearTimeout(waiting);
    if (tiled(width, height)) {
      number += 1; // what is computed now is of no use any more
      waiting = setTimeout(run, PAUSE);
    } else if (busy) again = true;
    else run();
  };

  const run = async () => {
    const mine = ++number, large = tiled(width, height);
    [busy, again, partly] = [true, false, false];
    if (large) {
      denoised = noisy.slice(); // a tile that is not done yet is as noisy as before
      for (const layer of ["denoised", "error"]) layers.delete(layer);
      draw();
      showProgress(0, 1);
    }
    let found;
    try {
      found = await denoise({name: net.value, noisy, map, width, height}, (tile) => large && mine === number && keep(tile));
    } catch (error) {
      if (mine === number) busy = false;
      hideProgress();
      return say(`The network failed: ${error.message}. Choose a smaller size, or load the page again.`);
    }
    if (mine !== number) return; // another one took its place
    busy = false;
    if (found.stopped) {
      stopButton.textContent = "Denoise";
      partly = true;
      draw();
      return say(`Stopped after ${found.tiles} of ${progress.max} tiles; the rest is as noisy as before.`);
    }
    hideProgress();
    denoised = found.denoised;
    for (const layer of ["denoised", "error"]) layers.delete(layer);
    if (again) {
      draw();
      return run();
    }
    result = {psnr: psnr(denoised), milliseconds: found.milliseconds};
    draw();
    const seconds = (found.milliseconds / 1000).toFixed(2);
    sayLater(`${news}Denoised in ${seconds} s: ${decibels(result.psnr)}; the noisy photo has ${decibels(before)}.`);
  };

  /* A tile of a large photo is shown as soon as it is there. */
  const keep = ({left, top, width: across, height: down, part, done, total}) => {
    const context = drawn("denoised").getContext("2d"), picture = new ImageData(across, down), count = across * down;
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) picture.data[4 * i + c] = 255 * part[(channels === 3 ? c * count : 0) + i];
      picture.data[4 * i + 3] = 255;
    }
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < down; y++) {
        denoised.set(part.subarray(c * count + y * across, c * count + (y + 1) * across), (c * height + top + y) * width + left);
      }
    }
    context.putImageData(picture, left, top);
    layers.delete("error");
    showProgress(done, total);
    draw();
  };

  // --- controls -----------------------------------------------------------------------------------------------------------

  const sigma = dial("Noise σ", 25, () => renew());
  const told = dial("Told σ", 25, () => renew());
  const linked = made("input", {type: "checkbox", checked: true, autocomplete: "off"});
  const anew = made("button", {type: "button"}, "New noise");
  const photos = choice(Object.fromEntries(noiseLabManifest.photos.map((name) => [name, name])));
  const file = made("input", {type: "file", accept: "image/*"});
  const size = choice({});
  const net = choice({gray: "FFDNet, gray", colour: `FFDNet, colour (${megabytes("weights-colour")})`});
  const left = choice(LAYERS), right = choice(LAYERS);
  const wipe = made("input", {type: "range", min: 0, max: 100, value: 50, autocomplete: "off"});
  const save = made("button", {type: "button"}, "Save the right picture");
  const about = made("p", {class: "noise-lab-about"});
  const captions = made("div", {class: "lab-titles"});
  const progress = made("progress", {"aria-label": "tiles denoised", max: 1, value: 0});
  const stopButton = made("button", {type: "button"}, "Stop");
  const working = made("div", {class: "lab-controls", hidden: true}, progress, stopButton);
  const paintSigma = dial("Brush σ", 60, () => {});
  const paintSize = made("input", {type: "range", min: 2, max: 50, value: 12, autocomplete: "off"});
  const drags = Object.entries(DRAGS).map(([value, text]) => {
    const radio = made("input", {type: "radio", name: "noise-lab-drag", value, checked: value === "wipe", autocomplete: "off"});
    return made("label", {}, radio, ` ${text}`);
  });
  const dragged = () => drags.map((label) => label.firstChild).find((radio) => radio.checked).value;
  const ramp = made("button", {type: "button"}, "Paint a ramp"), clear = made("button", {type: "button"}, "Clear the painting");
  const painting = made("div", {class: "lab-controls", hidden: true}, paintSigma.element, labelled("Brush size", paintSize), ramp, clear);
  left.value = "noisy";
  right.value = "denoised";

  const showProgress = (done, total) => {
    [progress.max, progress.value, working.hidden] = [total, done, false];
    stopButton.textContent = "Stop";
  };
  const hideProgress = () => { working.hidden = true; };

  const toldElement = made("span", {hidden: true}, told.element);
  const live = made("div", {class: "noise-lab-live", hidden: true},
    made("div", {class: "lab-controls"},
      labelled("Photo", photos), labelled("or your own", file), labelled("Longer side", size), labelled("Network", net)),
    made("div", {class: "lab-controls"},
      sigma.element, made("label", {}, linked, " the network is told the truth"), toldElement, anew),
    made("div", {class: "lab-controls"}, labelled("Left", left), labelled("Wipe", wipe), labelled("Right", right), save),
    about, captions, view, working,
    made("fieldset", {class: "lab-controls"}, made("legend", {}, "Dragging on the photo"), ...drags),
    painting);

  // --- photos -------------------------------------------------------------------------------------------------------------

  /* Sizes that the photo has, and the one that was chosen where it is among them. */
  const offerSizes = () => {
    const longest = Math.max(photo.width, photo.height), sides = SIDES.filter((side) => side < longest);
    if (longest <= SIDES.at(-1)) sides.push(longest);
    const was = Number(size.value) || SIDES[0];
    size.replaceChildren(...sides.map((side) => made("option", {value: side}, `${side} pixels`)));
    size.value = sides.includes(was) ? was : sides[0];
  };

  /* Take the photo at the chosen size in gray or in colour; what was painted was painted on another picture. */
  const take = () => {
    const longest = Math.max(photo.width, photo.height), scale = Number(size.value) / longest;
    const sides = [width, height];
    [width, height] = [photo.width, photo.height].map((side) => Math.max(2, Math.round(side * scale)));
    channels = net.value === "colour" ? 3 : 1;
    const found = noiseLabPicture.planes(photo.image, width, height, channels);
    clean = found.planes;
    pattern = normal(clean.length, seed);
    denoised = clean.map(() => 0.5);
    if (width !== sides[0] || height !== sides[1]) painted = {noise: null, told: null};
    for (const element of [view, captions]) element.style.maxWidth = `${Math.max(512, width)}px`;
    layers.clear();
    number += 1; // what is computed now is of another picture
    [busy, again] = [false, false];
    hideProgress();
    renew();
    return found.transparent;
  };

  const choose = (next) => {
    photo = next;
    painted = {noise: null, told: null};
    offerSizes();
    return take();
  };

  const embedded = async (name) => {
    const image = new Image();
    const address = URL.createObjectURL(new Blob([await asset(`photo-${name}`)], {type: "image/webp"}));
    image.src = address;
    await image.decode();
    URL.revokeObjectURL(address);
    return {image, name, width: image.naturalWidth, height: image.naturalHeight, remarks: []};
  };

  let mine = null; // the reader's own photo
  let reading = null; // the file that was chosen last
  const own = async (chosen) => {
    if (!chosen) return;
    reading = chosen;
    say(`Reading ${chosen.name} …`);
    let next;
    try {
      next = await noiseLabPicture.read(chosen);
    } catch (error) {
      return reading === chosen ? say(error.message) : undefined; // the photo that is there stays
    }
    if (reading !== chosen) return; // a larger file may come later than the one chosen after it
    photos.querySelector("[value='']")?.remove();
    photos.append(made("option", {value: ""}, `your own: ${next.name}`));
    photos.value = "";
    mine = next;
    const transparent = choose(next), remarks = [...next.remarks, ...(transparent ? ["what is transparent lies on white"] : [])];
    about.textContent = `${next.name}, ${next.width}×${next.height} pixels, stays on this computer${remarks.map((r) => `; ${r}`).join("")}.`;
    say(news = `${about.textContent} `);
  };

  photos.addEventListener("change", async () => {
    const asked = photos.value;
    const next = asked ? await embedded(asked).catch((error) => say(`${asked}: ${error.message}.`)) : mine;
    if (next && photos.value === asked) {
      about.textContent = "";
      choose(next);
    }
  });
  file.addEventListener("change", () => own(file.files[0]));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    if (!live.hidden) own(event.dataTransfer.files[0]);
  });
  size.addEventListener("change", take);
  net.addEventListener("change", async () => {
    const asked = net.value, was = channels === 3 ? "colour" : "gray";
    say(`Loading ${net.selectedOptions[0].textContent} …`);
    try {
      await network(asked);
    } catch (error) {
      net.value = was;
      return say(`The network could not be loaded: ${error.message}. Try again.`);
    }
    if (net.value === asked) take();
  });

  // --- the rest of the controls -------------------------------------------------------------------------------------------

  linked.addEventListener("change", () => {
    toldElement.hidden = linked.checked;
    renew();
  });
  anew.addEventListener("click", () => {
    pattern = normal(clean.length, ++seed);
    renew();
  });
  for (const control of [left, right]) control.addEventListener("change", draw);
  wipe.addEventListener("input", draw);
  save.addEventListener("click", () => drawn(right.value).toBlob((content) => {
    const address = URL.createObjectURL(content);
    made("a", {href: address, download: `${photo.name.replace(/\.[^.]*$/, "")} ${right.value}.png`}).click();
    URL.revokeObjectURL(address);
  }));
  stopButton.addEventListener("click", () => (busy ? stop() : run()));

  // --- painting -----------------------------------------------------------------------------------------------------------

  const cursor = {x: 0.5, y: 0.5}; // of the brush, as shares of the picture
  const radius = () => (Number(paintSize.value) / 100) * Math.max(width, height);

  const showBrush = () => {
    const across = (200 * radius()) / width, down = (200 * radius()) / height;
    Object.assign(brush.style, {
      width: `${across}%`, height: `${down}%`, left: `${100 * cursor.x - across / 2}%`, top: `${100 * cursor.y - down / 2}%`,
    });
  };

  /* σ of the brush on all pixels within its radius. */
  const dab = () => {
    const kind = dragged(), [x, y, r] = [cursor.x * width, cursor.y * height, radius()];
    painted[kind] ??= new Float32Array(width * height).fill(NaN);
    for (let row = Math.max(0, Math.floor(y - r)); row < Math.min(height, y + r); row++) {
      for (let column = Math.max(0, Math.floor(x - r)); column < Math.min(width, x + r); column++) {
        if ((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2 <= r * r) painted[kind][row * width + column] = paintSigma.value;
      }
    }
    renew();
  };

  const drag = (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (dragged() === "wipe") {
      wipe.value = 100 * x;
      draw();
    } else {
      Object.assign(cursor, {x, y});
      showBrush();
      if (event.buttons) dab();
    }
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    drag(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons || dragged() !== "wipe") drag(event);
  });
  canvas.addEventListener("keydown", (event) => {
    if (dragged() === "wipe") return;
    const [x, y] = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key] ?? [0, 0];
    if (event.key === " " || event.key === "Enter") dab();
    else if (!x && !y) return;
    event.preventDefault(); // neither scroll nor turn the page
    event.stopPropagation();
    cursor.x = Math.min(1, Math.max(0, cursor.x + x / 20));
    cursor.y = Math.min(1, Math.max(0, cursor.y + y / 20));
    showBrush();
  });
  paintSize.addEventListener("input", showBrush);

  for (const label of drags) {
    label.firstChild.addEventListener("change", () => {
      const kind = dragged(), paints = kind !== "wipe";
      painting.hidden = brush.hidden = !paints;
      view.classList.toggle("noise-lab-paints", paints);
      if (paints) {
        canvas.tabIndex = 0;
        canvas.setAttribute("role", "application"); // arrow keys are the brush's, not the screen reader's
        canvas.setAttribute("aria-roledescription", "brush: arrow keys move it, Space paints");
        left.value = kind === "told" ? "map" : "noisy";
        showBrush();
      } else {
        canvas.removeAttribute("tabindex");
        canvas.removeAttribute("aria-roledescription");
        canvas.setAttribute("role", "img");
      }
      draw();
    });
  }
  ramp.addEventListener("click", () => {
    painted[dragged()] = Float32Array.from({length: width * height}, (_, i) => (HIGHEST * (i % width)) / (width - 1));
    renew();
  });
  clear.addEventListener("click", () => {
    painted = {noise: null, told: null};
    renew();
  });

  // --- from the stored pictures to the network ----------------------------------------------------------------------------

  const show = (text) => { shown.textContent = text; };
  const instead = (why) => show(`Shown: stored pictures of chapter 9. The network cannot run here: ${why}.`);

  const begin = async () => {
    button.setAttribute("aria-disabled", "true"); // it keeps the focus
    const names = ["tf-core", "tf-wasm", "worker", "wasm", "weights-gray"];
    let loaded = 0, failed = false;
    const progressed = () => { // files that are still on their way arrive after one has failed
      loaded += 1;
      if (!failed) button.textContent = `Loading, ${loaded} of ${names.length} files …`;
    };
    say(`Loading ${megabytes(...names)} …`);
    try {
      const [first] = await Promise.all([
        embedded("camera"), network("gray", progressed),
      ]);
      button.remove();
      stored.hidden = true;
      live.hidden = false;
      show("Shown: what FFDNet computes in this browser, by WebAssembly.");
      photos.value = "camera";
      choose(first);
      sigma.element.querySelector("input").focus();
    } catch (error) {
      failed = true;
      button.removeAttribute("aria-disabled");
      button.textContent = "Try again";
      instead(error.message);
      say("");
    }
  };

  const button = made("button", {type: "button", class: "noise-lab-begin"});
  button.addEventListener("click", () => button.getAttribute("aria-disabled") || begin());
  const why = hindrance();
  if (why) {
    instead(why);
  } else {
    show("Shown: stored pictures of chapter 9.");
    button.textContent = `Run the network here (${megabytes("tf-core", "tf-wasm", "worker", "wasm", "weights-gray")})`;
    root.append(button, live);
  }
  root.append(status);

  globalThis.noiseLabState = () => ({photo: photo?.name, width, height, channels, clean, noisy, map, denoised, result});
})();
