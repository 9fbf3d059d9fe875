"""Image files as tensors: what a person sees who opens the file, or words that say why not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from course_lib import checks
from course_lib.data.dataset import DataError

if TYPE_CHECKING:
    from PIL import Image

RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2")
"""Endings of files of a camera's sensor, in which Pillow finds a thumbnail at most."""


def open_image(path: str | Path, *, color: bool | None = None) -> Tensor:
    """A photograph of one's own, as uint8 ``(C, H, W)``: upright, on white where it is transparent, 16 bits rounded to 8.

    Args:
        path: the file; ``~`` is the home folder. JPEG, PNG, TIFF, WebP, BMP, GIF and what else Pillow reads.
        color: True for three channels, False for one (the luma of ITU-R BT.601), None for what is in the file.

    Returns:
        The image, on the scale of all data sets; ``batches.to_float(image)[None]`` is what a network takes.

    Raises:
        TypeError: for a path that is none.
        course_lib.data.DataError: for a file that is missing, damaged, no image, or more than one, with what to do.

    Example:
        >>> from course_lib import batches, data
        >>> image = data.open_image("~/Pictures/cat.jpg", color=False)  # doctest: +SKIP
        >>> photo = batches.to_float(image)[None]  # doctest: +SKIP
    """
    if not isinstance(path, str | Path):
        raise TypeError(f"path is {checks.described(path)}, but the name of a file is expected.")
    if color not in (None, True, False):
        raise TypeError(f"color is {color!r}, but True (three channels), False (one) or None (as in the file) is expected.")
    file = Path(path).expanduser()
    if file.suffix.lower() in RAW:
        raise DataError(f"{file} is raw data of a camera's sensor: develop it first, and save it as JPEG or PNG.")
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing: relative names are looked for in {Path.cwd()}.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error}).") from error
    try:
        return decoded(content, {None: None, True: "RGB", False: "L"}[color])
    except DataError as error:
        raise DataError(f"{file} {error}") from error


def files_below(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """All files with one of the ``endings`` below a folder, in order; none where it is missing, and none that is hidden.

    Hidden is what begins with a dot, or lies in a folder that does, such as the copies of Jupyter in ``.ipynb_checkpoints``, and what
    macOS puts into archives.
    """

    def hidden(file: Path) -> bool:
        return any(part.startswith(".") or part == "__MACOSX" for part in file.relative_to(folder).parts)

    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings and not hidden(file) and not file.is_dir())


def decoded(content: bytes, mode: str | None = None) -> Tensor:
    """An encoded image as uint8 ``(C, H, W)``: as stored, or in PIL's ``mode`` ("L" for gray, "RGB").

    Raises:
        course_lib.data.DataError: for what is damaged, no image, or more than one.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large photograph is no attack
            with Image.open(io.BytesIO(content)) as picture:
                seen = _seen(picture)
                array = np.array(seen if mode in (None, seen.mode) else seen.convert(mode))
    except UnidentifiedImageError as error:
        raise DataError("is no image that Pillow reads: save it as JPEG or PNG. (Phones may store HEIC, and offer an export.)") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"has too many pixels ({error}): make it smaller first.") from error
    except DataError:
        raise
    except Exception as error:  # whatever the decoder meets first in a damaged file
        raise DataError(f"is damaged or cut ({error}): get it again, or open it in a viewer and save it anew.") from error
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1).contiguous()


def _seen(picture: Image.Image) -> Image.Image:
    """What a viewer shows of an opened file, in mode L or RGB."""
    from PIL import ImageOps

    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # which some cameras write: a JPEG with a second view behind it
        raise DataError(f"has {frames} pictures in it: save one of them as a file of its own.")
    picture.load()
    depth = picture.mode
    if depth.startswith("I;16") or (depth == "I" and picture.format == "PNG"):
        picture = _from_16_bits(picture)
    elif depth in ("I", "F"):
        kind = "integers" if depth == "I" else "floating-point numbers"
        raise DataError(f"holds {kind} of 32 bits, of which nobody knows what is white: save it as a JPEG or PNG.")
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in ("1", "L", "RGB"):
        seen = upright.convert("L") if upright.mode == "1" else upright
        return _on_white(seen) if "transparency" in upright.info else _in_srgb(seen)
    if upright.has_transparency_data:
        return _on_white(upright)
    return _in_srgb(upright) if upright.mode == "CMYK" else upright.convert("RGB")


def _from_16_bits(picture: Image.Image) -> Image.Image:
    """The same gray image with 8 bits: 65535 becomes 255. (Pillow's own conversion makes all above 255 white.)"""
    from PIL import Image

    values = np.asarray(picture).astype(np.int64)
    small = Image.fromarray(((values.clip(0, 65535) + 128) // 257).astype(np.uint8))
    small.info = {name: value for name, value in picture.info.items() if name != "transparency"}
    small.getexif().update(picture.getexif())
    return small


def _on_white(picture: Image.Image) -> Image.Image:
    """A picture with transparency as it looks on a white page, in gray where it is gray."""
    from PIL import Image

    gray = picture.mode in ("L", "LA", "La")
    layers = picture.convert("RGBA")
    page = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), layers).convert("RGB")
    return page.getchannel(0) if gray else page


def _in_srgb(picture: Image.Image) -> Image.Image:
    """Colours of another colour space, such as that of many phones, as a screen shows them; all others as they are."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if picture.mode in ("RGB", "CMYK") and profile:
        try:
            known = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(known):
                return ImageCms.profileToProfile(picture, known, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass  # a viewer, too, goes on without a profile that it cannot read
    return picture.convert("RGB") if picture.mode == "CMYK" else picture
