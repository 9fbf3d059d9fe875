"""A data set as it is returned, what goes wrong with one, and the check of every file against ``data/SHA256SUMS``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from course_lib import project


class DataError(Exception):
    """A data set that is missing, incomplete or altered; the message says what to do about it."""


class AlteredError(DataError):
    """A file that is there, but is truncated or not the one that the manifest lists."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and all that is known about them.

    ``images`` is a uint8 tensor ``(N, C, H, W)`` where all have one size, else a tuple of ``(C, H, W)``; either is
    indexed and iterated image by image.
    """

    name: str
    images: Tensor | tuple[Tensor, ...]
    source: str  # where these images came from, as a record quotes it
    names: tuple[str, ...]  # one for each image
    labels: Tensor | None = None  # (N,) int64
    classes: tuple[str, ...] = ()  # names of the labels
    truth: Tensor | None = None  # clean counterparts of noisy images, in their shape
    masks: Tensor | None = None  # (N, 1, H, W) booleans: the pixels of what is to be found

    def __len__(self) -> int:
        return len(self.images)

    def __str__(self) -> str:
        shapes = sorted({tuple(image.shape) for image in self.images})
        size = "×".join(map(str, shapes[0])) if len(shapes) == 1 else f"{len(shapes)} sizes"
        return f"{self.name}: {len(self)} images ({size}) from {self.source}"

    def image(self, name: str) -> Tensor:
        """The image ``(C, H, W)`` of that name; ``KeyError`` with the names there are otherwise."""
        if name not in self.names:
            raise KeyError(f'{self.name} has no image "{name}"; it has {", ".join(self.names)}')
        return self.images[self.names.index(name)]


@dataclass(frozen=True)
class Request:
    """What a loader is asked for: the arguments of ``load``, whose ``root`` is a folder by now."""

    name: str
    split: str | None
    root: Path
    color: bool = False
    download: bool = False


def balanced(sets: Sequence[Dataset]) -> Dataset:
    """Several data sets as one to train on: each repeated until it has about as many pixels as the largest.

    Raises:
        ValueError: for no data set.
    """
    if not sets:
        raise ValueError("there are no data sets to join.")
    pixels = [sum(image.shape[-2] * image.shape[-1] for image in one.images) for one in sets]
    times = [max(1, round(max(pixels) / own)) for own in pixels]
    images = tuple(image for one, n in zip(sets, times, strict=True) for image in (*one.images,) * n)
    names = tuple(name for one, n in zip(sets, times, strict=True) for name in one.names * n)
    source = "; ".join(f"{one.name} ({n} times)" if n > 1 else one.name for one, n in zip(sets, times, strict=True))
    return Dataset(" + ".join(one.name for one in sets), images, source, names)


def together(images: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """One tensor where all have one shape, else a tuple."""
    return torch.stack(images) if len({image.shape for image in images}) == 1 else tuple(images)


# --- files ----------------------------------------------------------------------------------------------------------------


@cache
def manifest() -> dict[str, str]:
    """Path below the data root -> SHA-256, as listed in ``data/SHA256SUMS``."""
    lines = (project.home() / "data" / "SHA256SUMS").read_text().splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines if line.strip())}


def verified(root: Path, path: str, content: bytes) -> bytes:
    """``content`` itself, if its hash is the one that the manifest has for ``path``.

    Raises:
        AlteredError: for another hash.
        DataError: for a file that the manifest does not list.
    """
    found, expected = hashlib.sha256(content).hexdigest(), manifest().get(path)
    if expected is None:
        raise DataError(f"{root / path} is not in data/SHA256SUMS, so that it cannot be told whether it is complete.")
    if found != expected:
        raise AlteredError(
            f"{root / path} is truncated or altered ({len(content)} bytes): its SHA-256 is {found[:16]}…, expected was "
            f"{expected[:16]}…. Delete the file and get it again; data/README.md says where its data set belongs."
        )
    return content


def contents(root: Path, path: str) -> bytes:
    """The verified content of a file below the data root; ``DataError`` where it cannot be read, or is another one."""
    try:
        content = (root / path).read_bytes()
    except OSError as error:
        raise DataError(f"{root / path} cannot be read ({error}): see data/README.md for where its data set belongs.") from error
    return verified(root, path, content)


def listed(folder: str) -> list[str]:
    """The paths that the manifest has below ``folder``, in its order."""
    return [path for path in manifest() if path.startswith(folder + "/")]


def folder_files(root: Path, folder: str) -> dict[str, bytes]:
    """Name -> verified content of all files that the manifest lists below ``folder``, in the manifest's order.

    Raises:
        DataError: for a folder that the manifest does not list, or a file that is missing or cannot be read.
        AlteredError: for one with another hash.
    """
    wanted = listed(folder)
    if not wanted:
        raise DataError(f"{folder} is not in data/SHA256SUMS, so that it cannot be told whether it is complete.")
    missing = [path for path in wanted if not (root / path).is_file()]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(wanted)} files are missing in {root}, the first is {missing[0]}. No loader "
            "can download this set: put it there in the layout of data/README.md, or set COURSE_DATA to the folder that "
            "holds it."
        )
    return {path[len(folder) + 1 :]: contents(root, path) for path in wanted}
