/* FFDNet, and the embedder of the gallery, on one thread beside the page, by TensorFlow.js, from the weights files that the course
   ships. The page puts one backend of TensorFlow.js before this script: WebAssembly or WebGL.

   Messages in:  {kind: "start", backend: "wasm", wasm}                       bytes of the WebAssembly module
                 {kind: "start", backend: "webgl"}
                 {kind: "network", name, weights}                             bytes of a safetensors file
                 {kind: "denoise", id, name, noisy, map, width, height, side} noisy (C, H, W) and map (H, W), both on the [0, 1] scale;
                                                                              side of the tiles, even. A network of one channel
                                                                              takes the C planes for C images
                 {kind: "stop"}
                 {kind: "embed", id, name, image, width, height}              image (H, W) on the [0, 1] scale
                 {kind: "offers", id, software}                               is there WebGL 2, and unless software will do, of a card?
                 {kind: "prove", weights, denoised, …}                        … of "denoise"; compare with what another backend made
   Messages out: {kind: "started"}, {kind: "network", name, channels, depth}, {kind: "failed", id, message},
                 {kind: "tile", id, left, top, width, height, part, done, total}, {kind: "done" | "stopped", id, milliseconds, tiles},
                 {kind: "network", name, length}, {kind: "embedded", id, vector}, {kind: "offers", id, offered},
                 {kind: "proven", difference, milliseconds}, {kind: "lost"}: WebGL is gone, and with it all jobs

   Images are tiled as course_lib.denoising.common.in_tiles does: every tile is cut out with all the pixels that its result depends on,
   and ends at the rim of the image where that does. The result is that of the whole image but for rounding. */
"use strict";

const networks = new Map();
let lost = () => false; // has the backend no device any more?
let wanted = null; // number of the job that is wanted; a job that is not gives up between two tiles

const fromHalf = (half) => {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

/* safetensors: the length of the header, the header in JSON, and the values of all tensors one after the other. */
const readTensors = (bytes) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const begin = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, begin)));
  delete header.__metadata__;
  return Object.fromEntries(Object.entries(header).map(([name, {dtype, shape, data_offsets: [from, to]}]) => {
    const values = new Float32Array(shape.reduce((product, side) => product * side, 1));
    if (dtype === "F16") for (let i = 0; i < values.length; i++) values[i] = fromHalf(view.getUint16(begin + from + 2 * i, true));
    else if (dtype === "F32") for (let i = 0; i < values.length; i++) values[i] = view.getFloat32(begin + from + 4 * i, true);
    else throw new Error(`tensor ${name} is ${dtype}, but F16 or F32 is expected`);
    return [name, {values, shape}];
  }));
};

/* The layers that have weights, in their order: kernels (out, in, k, k) become (k, k, in, out), matrices (out, in) become (in, out),
   and what has no bias is the slope of a PReLU. */
const readLayers = (bytes) => {
  const tensors = readTensors(bytes);
  const numbers = [...new Set(Object.keys(tensors).map((name) => Number(name.split(".")[1])))].sort((a, b) => a - b);
  return numbers.map((number) => {
    const {values, shape} = tensors[`layers.${number}.weight`], bias = tensors[`layers.${number}.bias`];
    if (!bias) return {slope: tf.tensor1d(values)};
    const order = shape.length === 4 ? [2, 3, 1, 0] : [1, 0];
    return {kernel: tf.tidy(() => tf.transpose(tf.tensor(values, shape), order)), bias: tf.tensor1d(bias.values)};
  });
};

/* FFDNet: convolutions only. */
const makeNetwork = (layers) => {
  const channels = layers.at(-1).bias.size / 4;
  if (layers[0].kernel.shape[2] !== 4 * channels + 1) throw new Error("these weights are not an FFDNet's");
  return {layers, channels};
};

/* A vector of length 1 for an image: convolutions, PReLU and pooling, then PReLU between matrices. What becomes a vector is in the order
   (C, H, W), as PyTorch flattens. */
const embedded = async ({layers}, image, width, height) => {
  const output = tf.tidy(() => {
    let x = tf.sub(tf.tensor4d(image, [1, height, width, 1]), 0.5);
    for (const {kernel, bias, slope} of layers) {
      if (slope) {
        x = tf.prelu(x, slope);
        if (x.rank === 4) x = tf.maxPool(x, 2, 2, "valid");
      } else if (kernel.rank === 4) {
        x = tf.add(tf.conv2d(x, kernel, 1, "valid"), bias);
      } else {
        if (x.rank === 4) x = tf.reshape(tf.transpose(x, [0, 3, 1, 2]), [1, -1]);
        x = tf.add(tf.matMul(x, kernel), bias);
      }
    }
    return x;
  });
  const vector = await output.data(), length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  output.dispose();
  return vector.map((value) => value / Math.max(length, 1e-12));
};

/* One piece of planes with even sides: pixel unshuffle, the map averaged over 2×2 pixels, the convolutions, pixel shuffle. */
const restored = async ({layers, channels}, noisy, map, width, height) => {
  const across = width / 2, down = height / 2, inputs = 4 * channels + 1, count = width * height;
  const images = noisy.length / (count * channels);
  const input = new Float32Array(images * across * down * inputs);
  for (let n = 0, i = 0; n < images; n++) {
    for (let y = 0; y < down; y++) {
      for (let x = 0; x < across; x++) {
        const corner = 2 * y * width + 2 * x;
        for (let c = 0; c < channels; c++) {
          const at = (n * channels + c) * count + corner;
          input[i++] = noisy[at];
          input[i++] = noisy[at + 1];
          input[i++] = noisy[at + width];
          input[i++] = noisy[at + width + 1];
        }
        input[i++] = (map[corner] + map[corner + 1] + map[corner + width] + map[corner + width + 1]) / 4;
      }
    }
  }
  const output = tf.tidy(() => layers.reduce((x, {kernel, bias}, number) => tf.fused.conv2d({
    x, filter: kernel, bias, strides: 1, pad: "same", activation: number < layers.length - 1 ? "relu" : "linear",
  }), tf.tensor4d(input, [images, down, across, inputs])));
  const values = await output.data();
  if (lost()) throw new Error("the graphics card was lost"); // then the values are zeros
  output.dispose();
  const result = new Float32Array(noisy.length);
  for (let n = 0, i = 0; n < images; n++) {
    for (let y = 0; y < down; y++) {
      for (let x = 0; x < across; x++) {
        for (let c = 0; c < channels; c++) {
          const at = (n * channels + c) * count + 2 * y * width + 2 * x;
          result[at] = values[i++];
          result[at + 1] = values[i++];
          result[at + width] = values[i++];
          result[at + width + 1] = values[i++];
        }
      }
    }
  }
  return result;
};

/* A window of planes (C, H, W); beyond the last row and column these go on. */
const cut = (planes, count, width, height, left, top, across, down) => {
  const part = new Float32Array(count * across * down);
  for (let c = 0, i = 0; c < count; c++) {
    for (let y = top; y < top + down; y++) {
      const row = (c * height + Math.min(y, height - 1)) * width;
      for (let x = left; x < left + across; x++) part[i++] = planes[row + Math.min(x, width - 1)];
    }
  }
  return part;
};

const othersFirst = () => new Promise((go) => setTimeout(go));

const denoise = async ({id, name, noisy, map, width, height, side}) => {
  const network = networks.get(name);
  if (!network) throw new Error(`the network ${name} is not loaded`);
  if (!(side > 0) || side % 2) throw new Error(`tiles of ${side} pixels a side: an even number is needed`);
  const {layers} = network, planes = noisy.length / (width * height);
  if (planes % network.channels) throw new Error(`${planes} planes for a network of ${network.channels}`);
  const whole = [width + (width % 2), height + (height % 2)]; // the network works at half resolution
  const margin = 2 * Math.ceil((2 * layers.length + 1) / 2);
  const total = Math.ceil(whole[0] / side) * Math.ceil(whole[1] / side);
  let done = 0, milliseconds = 0;
  for (let top = 0; top < whole[1]; top += side) {
    for (let left = 0; left < whole[0]; left += side) {
      await othersFirst();
      if (wanted !== id) return postMessage({kind: "stopped", id, milliseconds, tiles: done});
      const began = performance.now();
      const x = Math.max(0, left - margin), y = Math.max(0, top - margin);
      const across = Math.min(whole[0], left + side + margin) - x, down = Math.min(whole[1], top + side + margin) - y;
      const result = await restored(
        network, cut(noisy, planes, width, height, x, y, across, down), cut(map, 1, width, height, x, y, across, down), across, down,
      );
      const size = [Math.min(side, width - left), Math.min(side, height - top)];
      const part = cut(result, planes, across, down, left - x, top - y, ...size);
      milliseconds += performance.now() - began;
      done += 1;
      postMessage({kind: "tile", id, left, top, width: size[0], height: size[1], part, done, total}, [part.buffer]);
    }
  }
  postMessage({kind: "done", id, milliseconds, tiles: done});
};

/* The backends by name, and how each of them starts. */
const BACKENDS = {};

BACKENDS.wasm = async ({wasm}) => {
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false); // threads need headers that a plain server does not send
  if (!(await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT"))) throw new Error("the WebAssembly of this browser lacks SIMD");
  const address = URL.createObjectURL(new Blob([wasm], {type: "application/wasm"}));
  // it wants an address for each of its three builds, of which this one is used
  tf.wasm.setWasmPaths(Object.fromEntries(["", "-simd", "-threaded-simd"].map((kind) => [`tfjs-backend-wasm${kind}.wasm`, address])));
  if (!(await tf.setBackend("wasm"))) throw new Error("WebAssembly could not be started");
  await tf.ready();
  URL.revokeObjectURL(address);
};

BACKENDS.webgl = async () => {
  tf.env().set("SOFTWARE_WEBGL_ENABLED", true); // the page has decided whether it takes that
  tf.env().set("WEBGL_USE_SHAPES_UNIFORMS", true); // tiles of another size need no other shaders
  tf.env().set("WEBGL_DELETE_TEXTURE_THRESHOLD", 2 ** 28); // bytes; by default none is ever freed
  if (!(await tf.setBackend("webgl"))) throw new Error("WebGL could not be started");
  await tf.ready();
  if (tf.env().get("WEBGL_VERSION") !== 2) throw new Error("WebGL 2 could not be started");
  const {gl} = tf.backend().gpgpu;
  gl.canvas.addEventListener("webglcontextlost", () => postMessage({kind: "lost"})); // a job would wait for ever
  lost = () => gl.isContextLost();
};

/* Can a worker of this browser have WebGL 2; unless software will do, that of a graphics card? */
const offered = (software) => {
  if (typeof OffscreenCanvas !== "function") return false;
  const gl = new OffscreenCanvas(1, 1).getContext("webgl2", {failIfMajorPerformanceCaveat: !software});
  if (!gl) return false;
  const name = gl.getExtension("WEBGL_debug_renderer_info")?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER;
  const card = !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(gl.getParameter(name));
  gl.getExtension("WEBGL_lose_context")?.loseContext(); // a browser has a few only
  return card || software;
};

/* The largest difference from what another backend made of planes with even sides, and the time of the second run: the first one
   compiles shaders. */
const prove = async ({name, weights, noisy, map, width, height, denoised}) => {
  networks.set(name, makeNetwork(readLayers(weights)));
  let found, milliseconds;
  for (let run = 0; run < 2; run++) {
    const began = performance.now();
    found = await restored(networks.get(name), noisy, map, width, height);
    milliseconds = performance.now() - began;
  }
  const difference = found.reduce((worst, value, i) => Math.max(worst, Math.abs(value - denoised[i])), 0);
  postMessage({kind: "proven", difference, milliseconds});
};

onmessage = async ({data}) => {
  try {
    if (data.kind === "start") {
      await BACKENDS[data.backend](data);
      postMessage({kind: "started"});
    } else if (data.kind === "network") {
      const layers = readLayers(data.weights), embeds = layers.some(({slope}) => slope);
      const network = embeds ? {layers, length: layers.at(-1).bias.size} : makeNetwork(layers);
      networks.set(data.name, network);
      postMessage({kind: "network", name: data.name, channels: network.channels, length: network.length, depth: layers.length});
    } else if (data.kind === "embed") {
      if (!networks.get(data.name)?.length) throw new Error(`the embedder ${data.name} is not loaded`);
      const vector = await embedded(networks.get(data.name), data.image, data.width, data.height);
      postMessage({kind: "embedded", id: data.id, vector});
    } else if (data.kind === "offers") {
      postMessage({kind: "offers", id: data.id, offered: offered(data.software)});
    } else if (data.kind === "prove") {
      await prove(data);
    } else if (data.kind === "denoise") {
      wanted = data.id;
      await denoise(data);
    } else if (data.kind === "stop") {
      wanted = null;
    }
  } catch (error) {
    postMessage({kind: "failed", id: data.id ?? null, name: data.name ?? null, message: error.message});
  }
};
