/* What the noise lab computes with: assets that come as scripts, and the worker that runs the networks. It draws nothing. */
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

  let worker = null, jobs = 0, onStarted = null;
  let current = null; // the job that the worker has: {id, owner, message, put, resolve, reject, result, over}
  let waiting = []; // jobs of other owners, the oldest first
  const onNetwork = new Map(); // network -> {resolve, reject}
  const onVector = new Map(); // number of a request for an embedding -> {resolve, reject}

  /* Give the worker the job that has waited longest, unless it has one. */
  const next = () => {
    if (current || !waiting.length) return;
    current = waiting.shift();
    worker.postMessage(current.message);
  };

  const receive = ({data}) => {
    if (data.kind === "started") onStarted.resolve();
    else if (data.kind === "network") onNetwork.get(data.name).resolve(data);
    else if (data.kind === "failed" && data.id === null) (onNetwork.get(data.name) ?? onStarted).reject(new Error(data.message));
    else if (onVector.has(data.id)) {
      const {resolve, reject} = onVector.get(data.id);
      onVector.delete(data.id);
      if (data.kind === "failed") reject(new Error(data.message));
      else resolve(data.vector);
    } else if (data.kind === "tile") current.over || current.put(data);
    else {
      const job = current;
      current = null;
      next();
      if (job.over) return; // nobody waits for it any more
      if (data.kind === "failed") job.reject(new Error(data.message));
      else job.resolve({...job.result, milliseconds: data.milliseconds, tiles: data.tiles, stopped: data.kind === "stopped"});
    }
  };

  let started = null;
  /* Start TensorFlow.js in a worker, once; tell(name) is called for each asset that arrives. */
  const start = (tell = () => {}) => {
    started ??= (async () => {
      const names = ["tf-core", "tf-wasm", "worker", "wasm"];
      const loaded = await Promise.all(names.map(async (name) => {
        const bytes = await asset(name);
        tell(name);
        return bytes;
      }));
      // one script of three, with line ends between, from memory: a file may start no worker from a file
      const parts = loaded.slice(0, 3).flatMap((bytes) => [bytes, "\n;\n"]);
      worker = new Worker(URL.createObjectURL(new Blob(parts, {type: "text/javascript"})));
      worker.onmessage = receive;
      await new Promise((resolve, reject) => {
        onStarted = {resolve, reject};
        worker.onerror = (event) => reject(new Error(event.message || "the worker could not be started"));
        worker.postMessage({kind: "start", wasm: loaded[3]});
      });
    })();
    started.catch(() => {
      worker?.terminate();
      worker = started = null; // so that one may try again
    });
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
          worker.postMessage({kind: "network", name, weights});
        });
      })();
      networks.set(name, loading);
      loading.catch(() => networks.delete(name));
    }
    return networks.get(name);
  };

  /* End the jobs of an owner, that which runs between two of its tiles; they resolve at once, to what they have and to `more`. */
  const giveUp = (owner, more) => {
    for (const job of waiting.filter((one) => one.owner === owner)) job.resolve({...job.result, milliseconds: 0, tiles: 0, ...more});
    waiting = waiting.filter((one) => one.owner !== owner);
    if (!current || current.over || current.owner !== owner) return;
    worker.postMessage({kind: "stop"});
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
      waiting.push({owner, message, put: keep, resolve, reject, result: {denoised}, over: false});
      next();
    });
  };

  /* Stop what an owner has asked for: its job resolves with {stopped: true}. */
  const stop = (owner = "page") => giveUp(owner, {stopped: true});

  /* The embedding of an image (H, W) on the [0, 1] scale, on the unit sphere. It takes milliseconds, and does not wait its turn. */
  const embed = ({name, image, width, height}) => new Promise((resolve, reject) => {
    const id = ++jobs;
    onVector.set(id, {resolve, reject});
    worker.postMessage({kind: "embed", id, name, image, width, height});
  });

  return {noiseLabAsset, noiseLabEngine: {asset, hindrance, start, network, denoise, stop, tiled, embed}};
})();
