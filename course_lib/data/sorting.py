"""Images of a sorting line in folders of one's own, in the layout of WS², the data set of the lecture.

::

    training/before/video_001/frame_0001.jpg     images without their background, a folder for each video
    training/after/…
    training/bg/…                                the backgrounds alone; without this folder the others are taken for whole images
    validation/…                                 the same
    test_set/images/before/…, test_set/images/after/…
    test_set/masks/before/…, test_set/masks/after/…     of the same names; white where something illegal lies

WS² is Zenodo record 14793518 (arXiv:2509.06485); it is not shipped here, and its licence was not seen. ``load("ws2", …)`` looks for it in
the folder ``WS2`` of the data root, :func:`folders` in any other one. No hashes of it are known: nothing can tell whether it is complete.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks
from course_lib.batches import to_float, to_uint8
from course_lib.data.dataset import DataError, Dataset, Request
from course_lib.data.pictures import files_below, open_image

PARTS = {"train": "training", "validation": "validation", "test": "test_set"}
LABELS = {"after": 0, "before": 1, "bg": 2}
ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SIZE = 512  # pixels of a side, as the authors train


def folders(path: str | Path, split: str, *, size: int = SIZE) -> Dataset:
    """One part of a data set in that layout, every image resized to ``size`` × ``size``.

    Args:
        path: the folder that holds ``training``, ``validation`` and ``test_set``; ``~`` is the home folder.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        size: pixels of a side. All images are held in memory, 3 · size² bytes each: 10,000 of 512×512 are 8 GB.

    Returns:
        Images ``(N, 3, size, size)`` with labels: 0 after, 1 before, 2 background; those to test on with ``masks``, which are empty
        after where there is no folder of masks.

    Raises:
        ValueError: for an unknown split, or a size below 16.
        course_lib.data.DataError: for a folder that is missing or without images of one of its classes, an image that cannot be
            read, or a mask that is missing, superfluous, or of another size than its image.
    """
    if split not in PARTS:
        raise ValueError(f'split = "{split}", but it must be one of {", ".join(PARTS)}.')
    size, root = checks.whole(size, "size", 16), Path(path).expanduser()
    place = root / PARTS[split] / ("images" if split == "test" else "")
    if not place.is_dir():
        raise DataError(f"{place} is missing: {split} images lie there in the layout of data/README.md, one folder for each class.")
    present = [label for label in LABELS if label != "bg" or (split != "test" and (place / label).is_dir())]
    files = {label: files_below(place / label, ENDINGS) for label in present}
    for label, found in files.items():
        if not found:
            raise DataError(f"{place / label} has no images: a classifier of before and after needs both classes, and bg images if there "
                            "is such a folder. data/README.md describes the layout.")
    listed = [(label, file) for label, found in files.items() for file in found]
    images = torch.empty(len(listed), 3, size, size, dtype=torch.uint8)
    masks = torch.zeros(len(listed), 1, size, size, dtype=torch.bool) if split == "test" else None
    for number, (label, file) in enumerate(listed):
        image = open_image(file, color=True)
        images[number] = _resized(image, size)
        if masks is not None:
            masks[number] = _mask(root, place, file, image, size, may_be_missing=label == "after")
    if masks is not None:
        _require_no_more_masks(root, place, [file for _, file in listed])
    twins = [name for name, count in Counter(file.with_suffix("") for _, file in listed).items() if count > 1]
    if twins:
        raise DataError(f"{twins[0]} is there with two endings: a figure is kept by the name of its image, so rename one.")
    names = tuple(file.relative_to(place).with_suffix("").as_posix() for _, file in listed)
    labels = torch.tensor([LABELS[label] for label, _ in listed])
    source = f"{root.name}, a folder of images of a sorting line, {split} split, resized to {size}×{size}; no hashes are known"
    return Dataset("ws2", images, source, names, labels, ("after", "before", "background"), masks=masks)


def _resized(image: Tensor, size: int) -> Tensor:
    if image.shape[-2:] == (size, size):
        return image
    return to_uint8(F.interpolate(to_float(image)[None], size=(size, size), mode="bilinear", antialias=True)[0])


def _mask(root: Path, place: Path, file: Path, image: Tensor, size: int, *, may_be_missing: bool) -> Tensor:
    """The mask ``(1, size, size)`` of an image file ``(3, H, W)``."""
    from PIL import Image

    beside = (root / PARTS["test"] / "masks" / file.relative_to(place)).parent
    found = [one for one in files_below(beside, ENDINGS) if one.parent == beside and one.stem == file.stem]
    if not found:
        if may_be_missing:
            return torch.zeros(1, size, size, dtype=torch.bool)
        raise DataError(f"{beside / file.stem}.png is missing: the mask of {file}. Each image before has one of its name, white where "
                        "something illegal lies.")
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1].name} are both the mask of {file}: leave one.")
    mask = open_image(found[0], color=False)
    with Image.open(found[0]) as picture:
        if picture.has_transparency_data and picture.convert("RGBA").getchannel("A").getextrema()[0] < 255:
            raise DataError(f"{found[0]} is transparent, which counts as white: save it without transparency, black where all is lawful.")
    if 0 < int(mask.max()) < 128:
        raise DataError(f"{found[0]} has no white: its largest value is {int(mask.max())} of 255. It is white where something "
                        "illegal lies: multiply masks of 0 and 1 by 255.")
    if mask.shape[1:] != image.shape[1:]:
        told = ["×".join(map(str, reversed(one.shape[1:]))) for one in (mask, image)]
        raise DataError(f"{found[0]} is {told[0]} pixels, but its image is {told[1]}: a mask has the size of its image.")
    return F.interpolate(mask[None].float(), size=(size, size), mode="nearest-exact")[0] > 127


def _require_no_more_masks(root: Path, place: Path, files: list[Path]) -> None:
    masks = root / PARTS["test"] / "masks"
    known = {file.relative_to(place).with_suffix("") for file in files}
    more = [file for file in files_below(masks, ENDINGS) if file.relative_to(masks).with_suffix("") not in known]
    if more:
        raise DataError(f"{more[0]} is a mask without an image ({len(more)} of them): images and masks have the same names.")


def ws2(asked: Request) -> Dataset:
    """WS² in the folder ``WS2`` of the data root; ``DataError`` where there is none, and errors as :func:`folders`."""
    place = asked.root / "WS2"
    if not place.is_dir():
        raise DataError(f"ws2: {place} is missing. It is Zenodo record 14793518: put it there in the layout of data/README.md, or set "
                        "COURSE_DATA to the folder that holds it.")
    return folders(place, asked.split)
