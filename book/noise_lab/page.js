/* The noise lab, and its panels in the chapters: controls, pictures and figures around the networks of engine.js. The script makes every
   control, so that there is never one that does nothing; nothing of the networks is loaded before the reader asks for it. On the lab's own
   page stored pictures of a chapter serve until then.

   A lab is an element of the class noise-lab-here. The data-lab of a panel says, in JSON, what it has of all that there is, and how it
   begins: see WHOLE. */
"use strict";

const noiseLabState = (() => {
  const {hindrance, network, asset, denoise, stop, tiled, prefer, watch} = noiseLabEngine;
  const {made, labelled, choice, announcer, megabytes, starter, normal} = labControls;
  const HIGHEST = 75, GAIN = 4, SHOWN = 2; // of σ on the 0–255 scale, as in training; of the error; of what was removed
  const SIDES = [128, 256, 512, 1024, 2048]; // longer side in pixels
  const PAUSE = 250; // milliseconds without a change before a large photo is denoised anew
  const LAYERS = {noisy: "noisy", denoised: "denoised", clean: "clean", error: `error × ${GAIN}`, removed: `removed × ${SHOWN}`,
                  map: "noise-level map"};
  const NETWORKS = {gray: "FFDNet, gray", colour: "FFDNet, colour"};
  const DRAGS = {wipe: "move the wipe", noise: "paint noise, and tell the network", told: "paint only what the network is told"};
  const BACKENDS = {card: "on your graphics card, by WebGL", webgl: "by WebGL", wasm: "by WebAssembly"};
  const WISHES = {automatic: "whichever is faster", webgl: "WebGL (graphics card)", wasm: "WebAssembly (processor)"};
  const NEEDED = ["tf-core", "tf-wasm", "worker", "wasm", "weights-gray"];

  /* What a lab has and how it begins. parts: groups of controls, and "squares", a line with mean squared differences; sigma: of the
     noise; told: the σ that the network is told, null for the truth; left and right: layers of the wipe; ask: words of the button. */
  const WHOLE = {
    parts: ["size", "network", "second", "save", "paint", "backend"], sigma: 25, told: null, left: "noisy", right: "denoised",
    ask: "Run the network here",
  };

  const decibels = (psnr) => (psnr === Infinity ? "exact" : `${psnr.toFixed(2)} dB`);

  const embedded = async (name) => {
    const image = new Image();
    const address = URL.createObjectURL(new Blob([await asset(`photo-${name}`)], {type: "image/webp"}));
    image.src = address;
    await image.decode();
    URL.revokeObjectURL(address);
    return {image, name, width: image.naturalWidth, height: image.naturalHeight, remarks: []};
  };

  const states = new Map(); // root of a lab -> what it shows

  const mount = (root) => {
    const options = {...WHOLE, ...JSON.parse(root.dataset.lab ?? "{}")}, has = (part) => options.parts.includes(part);
    const owner = `lab ${states.size + 1}`, panel = "lab" in root.dataset;
    const stored = panel ? null : document.querySelector(".stored-lab");
    const shown = root.querySelector(".noise-lab-shown") ?? made("p", {class: "noise-lab-shown"});
    const {element: status, say, later, hush} = announcer();
    const sayLater = (text) => later(text, () => { news = ""; });
    const dial = (name, value, changed) => labControls.dial({name, symbol: "σ", value, max: HIGHEST}, changed, say);

    // --- the state --------------------------------------------------------------------------------------------------------

    let photo = null; // {image, name, width, height, remarks}
    let width = 0, height = 0, channels = 1, seed = 1;
    let clean, pattern, noisy; // planes, on the [0, 1] scale
    let painted = {noise: null, told: null}; // σ on the 0–255 scale where it was painted, NaN elsewhere; null where nothing was
    let before = Infinity; // PSNR of noisy
    let news = ""; // of a photo that was just read, for the next announcement

    /* A network, what it is told, and what it makes of the noisy photo. */
    const side = (number, words, mark) => {
      const linked = made("input", {type: "checkbox", checked: options.told === null, autocomplete: "off"});
      const told = dial(`${words.told} σ`, options.told ?? options.sigma, () => renew([self]));
      const toldElement = made("span", {hidden: linked.checked}, told.element);
      const net = choice({gray: NETWORKS.gray, colour: `${NETWORKS.colour} (${megabytes("weights-colour")})`});
      linked.addEventListener("change", () => {
        toldElement.hidden = linked.checked;
        renew([self]);
      });
      const self = {
        number, words, mark, net, linked, told, toldElement,
        loaded: "gray", // the network that is there
        map: null, denoised: null, // planes, on the [0, 1] scale; the map has one
        result: null, // {psnr, milliseconds} of what denoised shows, null while it is not that of noisy
        partly: false, // was the network stopped before it had all tiles?
        stale: false, // is another result wanted than that which there is, or which is computed?
      };
      return self;
    };
    const first = side(1, {the: "the network", told: "Told"}, "");
    const second = side(2, {the: "the second network", told: "Second told"}, "2");
    let sides = [first]; // those that are shown

    /* PSNR in dB of what a screen shows: clamped to [0, 1], 8 bits, as the papers measure it. */
    const psnr = (planes) => {
      let sum = 0;
      for (let i = 0; i < planes.length; i++) {
        sum += (Math.round(255 * Math.min(1, Math.max(0, planes[i]))) / 255 - clean[i]) ** 2;
      }
      return sum ? -10 * Math.log10(sum / planes.length) : Infinity;
    };
    const meanSquare = (a, b) => a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length;

    // --- pictures ---------------------------------------------------------------------------------------------------------

    const canvas = made("canvas", {role: "img"});
    const line = made("div", {class: "noise-lab-line"}), brush = made("div", {class: "noise-lab-brush", hidden: true});
    const view = made("div", {class: "noise-lab-view"}, canvas, line, brush);
    const layers = new Map(); // layer -> canvas, dropped where it is no longer true
    const OF_SIDE = ["denoised", "error", "removed", "map"];
    const drop = ({mark}, ...names) => names.forEach((name) => layers.delete(name + mark));

    const levelsOf = {noisy: (c, i) => 255 * noisy[c + i], clean: (c, i) => 255 * clean[c + i]};
    const words = {...LAYERS};
    for (const one of [first, second]) {
      const levels = {
        denoised: (c, i) => 255 * one.denoised[c + i],
        error: (c, i) => 128 + GAIN * 255 * (one.denoised[c + i] - clean[c + i]),
        removed: (c, i) => 128 + SHOWN * 255 * (noisy[c + i] - one.denoised[c + i]),
        map: (_, i) => (255 * 255 * one.map[i]) / HIGHEST,
      };
      for (const name of OF_SIDE) {
        levelsOf[name + one.mark] = levels[name];
        if (one === second) words[name + one.mark] = `second: ${LAYERS[name]}`;
      }
    }

    const paint = (data, count, level) => {
      for (let i = 0; i < count; i++) {
        for (let c = 0; c < 3; c++) data[4 * i + c] = level(channels === 3 ? c * count : 0, i);
        data[4 * i + 3] = 255;
      }
    };
    const drawn = (layer) => {
      if (!layers.has(layer)) {
        const picture = new ImageData(width, height), own = document.createElement("canvas");
        paint(picture.data, width * height, levelsOf[layer]);
        [own.width, own.height] = [width, height];
        own.getContext("2d").putImageData(picture, 0, 0);
        layers.set(layer, own);
      }
      return layers.get(layer);
    };

    const figures = (layer) => {
      if (layer === "noisy") return `, ${decibels(before)}`;
      const of = sides.find(({mark}) => layer === `denoised${mark}`);
      if (!of) return "";
      return of.result ? `, ${decibels(of.result.psnr)}` : of.partly ? " in part" : ", …";
    };

    const draw = () => {
      const names = [left.value, right.value], at = Math.round((width * wipe.value) / 100);
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
      const context = canvas.getContext("2d");
      if (at > 0) context.drawImage(drawn(names[0]), 0, 0, at, height, 0, 0, at, height);
      if (at < width) context.drawImage(drawn(names[1]), at, 0, width - at, height, at, 0, width - at, height);
      line.style.left = `${(100 * at) / width}%`;
      const texts = names.map((name) => words[name] + figures(name));
      captions.replaceChildren(...texts.map((text) => made("span", {}, text)));
      wipe.setAttribute("aria-valuetext", `${wipe.value} % ${words[names[0]]}`);
      canvas.setAttribute("aria-label", `${photo.name}, ${width}×${height} pixels, noise of σ = ${sigma.value}`
        + `${painted.noise || painted.told ? " and painted" : ""}: left of the wipe at ${wipe.value} % ${texts[0]}; right ${texts[1]}.`);
      if (has("squares")) squares.textContent = inSquares();
    };

    /* What a loss sees that has no clean photo, and what it does not see. */
    const inSquares = () => {
      const unit = (sigma.value / 255) ** 2;
      if (!unit) return "Mean squared differences are shown in units of σ²: choose a σ above 0.";
      const [fromNoisy, fromClean] = [noisy, clean].map((other) =>
        (first.result ? (meanSquare(first.denoised, other) / unit).toFixed(2) : "…"));
      return `Mean squared difference of the result: from the noisy photo ${fromNoisy} σ², from the clean one ${fromClean} σ².`;
    };

    // --- what depends on what ---------------------------------------------------------------------------------------------

    /* σ of the noise at a pixel, and what a side is told of it; only the first is told what was painted for that. */
    const actual = (i) => (painted.noise && painted.noise[i] === painted.noise[i] ? painted.noise[i] : sigma.value);
    const saidTo = (one) => {
      const said = one.linked.checked ? actual : () => one.told.value;
      return one === first ? (i) => (painted.told && painted.told[i] === painted.told[i] ? painted.told[i] : said(i)) : said;
    };

    /* Make the noisy photo anew, and with it all that depends on it. */
    const renewAll = () => {
      const count = width * height;
      noisy = new Float32Array(clean.length);
      for (let i = 0; i < count; i++) {
        const strength = actual(i) / 255;
        for (let at = i; at < clean.length; at += count) noisy[at] = clean[at] + strength * pattern[at];
      }
      layers.delete("noisy");
      before = psnr(noisy);
      renew(sides);
    };

    /* What was painted as noise changes all; what only the first network is told changes its map. */
    const renewPainted = (kind) => (kind === "noise" ? renewAll() : renew([first]));

    /* Make the maps of some sides anew, show them, and denoise. */
    const renew = (changed) => {
      for (const one of changed) {
        const said = saidTo(one);
        one.map = new Float32Array(width * height);
        for (let i = 0; i < one.map.length; i++) one.map[i] = said(i) / 255;
        [one.result, one.partly, one.stale] = [null, false, true];
        drop(one, "map", "removed");
      }
      hush(); // what was about to be said is no longer so
      draw();
      schedule();
    };

    let busy = false, number = 0, waiting = null;
    /* One piece is finished first, so that pictures keep coming while a slider moves; a large photo waits until it rests. */
    const schedule = () => {
      clearTimeout(waiting);
      if (tiled(width, height)) {
        number += 1; // what is computed now is of no use any more
        waiting = setTimeout(run, PAUSE);
      } else if (!busy) run();
    };

    /* Compute what is stale, side by side one after the other. */
    const run = async () => {
      const mine = ++number, large = tiled(width, height);
      busy = true;
      const wanting = sides.filter((one) => one.stale || !one.result);
      if (large) {
        for (const one of wanting) {
          one.denoised = noisy.slice(); // a tile that is not done yet is as noisy as before
          one.partly = false;
          drop(one, "denoised", "error", "removed");
        }
        draw();
        showProgress(0, 1);
      }
      for (const [place, one] of wanting.entries()) {
        one.stale = false;
        const kept = (tile) => {
          if (!large || mine !== number) return;
          keep(one, tile);
          showProgress(place * tile.total + tile.done, wanting.length * tile.total);
        };
        let found;
        try {
          found = await denoise({name: one.net.value, noisy, map: one.map, width, height, owner}, kept);
        } catch (error) {
          if (mine === number) busy = false;
          hideProgress();
          return say(`The network failed: ${error.message}. Choose a smaller size, or load the page again.`);
        }
        if (mine !== number) return; // another one took its place
        if (found.stopped) {
          busy = false;
          stopButton.textContent = "Denoise";
          for (const unfinished of wanting.slice(place)) unfinished.partly = true;
          draw();
          return say(`Stopped after ${place * (progress.max / wanting.length) + found.tiles} of ${progress.max} tiles; `
            + "the rest is as noisy as before.");
        }
        one.denoised = found.denoised;
        drop(one, "denoised", "error", "removed");
        if (!one.stale) one.result = {psnr: psnr(one.denoised), milliseconds: found.milliseconds};
        draw();
      }
      hideProgress();
      busy = false;
      if (sides.some((one) => one.stale)) return run();
      const seconds = (sides.reduce((sum, {result}) => sum + result.milliseconds, 0) / 1000).toFixed(2);
      const figuresNow = sides.map(({result, number}) => `${number === 2 ? "second " : ""}${decibels(result.psnr)}`).join(", ");
      sayLater(`${news}Denoised in ${seconds} s: ${figuresNow}; the noisy photo has ${decibels(before)}.`);
    };

    /* A tile of a large photo is shown as soon as it is there. */
    const keep = (one, {left, top, width: across, height: down, part}) => {
      const context = drawn(`denoised${one.mark}`).getContext("2d"), picture = new ImageData(across, down), count = across * down;
      paint(picture.data, count, (c, i) => 255 * part[c + i]);
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < down; y++) {
          one.denoised.set(part.subarray(c * count + y * across, c * count + (y + 1) * across), (c * height + top + y) * width + left);
        }
      }
      context.putImageData(picture, left, top);
      drop(one, "error", "removed");
      draw();
    };

    // --- controls ---------------------------------------------------------------------------------------------------------

    const sigma = dial("Noise σ", options.sigma, () => renewAll());
    const anew = made("button", {type: "button"}, "New noise");
    const photos = choice(Object.fromEntries(noiseLabManifest.photos.map((name) => [name, name])));
    const file = made("input", {type: "file", accept: "image/*"});
    const size = choice({});
    const another = made("input", {type: "checkbox", autocomplete: "off"});
    const left = choice(LAYERS), right = choice(LAYERS);
    const wipe = made("input", {type: "range", min: 0, max: 100, value: 50, autocomplete: "off"});
    const save = made("button", {type: "button"}, "Save the right picture");
    const wish = choice(WISHES);
    const about = made("p", {class: "noise-lab-about"}), squares = made("p", {class: "noise-lab-squares"});
    const captions = made("div", {class: "lab-titles"});
    const progress = made("progress", {"aria-label": "tiles denoised", max: 1, value: 0});
    const stopButton = made("button", {type: "button"}, "Stop");
    const working = made("div", {class: "lab-controls", hidden: true}, progress, stopButton);
    const paintSigma = dial("Brush σ", 60, () => {});
    const paintSize = made("input", {type: "range", min: 2, max: 50, value: 12, autocomplete: "off"});
    const drags = Object.entries(DRAGS).map(([value, text]) => {
      const radio = made("input", {type: "radio", name: `${owner} drag`, value, checked: value === "wipe", autocomplete: "off"});
      return made("label", {}, radio, ` ${text}`);
    });
    const dragged = () => drags.map((label) => label.firstChild).find((radio) => radio.checked).value;
    const ramp = made("button", {type: "button"}, "Paint a ramp"), clear = made("button", {type: "button"}, "Clear the painting");
    const painting = made("div", {class: "lab-controls", hidden: true}, paintSigma.element, labelled("Brush size", paintSize), ramp, clear);
    left.value = options.left;
    right.value = options.right;

    const showProgress = (done, total) => {
      [progress.max, progress.value, working.hidden] = [total, done, false];
      stopButton.textContent = "Stop";
    };
    const hideProgress = () => { working.hidden = true; };

    const telling = ({linked, words: {the}, toldElement}) => [made("label", {}, linked, ` ${the} is told the truth`), toldElement];
    const secondElement = made("div", {class: "lab-controls", hidden: true}, labelled("Second network", second.net), ...telling(second));
    const only = (part, ...elements) => (has(part) ? elements : []);
    const live = made("div", {class: "noise-lab-live", hidden: true},
      made("div", {class: "lab-controls"},
        labelled("Photo", photos), labelled("or your own", file), ...only("size", labelled("Longer side", size)),
        ...only("network", labelled("Network", first.net))),
      made("div", {class: "lab-controls"}, sigma.element, ...telling(first), anew),
      ...only("second", made("div", {class: "lab-controls"}, made("label", {}, another, " a second network beside it")), secondElement),
      made("div", {class: "lab-controls"},
        labelled("Left", left), labelled("Wipe", wipe), labelled("Right", right), ...only("save", save)),
      about, ...only("squares", squares), captions, view, working,
      ...only("paint", made("fieldset", {class: "lab-controls"}, made("legend", {}, "Dragging on the photo"), ...drags), painting),
      ...only("backend", made("div", {class: "lab-controls"}, labelled("Computed by", wish))));

    // --- photos -----------------------------------------------------------------------------------------------------------

    /* Sizes that the photo has, and the one that was chosen where it is among them. */
    const offerSizes = () => {
      const longest = Math.max(photo.width, photo.height), offered = SIDES.filter((one) => one < longest);
      if (longest <= SIDES.at(-1)) offered.push(longest);
      const was = Number(size.value) || SIDES[0];
      size.replaceChildren(...offered.map((one) => made("option", {value: one}, `${one} pixels`)));
      size.value = offered.includes(was) ? was : offered[0];
    };

    const channelsNow = () => (sides.some(({net}) => net.value === "colour") ? 3 : 1);

    /* Take the photo at the chosen size in gray or in colour; what was painted was painted on another picture. */
    const take = () => {
      const longest = Math.max(photo.width, photo.height), scale = Number(size.value) / longest;
      const was = [width, height];
      [width, height] = [photo.width, photo.height].map((length) => Math.max(2, Math.round(length * scale)));
      channels = channelsNow();
      const found = noiseLabPicture.planes(photo.image, width, height, channels);
      clean = found.planes;
      pattern = normal(clean.length, seed);
      for (const one of [first, second]) [one.denoised, one.result] = [clean.map(() => 0.5), null];
      if (width !== was[0] || height !== was[1]) painted = {noise: null, told: null};
      for (const element of [view, captions]) element.style.maxWidth = `${Math.max(512, width)}px`;
      layers.clear();
      number += 1; // what is computed now is of another picture
      busy = false;
      hideProgress();
      renewAll();
      return found.transparent;
    };

    const choose = (next) => {
      photo = next;
      painted = {noise: null, told: null};
      offerSizes();
      return take();
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

    for (const one of [first, second]) {
      one.net.addEventListener("change", async () => {
        const asked = one.net.value;
        say(`Loading ${NETWORKS[asked]} …`);
        try {
          await network(asked);
        } catch (error) {
          one.net.value = one.loaded;
          return say(`The network could not be loaded: ${error.message}. Try again.`);
        }
        if (one.net.value !== asked) return;
        one.loaded = asked;
        if (channels === channelsNow()) renew([one]);
        else take();
      });
    }

    /* The layers of the second network are offered while there is one. */
    another.addEventListener("change", () => {
      secondElement.hidden = !another.checked;
      sides = another.checked ? [first, second] : [first];
      for (const select of [left, right]) {
        select.querySelectorAll("[value$='2']").forEach((option) => option.remove());
        if (another.checked) select.append(...OF_SIDE.map((name) => made("option", {value: `${name}2`}, words[`${name}2`])));
      }
      left.value = another.checked ? "denoised" : options.left;
      right.value = another.checked ? "denoised2" : options.right;
      if (channels === channelsNow() && another.checked) renew([second]);
      else if (channels === channelsNow()) draw();
      else take();
    });

    // --- the rest of the controls -----------------------------------------------------------------------------------------

    anew.addEventListener("click", () => {
      pattern = normal(clean.length, ++seed);
      renewAll();
    });
    for (const control of [left, right]) control.addEventListener("change", draw);
    wipe.addEventListener("input", draw);
    save.addEventListener("click", () => drawn(right.value).toBlob((content) => {
      const address = URL.createObjectURL(content), what = right.selectedOptions[0].textContent.replace(/[^\w ×-]/g, "");
      made("a", {href: address, download: `${photo.name.replace(/\.[^.]*$/, "")} ${what}.png`}).click();
      URL.revokeObjectURL(address);
    }));
    stopButton.addEventListener("click", () => (busy ? stop(owner) : run()));

    wish.addEventListener("change", async () => {
      const asked = wish.value;
      if (asked === "webgl") say("Trying WebGL …");
      const why = await prefer(asked);
      if (wish.value !== asked) return;
      if (asked === "webgl" && why) {
        wish.value = "wasm";
        say(`WebGL cannot be used: ${why}. WebAssembly goes on.`);
      } else renew(sides); // so that one sees how long it takes
    });

    // --- painting ---------------------------------------------------------------------------------------------------------

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
      renewPainted(kind);
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
      renewAll();
    });
    clear.addEventListener("click", () => {
      painted = {noise: null, told: null};
      renewAll();
    });

    // --- from the stored pictures to the network --------------------------------------------------------------------------

    const instead = (why) => {
      shown.textContent = `${stored ? "Shown: stored pictures of chapter 9. The network" : "FFDNet"} cannot run here: ${why}.`;
    };

    const begin = async (progressed) => {
      const [photograph] = await Promise.all([embedded("camera"), network("gray", progressed)]);
      if (stored) stored.hidden = true;
      live.hidden = false;
      watch((backend) => { shown.textContent = `Shown: what FFDNet computes in this browser, ${BACKENDS[backend]}.`; });
      photos.value = "camera";
      choose(photograph);
      sigma.element.querySelector("input").focus();
    };

    const why = hindrance();
    if (why) instead(why);
    else {
      if (stored) shown.textContent = "Shown: stored pictures of chapter 9.";
      const button = starter({words: options.ask, names: NEEDED, say}, begin, (error) => instead(error.message));
      const text = panel ? root.querySelector("p:last-of-type") : null; // the button of a panel stands at the end of its text
      if (text) text.append(" ", button);
      else root.append(button);
    }
    if (!shown.isConnected) root.append(shown);
    root.append(live, status);

    states.set(root, (which) => {
      const {map, denoised, result} = which === "second" ? second : first;
      return {photo: photo?.name, width, height, channels, clean, noisy, map, denoised, result};
    });
  };

  document.querySelectorAll(".noise-lab-here").forEach(mount);

  /* What a lab shows, that of the page or another one; of its first network or of the second. For tests, and for the curious. */
  return (root = document.querySelector(".noise-lab-here"), which = "first") => states.get(root)(which);
})();
