/* What the noise lab computes with: assets that come as scripts, and the workers that run the networks: one by WebAssembly, and one by
   WebGL where that gives the same numbers sooner. It draws nothing. */
"use strict";

const {noiseLabAsset, noiseLabEngine} = (() => {
  const folder = new URL(".", document.currentScript.src).href;
  const asked = new Map(); // asset -> promise of its bytes
  const arrivals = new Map(); // asset -> what to do with its text when its script runs
  const noiseLabAsset = (name, text) => arrivals.get(name)(text);

  const unpacked = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  /* The bytes of an asset; a script, since a page that was opened as a file may load no other files. */
  const asset = (name) => {
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        arrivals.set(name, resolve);
        const script = document.createElement("script");
        script.src = `${folder}${name}.js`;
        script.onerror = () => {
          asked.delete(name); // so that one may try again
          reject(new Error(`the file lab/${name}.js could not be loaded`));
        };
        document.head.append(script);
      }).then(unpacked));
    }
    return asked.get(name);
  };

  /* Why the networks cannot run here, in words; empty where they can. */
  const hindrance = () => {
    if (typeof noiseLabManifest === "undefined") return "the site lacks lab/manifest.js";
    if (noiseLabManifest.missing) return "this copy of the site was built without network, so that it lacks TensorFlow.js";
    if (typeof WebAssembly !== "object") return "this browser has no WebAssembly, or it is switched off";
    if (typeof Worker !== "function") return "this browser has no workers";
    if (typeof DecompressionStream !== "function") return "this browser is too old: it cannot unpack the network (DecompressionStream)";
    return "";
  };

  const UNTILED = 320 * 320, SIDE = 256; // pixels up to which an image is one piece, and the side of the tiles of a larger one
  const tiled = (width, height) => width * height > UNTILED;

  const TOLERANCE = 1e-4; // between WebGL and WebAssembly, of the [0, 1] scale; half precision is off by ten times that
  const WORTH = 2; // times as fast WebGL must be: WebAssembly takes up to twice as long the first time as later

  let worker = null; // by WebAssembly
  let graphics = null; // the worker by WebGL, while it is used
  let jobs = 0;
  let current = null; // the job that a worker has: {owner, message, put, resolve, reject, result, by, over, ended}
  let waiting = []; // jobs of other owners, the oldest first
  const weightsOf = new Map(); // network -> bytes that the worker has
  const onNetwork = new Map(); // network -> {resolve, reject}
  const onAnswer = new Map(); // number of a question -> {resolve, reject}

  /* Give the worker the job that has waited longest, unless it has one. */
  const next = () => {
    if (current || !waiting.length) return;
    current = waiting.shift();
    give(graphics ?? worker);
  };
  const give = (to) => {
    current.by = to;
    to.postMessage(current.message);
  };

  const receive = ({data}) => {
    if (data.kind === "network") onNetwork.get(data.name).resolve(data);
    else if (data.kind === "failed" && data.id === null) onNetwork.get(data.name).reject(new Error(data.message));
    else if (onAnswer.has(data.id)) {
      const {resolve, reject} = onAnswer.get(data.id);
      onAnswer.delete(data.id);
      if (data.kind === "failed") reject(new Error(data.message));
      else resolve(data);
    } else if (data.kind === "tile") current.over || current.put(data);
    else {
      const job = current;
      current = null;
      next();
      if (job.over) return; // nobody waits for it any more
      if (data.kind === "done" && data.tiles === 1 && job.by === worker) sampled(job, data.milliseconds);
      if (data.kind === "failed") job.reject(new Error(data.message));
      else job.resolve({...job.result, milliseconds: data.milliseconds, tiles: data.tiles, stopped: data.kind === "stopped"});
    }
  };

  /* A worker whose TensorFlow.js has one backend; tell(name) is called for each asset that arrives. */
  const launched = async (backend, names, tell = () => {}) => {
    const loaded = await Promise.all(names.map(async (name) => {
      const bytes = await asset(name);
      tell(name);
      return bytes;
    }));
    // one script of three, with line ends between, from memory: a file may start no worker from a file
    const parts = loaded.slice(0, 3).flatMap((bytes) => [bytes, "\n;\n"]);
    const made = new Worker(URL.createObjectURL(new Blob(parts, {type: "text/javascript"})));
    return new Promise((resolve, reject) => {
      const fail = (message) => {
        made.terminate();
        reject(new Error(message));
      };
      made.onerror = (event) => fail(event.message || "the worker could not be started");
      made.onmessage = ({data}) => {
        if (data.kind !== "started") return fail(data.message);
        made.onerror = null;
        resolve(made);
      };
      made.postMessage({kind: "start", backend, wasm: loaded[3]});
    });
  };

  let started = null;
  /* Start TensorFlow.js in a worker, once; tell(name) is called for each asset that arrives. */
  const start = (tell) => {
    started ??= launched("wasm", ["tf-core", "tf-wasm", "worker", "wasm"], tell).then((made) => {
      worker = made;
      worker.onmessage = receive;
    });
    started.catch(() => { started = null; }); // so that one may try again
    return started;
  };

  const networks = new Map();
  /* Load a network, once; resolves to {channels, depth}, of an embedder to {length}. */
  const network = (name, tell = () => {}) => {
    if (!networks.has(name)) {
      const loading = (async () => {
        const [weights] = await Promise.all([asset(`weights-${name}`), start(tell)]);
        tell(`weights-${name}`);
        return new Promise((resolve, reject) => {
          onNetwork.set(name, {resolve, reject});
          weightsOf.set(name, weights);
          for (const one of [worker, graphics]) one?.postMessage({kind: "network", name, weights});
        });
      })();
      networks.set(name, loading);
      loading.catch(() => {
        networks.delete(name);
        weightsOf.delete(name);
      });
    }
    return networks.get(name);
  };

  /* End the jobs of an owner, that which runs between two of its tiles; they resolve at once, to what they have and to `more`. */
  const giveUp = (owner, more) => {
    for (const job of waiting.filter((one) => one.owner === owner)) job.resolve({...job.result, milliseconds: 0, tiles: 0, ...more});
    waiting = waiting.filter((one) => one.owner !== owner);
    if (!current || current.over || current.owner !== owner) return;
    current.ended = true;
    current.by.postMessage({kind: "stop"});
    if (more.superseded) {
      current.over = true;
      current.resolve({...current.result, ...more});
    } // else the worker says after how many tiles
  };

  /* Denoise planes (C, H, W), told a map (H, W), both on the [0, 1] scale. One job runs at a time; those of an owner that has another
     one now are given up, and those of others wait for their turn. A network of one channel takes colours one by one.
     Resolves to {denoised, milliseconds, tiles, stopped}; put({left, top, width, height, part, done, total}) is called tile by tile. */
  const denoise = ({name, noisy, map, width, height, side, owner = "page"}, put = () => {}) => {
    giveUp(owner, {stopped: true, superseded: true});
    const id = ++jobs, denoised = new Float32Array(noisy.length), channels = noisy.length / (width * height);
    return new Promise((resolve, reject) => {
      const keep = (tile) => {
        for (let c = 0, i = 0; c < channels; c++) {
          for (let y = tile.top; y < tile.top + tile.height; y++) {
            const at = (c * height + y) * width + tile.left;
            denoised.set(tile.part.subarray(i, i += tile.width), at);
          }
        }
        put(tile);
      };
      const chosen = side ?? (tiled(width, height) ? SIDE : 2 * Math.max(width, height));
      const message = {kind: "denoise", id, name, noisy, map, width, height, side: chosen};
      waiting.push({owner, message, put: keep, resolve, reject, result: {denoised}, by: null, over: false, ended: false});
      next();
    });
  };

  /* Stop what an owner has asked for: its job resolves with {stopped: true}. */
  const stop = (owner = "page") => giveUp(owner, {stopped: true});

  /* The answer of a worker to what does not wait its turn. */
  const ask = (of, question) => new Promise((resolve, reject) => {
    const id = ++jobs;
    onAnswer.set(id, {resolve, reject});
    of.postMessage({...question, id});
  });

  /* The embedding of an image (H, W) on the [0, 1] scale, on the unit sphere. It takes milliseconds by WebAssembly. */
  const embed = async ({name, image, width, height}) => (await ask(worker, {kind: "embed", name, image, width, height})).vector;

  // --- WebGL ----------------------------------------------------------------------------------------------------------------

  /* The worker by WebAssembly is there and has given its first result before WebGL is tried in a worker of its own. So nobody waits for
     WebGL, and whatever happens to it, what it was computing is computed again by WebAssembly. */

  let wish = "automatic"; // or "webgl", or "wasm"
  let sample = null; // what WebAssembly did last: {message, denoised, milliseconds}, in one tile with even sides
  let tries = 0;
  const watchers = [];
  /* What computes: "wasm"; "card", by WebGL; or "webgl", which the reader wished for, on whatever it runs. */
  const backend = () => (!graphics ? "wasm" : wish === "webgl" ? "webgl" : "card");
  const tell = () => watchers.forEach((changed) => changed(backend()));

  const sampled = ({message, result: {denoised}}, milliseconds) => {
    if (message.width % 2 || message.height % 2) return;
    const first = !sample;
    sample = {message, denoised, milliseconds};
    if (first) (window.requestIdleCallback ?? setTimeout)(() => tries || tryWebGL());
  };

  const useOnlyWebAssembly = () => {
    if (!graphics) return;
    graphics.terminate();
    const job = current?.by === graphics ? current : null;
    graphics = null;
    if (job?.ended) {
      current = null;
      job.resolve({...job.result, milliseconds: 0, tiles: 0, stopped: true});
      next();
    } else if (job) give(worker);
    tell();
  };

  /* A worker by WebGL that gives the numbers of the sample, and does it sooner, or is wished for all the same. */
  const proven = async (wished) => {
    const {offered} = await ask(worker, {kind: "offers", software: wished});
    if (!offered) throw new Error(`this browser has no WebGL 2${wished ? "" : " of a graphics card"}`);
    const {message, denoised, milliseconds} = sample, weights = weightsOf.get(message.name);
    const made = await launched("webgl", ["tf-core", "tf-webgl", "worker"]);
    try {
      const found = await new Promise((resolve, reject) => {
        made.onmessage = ({data}) => (data.kind === "proven" ? resolve(data) : reject(new Error(data.message ?? "its context is lost")));
        made.postMessage({...message, kind: "prove", weights, denoised});
        setTimeout(() => reject(new Error("it takes too long")), wished ? 60_000 : 20_000);
      });
      if (!(found.difference < TOLERANCE)) throw new Error("it gives other numbers");
      if (!wished && WORTH * found.milliseconds > milliseconds) throw new Error("it is not faster");
      return made;
    } catch (error) {
      made.terminate();
      throw error;
    }
  };

  /* Use WebGL from now on if it is worth it; resolves to why it is not, in words. */
  const tryWebGL = async () => {
    const mine = ++tries;
    if (wish === "wasm" || !sample) return "";
    let made;
    try {
      made = await proven(wish === "webgl");
    } catch (error) {
      return error.message;
    }
    if (mine !== tries) made.terminate(); // another wish came
    else {
      graphics = made;
      for (const [name, weights] of weightsOf) made.postMessage({kind: "network", name, weights});
      made.onmessage = (event) => (["lost", "failed"].includes(event.data.kind) ? useOnlyWebAssembly() : receive(event));
      made.onerror = useOnlyWebAssembly;
      tell();
    }
    return "";
  };

  /* Compute by "webgl" where that can be had, by "wasm", or "automatic", by that which is faster; resolves to why not, in words. */
  const prefer = (next) => {
    wish = next;
    useOnlyWebAssembly();
    return tryWebGL();
  };

  /* changed(backend) is called now, and whenever another backend takes over. */
  const watch = (changed) => {
    watchers.push(changed);
    changed(backend());
  };

  return {noiseLabAsset, noiseLabEngine: {asset, hindrance, start, network, denoise, stop, tiled, embed, prefer, watch}};
})();
