/* A photograph of the reader's own: read by this browser, turned as its camera says, refused in words where it is none. */
"use strict";

const noiseLabPicture = (() => {
  const LARGEST = 100e6, SMALLEST = 16; // pixels in all, and a side
  const HEAD = 1 << 20; // bytes in which what a file is must show

  const pixels = ({naturalWidth, naturalHeight}) => naturalWidth * naturalHeight;
  const text = (bytes, from, count) => String.fromCharCode(...bytes.subarray(from, from + count));

  /* What a file is, by its first bytes: the names under which people know it. */
  const kindOf = (bytes) => {
    if (text(bytes, 1, 3) === "PNG") return "PNG";
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return "JPEG";
    if (text(bytes, 0, 3) === "GIF") return "GIF";
    if (text(bytes, 0, 4) === "RIFF" && text(bytes, 8, 4) === "WEBP") return "WebP";
    if (text(bytes, 0, 2) === "BM") return "BMP";
    if (["II*\0", "MM\0*"].includes(text(bytes, 0, 4))) return "TIFF or camera raw";
    if (text(bytes, 4, 4) === "ftyp") return /avi[fs]/.test(text(bytes, 8, 4)) ? "AVIF" : /hei|hev|mif1/.test(text(bytes, 8, 4)) ? "HEIC" : "";
    if (/^(\ufeff|ï»¿)?\s*</.test(text(bytes, 0, 64))) return "drawing or text";
    return "";
  };

  /* The first frame header of a JPEG says of how many components it is. */
  const components = (bytes) => {
    for (let i = 2; i + 9 < bytes.length && bytes[i] === 0xff;) {
      const marker = bytes[i + 1];
      if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return bytes[i + 9];
      i += 2 + bytes[i + 2] * 256 + bytes[i + 3];
    }
    return 0;
  };

  /* Does a GIF have a second picture? Blocks are skipped, not decoded. */
  const severalInGif = (bytes) => {
    const table = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
    let i = 13 + table(bytes[10]), pictures = 0;
    while (i < bytes.length) {
      if (bytes[i] === 0x21) i += 2;
      else if (bytes[i] === 0x2c) {
        if (++pictures === 2) return true;
        i += 10 + table(bytes[i + 9]) + 1;
      } else return false;
      while (i < bytes.length && bytes[i]) i += bytes[i] + 1; // the pieces of a block, up to an empty one
      i += 1;
    }
    return false;
  };

  const animated = (kind, bytes) =>
    (kind === "GIF" && severalInGif(bytes)) ||
    (kind === "WebP" && text(bytes, 12, 4) === "VP8X" && Boolean(bytes[20] & 2)) ||
    (kind === "PNG" && text(bytes, 37, 4) === "acTL");

  const remarks = (kind, bytes) => [
    kind === "PNG" && bytes[24] === 16 && "of its 16 bits a channel the page uses 8",
    kind === "JPEG" && components(bytes) === 4 && "its inks (CMYK) were turned into red, green and blue",
    animated(kind, bytes) && "of its pictures the page uses the first",
  ].filter(Boolean);

  /* Read a file; resolves to {image, name, width, height, remarks}. Rejects with a message for the reader. */
  const read = async (file) => {
    const refuse = (why) => { throw new Error(`${file.name} ${why}`); };
    if (!file.size) refuse("is empty: choose another file.");
    const bytes = new Uint8Array(await file.slice(0, HEAD).arrayBuffer()), kind = kindOf(bytes);
    if (kind === "drawing or text") refuse("is a drawing or a text, not a photo: choose a JPEG, PNG, WebP, AVIF or GIF.");
    const image = new Image(), address = URL.createObjectURL(file);
    try {
      await new Promise((resolve, reject) => Object.assign(image, {onload: resolve, onerror: reject, src: address}));
      if (pixels(image) <= LARGEST) await (await createImageBitmap(file, {resizeWidth: 1, resizeHeight: 1})).close(); // all of it decodes
    } catch {
      if (["TIFF or camera raw", "HEIC"].includes(kind)) refuse(`is a ${kind} file, which this browser cannot read: save it as JPEG or PNG.`);
      if (kind) refuse(`is a damaged ${kind} file, or one that this browser cannot read: save it anew, as JPEG or PNG.`);
      refuse("is not an image that this browser can read: choose a JPEG, PNG, WebP, AVIF or GIF.");
    } finally {
      URL.revokeObjectURL(address);
    }
    const {naturalWidth: width, naturalHeight: height} = image;
    if (pixels(image) > LARGEST) {
      refuse(`has ${width}×${height} pixels, but at most ${LARGEST / 1e6} megapixels fit: make it smaller.`);
    }
    if (Math.min(width, height) < SMALLEST) refuse(`has ${width}×${height} pixels, but at least ${SMALLEST} a side are needed.`);
    return {image, name: file.name, width, height, remarks: remarks(kind, bytes)};
  };

  /* The gray levels of an image at a size, planes (C, H, W) in [0, 1]: 3 of red, green and blue, or 1, the luma of ITU-R BT.601 rounded
     as course_lib.data does. What is transparent lies on white. Returns {planes, transparent}. */
  const planes = (image, width, height, channels) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    const {data} = context.getImageData(0, 0, width, height), count = width * height;
    const found = new Float32Array(channels * count);
    let transparent = false;
    for (let i = 0; i < count; i++) {
      const opaque = data[4 * i + 3] / 255;
      transparent ||= opaque < 1;
      const [red, green, blue] = [0, 1, 2].map((c) => Math.round(255 + opaque * (data[4 * i + c] - 255)));
      if (channels === 1) found[i] = Math.floor(0.299 * red + 0.587 * green + 0.114 * blue + 0.5) / 255;
      else [found[i], found[count + i], found[2 * count + i]] = [red / 255, green / 255, blue / 255];
    }
    return {planes: found, transparent};
  };

  return {read, planes};
})();
