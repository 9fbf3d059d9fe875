"""Data sets that torchvision's and scikit-learn's loaders read and may download, and copies of them in another form."""

from __future__ import annotations

import gzip
import io
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from course_lib.data.dataset import DataError, Dataset, Request, contents, folder_files, listed
from course_lib.data.pictures import decoded

PORTRAITS_TRAIN = 30  # of the 40 persons
OLIVETTI = "olivettifaces.mat"  # the file that scikit-learn downloads, …
PICKLED = "olivetti_py3.pkz"  # … and what it makes of it


def mnist(asked: Request) -> Dataset:
    """MNIST by torchvision, from the official files, packed or not; ``DataError`` where they are not there."""
    from torchvision.datasets import MNIST

    def read(folder: Path | str) -> Dataset:
        found = MNIST(folder, train=asked.split == "train")
        names = tuple(f"{asked.split} {i}" for i in range(len(found.data)))
        source = f"MNIST, official files, {asked.split} split"
        return Dataset(asked.name, found.data[:, None], source, names, found.targets, tuple("0123456789"))

    def stored(path: str) -> str | None:
        """The file itself, or its ``.gz``, whichever is there."""
        return next((file for file in (path, f"{path}.gz") if (asked.root / file).is_file()), None)

    files = [path for path in listed("MNIST/raw") if not path.endswith(".gz")]
    if asked.download and not all(stored(path) for path in files):
        try:
            MNIST(asked.root, download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"MNIST could not be downloaded to {asked.root}: {error}") from error
    with tempfile.TemporaryDirectory() as unpacked:  # torchvision reads unpacked files only; the root may be read-only
        for path in files:
            file = stored(path)
            if file is None:
                raise DataError(
                    f"{asked.root / path} (or .gz) is missing: call load with download=True, or set COURSE_DATA to a folder with "
                    "MNIST/raw."
                )
            content = contents(asked.root, file)
            (Path(unpacked) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(unpacked) / path).write_bytes(gzip.decompress(content) if file.endswith(".gz") else content)
        return read(unpacked)


def cifar10(asked: Request) -> Dataset:
    """CIFAR-10 by torchvision, which checks the MD5 sums of its official files; ``DataError`` where they are not there."""
    from torchvision.datasets import CIFAR10

    try:
        found = CIFAR10(asked.root, train=asked.split == "train", download=asked.download)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"cifar10 was not found or is incomplete in {asked.root} ({error}): call load with download=True, or set COURSE_DATA "
            'to the folder that holds cifar-10-batches-py. The JPEG copy is another data set, "cifar10_jpeg".'
        ) from error
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    names = tuple(f"{asked.split} {i}" for i in range(len(images)))
    source = f"CIFAR-10, official files, {asked.split} split"
    return Dataset(asked.name, images, source, names, torch.tensor(found.targets), tuple(found.classes))


def cifar10_jpeg(asked: Request) -> Dataset:
    """A copy of CIFAR-10 as JPEG files in one archive: not the official pixels, and its source says so; ``DataError`` if missing."""
    path = "cifar10-jpeg/cifar10_jpeg.npz"
    if not (asked.root / path).is_file():
        raise DataError(f"{asked.root / path} is missing: set COURSE_DATA to the folder that holds it, see data/README.md.")
    images, labels, classes = _of_archive(asked.root, path, asked.split, (asked.root / path).stat().st_mtime_ns)
    source = f"a JPEG copy of CIFAR-10 (quality about 75, not the official files), {asked.split} split"
    names = tuple(f"{asked.split} {i}" for i in range(len(images)))
    return Dataset(asked.name, images, source, names, labels, classes)


@lru_cache(maxsize=2)
def _of_archive(root: Path, path: str, split: str, changed: int) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Images, labels and classes of a part of the JPEG copy, decoded once a process: several seeds train on the same ones."""
    with np.load(io.BytesIO(contents(root, path))) as file:
        content, offsets = file[f"{split}_jpeg"], file[f"{split}_offsets"]
        labels, classes = file[f"{split}_labels"], tuple(str(c) for c in file["classes"])
    images = torch.stack([decoded(content[a:b].tobytes(), "RGB") for a, b in zip(offsets[:-1], offsets[1:], strict=True)])
    return images, torch.from_numpy(labels.astype(np.int64)), classes


def faces(asked: Request) -> Dataset:
    """The 400 ORL faces of 40 persons: the folder of the authors where it is there, else the Olivetti copy of scikit-learn.

    ``DataError`` where neither is there.
    """
    root = asked.root
    if (root / "orl_faces").is_dir():
        files = folder_files(root, "orl_faces")
        order = sorted(files, key=lambda path: tuple(int("".join(filter(str.isdigit, part))) for part in path.split("/")))
        images = torch.stack([decoded(files[path], "L") for path in order])
        persons = [int(path.split("/")[0][1:]) - 1 for path in order]
        source, names = "ORL Database of Faces, AT&T Laboratories Cambridge", tuple(order)
    else:
        images = _olivetti(root, asked.download)
        persons = [number // 10 for number in range(400)]  # ten pictures of each, one after another
        source, names = "Olivetti faces (the ORL faces at 64×64), the file of scikit-learn", tuple(f"face {i}" for i in range(400))
    classes = tuple(f"person {i + 1}" for i in range(40))
    return Dataset(asked.name, images, source, names, torch.tensor(persons), classes)


def _olivetti(root: Path, download: bool) -> torch.Tensor:
    """The Olivetti faces, uint8 ``(400, 1, 64, 64)``, as scikit-learn has them, from the file that it downloads.

    What ``fetch_olivetti_faces`` keeps of that file is a pickle: to read one runs whatever code is in it, and its hash differs from
    machine to machine. It is never opened here.
    """
    file = root / OLIVETTI
    if not file.is_file() and download:
        from sklearn.datasets._base import _fetch_remote
        from sklearn.datasets._olivetti_faces import FACES

        try:
            root.mkdir(parents=True, exist_ok=True)
            _fetch_remote(FACES, dirname=root)  # it checks the hash
        except OSError as error:
            raise DataError(f"faces: {OLIVETTI} could not be downloaded to {root}: {error}") from error
    if not file.is_file():
        pickled = f" ({PICKLED} is there, but a pickle may run any code when it is read, and is not opened.)"
        raise DataError(
            f"faces: neither the folder orl_faces nor {OLIVETTI} is in {root}: call load with download=True, or set COURSE_DATA to a "
            f"folder that holds one of them.{pickled if (root / PICKLED).exists() else ''}"
        )
    from scipy.io import loadmat

    pixels = loadmat(io.BytesIO(contents(root, OLIVETTI)))["faces"].T.astype(np.float32)  # (400, 4096), each column by column
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    images = pixels.reshape(400, 64, 64).transpose(0, 2, 1)
    return torch.from_numpy((images * 255).round().astype(np.uint8))[:, None]


def portraits(asked: Request) -> Dataset:
    """The faces in two parts of different persons: the first ``PORTRAITS_TRAIN`` to train on, the others to test on."""
    found = faces(replace(asked, name="faces", split=None))
    known = found.labels < PORTRAITS_TRAIN
    chosen = (known if asked.split == "train" else ~known).nonzero().squeeze(1)
    source = f"{found.source}, {'the first' if asked.split == 'train' else 'not the first'} {PORTRAITS_TRAIN} persons"
    names = tuple(found.names[i] for i in chosen.tolist())
    return Dataset(asked.name, found.images[chosen], source, names, found.labels[chosen], found.classes)
