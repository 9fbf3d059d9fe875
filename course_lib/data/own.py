"""A folder of photographs of one's own, for what needs many images and no particular ones."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import torch

from course_lib.data.dataset import DataError, Dataset, Request, together
from course_lib.data.pictures import files_below, open_image

FOLDER = "own"  # below the data root
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
HELD_OUT = 10  # about one image in so many is for testing


def own(asked: Request) -> Dataset:
    """The images below the folder ``own`` of the data root, in colour, as a viewer shows them: no manifest lists them.

    About one in ten is held out for testing. Which ones depends on their paths alone, so that a new image moves no other. Where
    all images lie in folders, such as ``own/cats/1.jpg``, the first folder is the class; where a few do not, a warning names one.

    Raises:
        course_lib.data.DataError: for a folder without images, or too few for the split, and for a file that is no image.
    """
    folder = asked.root / FOLDER
    files = files_below(folder, ENDINGS)
    if not files:
        raise DataError(
            f"{folder} has no images: put photographs there ({', '.join(ENDINGS)}), with or without a folder for each class, or set "
            f"COURSE_DATA to a folder that has a folder {FOLDER}."
        )
    names = [path.relative_to(folder).as_posix() for path in files]
    loose = [name for name in names if "/" not in name]
    if 0 < len(loose) < len(names) / 2:
        told = f"{len(loose)} of {len(names)} images of {folder} lie in no folder, the first is {loose[0]}"
        warnings.warn(f"{told}: so none of them has a class. Move these into the folders of their classes.", stacklevel=3)
    chosen = [name for name in names if held_out(name) == (asked.split == "test")]
    if not chosen:
        raise DataError(f"{folder} has {len(files)} images, of which none is in the {asked.split} split: put more there, at least 20.")
    images = [open_image(folder / name, color=True) for name in chosen]
    classes = tuple(sorted({Path(name).parts[0] for name in names})) if all("/" in name for name in names) else ()
    labels = torch.tensor([classes.index(Path(name).parts[0]) for name in chosen]) if classes else None
    return Dataset(asked.name, together(images), f"images of one's own in {FOLDER}, {asked.split} split", tuple(chosen), labels, classes)


def held_out(name: str) -> bool:
    """Is the image of that path, relative to the folder, for testing? A hash of the path decides, the same on every machine."""
    return zlib.crc32(name.encode()) % HELD_OUT == 0
