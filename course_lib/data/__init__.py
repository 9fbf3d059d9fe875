"""Data sets by name, as uint8 tensors that carry where they came from.

``load`` gives the data set that was asked for or raises. It looks in the data root (``COURSE_DATA``, else
``data/downloads``), and downloads through torchvision's or scikit-learn's own loader only where ``download=True``.
``photos``, ``digits``, and what is made of such need neither. ``data/README.md`` describes every layout.
"""

from __future__ import annotations

from pathlib import Path

from course_lib import project
from course_lib.data import embedded, folders, libraries, scenes, sorting
from course_lib.data.dataset import AlteredError, DataError, Dataset, Request, balanced, contents, manifest, verified
from course_lib.data.digits_on_photos import digits_on_photos
from course_lib.data.embedded import TEXTURES
from course_lib.data.own import own
from course_lib.data.pictures import decoded, open_image
from course_lib.settings import meant

__all__ = [
    "EMBEDDED", "LOADERS", "SPLIT", "TEXTURES", "AlteredError", "DataError", "Dataset", "balanced", "contents", "decoded", "load",
    "manifest", "open_image", "verified",
]  # fmt: skip

EMBEDDED = ("photos", "digits", "digits_on_photos", "sheets", "pages", "textures", "scenes")  # inside installed packages, or drawn
SPLIT = (*EMBEDDED, "portraits", "mnist", "cifar10", "cifar10_jpeg", "own", "ws2")
WITHOUT_SPLIT = {  # what these are for, of the sets that do not come in two parts
    "bsd400": "train", "cbsd432": "train", "bsd432": "train",
    "bsd68": "test", "set12": "test", "set5": "test", "cbsd68": "test", "cc15": "test",
}  # fmt: skip
IN_COLOR = ("digits_on_photos", "scenes", "ws2", "own", "cifar10", "cifar10_jpeg", "set5", "cbsd432", "cbsd68", "cc15")
LOADERS = {
    "photos": embedded.photos,
    "digits": embedded.digits,
    "digits_on_photos": digits_on_photos,
    "sheets": embedded.sheets,
    "pages": embedded.pages,
    "textures": embedded.textures,
    "scenes": scenes.scenes,
    "portraits": libraries.portraits,
    "mnist": libraries.mnist,
    "cifar10": libraries.cifar10,
    "cifar10_jpeg": libraries.cifar10_jpeg,
    "faces": libraries.faces,
    **dict.fromkeys(folders.FOLDERS, folders.folder),
    "cc15": folders.cc15,
    "ws2": sorting.ws2,
    "own": own,
}


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
        name: ``photos`` or ``digits`` (embedded), and ``digits_on_photos``, ``sheets`` (of digits), ``pages`` (of text) and
            ``textures``, made of what is embedded; ``scenes`` of a sorting line, which are drawn; ``mnist``, ``cifar10``,
            ``cifar10_jpeg``, ``faces``, ``portraits`` (the faces, in two parts); or a folder of images: ``bsd400``, ``bsd68``,
            ``set12``, ``set5``, ``cbsd432``, ``bsd432`` (the same in gray), ``cbsd68``, ``cc15``, ``own``, a folder of your own
            photographs, and ``ws2``, a sorting line of your own.
        split: ``"train"`` or ``"test"`` where the data set has the two, else None: see ``SPLIT``.
        root: the folder to look in; ``COURSE_DATA`` or ``data/downloads`` where it is None.
        color: for ``photos``: the colour photographs in colour, rather than all of them in gray.
        download: may missing files be downloaded, where a loader of torchvision or scikit-learn does that?
        otherwise: another data set of this function to take where ``name`` cannot be had: the part of it to train or to test on,
            as is ``name``, and photos in colour where those of ``name`` are. The printed line and ``source`` then name that one.

    Raises:
        ValueError: for an unknown name or split, or an alternative that is to train on for a set to test on, or the reverse.
        DataError: for files that are missing, incomplete or altered, with what to do.
    """
    if name not in LOADERS:
        raise ValueError(f'unknown data set "{name}"{meant(name, LOADERS)}; there are {", ".join(LOADERS)}')
    splits = ("train", "test") if name in SPLIT else (None,)
    if split not in splits:
        expected = 'split="train" or split="test"' if name in SPLIT else "no split"
        raise ValueError(f'data set "{name}" with split={split!r}: it takes {expected}.')
    if otherwise is not None and otherwise not in LOADERS:
        raise ValueError(f'unknown data set otherwise="{otherwise}"{meant(otherwise, LOADERS)}; there are {", ".join(LOADERS)}')
    purpose = split or WITHOUT_SPLIT.get(name)
    if None not in (purpose, WITHOUT_SPLIT.get(otherwise)) and purpose != WITHOUT_SPLIT[otherwise]:
        raise ValueError(f'otherwise="{otherwise}" is to {WITHOUT_SPLIT[otherwise]} on, and cannot stand for images to {purpose} on.')
    if color and name != "photos":
        raise ValueError(f'color=True is for "photos" only; "{name}" comes as it is.')
    folder = Path(root).expanduser() if root is not None else project.data_root()
    try:
        dataset = LOADERS[name](Request(name, split, folder, color, download))
    except DataError as error:
        if otherwise is None:
            raise
        print(f"{name}: not to be had ({error}); taking {otherwise} instead, as was asked for")
        part = (purpose or "train") if otherwise in SPLIT else None
        return load(otherwise, part, root=root, color=otherwise == "photos" and (color or name in IN_COLOR), download=download)
    print(dataset)
    return dataset
