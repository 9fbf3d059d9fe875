"""ImageNet, or any folder of photographs in its layout, read from the files as they are needed, with boxes around the objects.

Layout, below one folder::

    train/CLASS/*.JPEG      val/CLASS/*.JPEG      Annotation/CLASS/NAME.xml

``Annotation`` has the boxes of training images in the format of PASCAL VOC, as ImageNet distributes them, and may be missing. Its 1.3
million photographs do not fit into memory, so that a batch is decoded when it is drawn, by several threads.

The protocol is that of Na et al.: a crop of 50 to 80 % of the area, mirrored or not, resized to 244×244 (sic; 224 is usual). Choices of
ours where they are silent: the crop has the proportions of the photograph; of several boxes the largest counts; a photograph without a
box has no region of interest; a test image is the central crop of 80 % of the area. Boxes of test images are whatever ``Annotation`` has:
the paper lets a detector find them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib import checks
from course_lib.batches import require_eight_bit, to_float
from course_lib.data import DataError, open_image
from course_lib.labelled import in_order
from course_lib.noisy_classification import resnet
from course_lib.noisy_classification.resnet import ClassifierSettings
from course_lib.resolution import low_resolution, mixed_resolution
from course_lib.rng import Draws

AREA = (0.5, 0.8)
"""Least and most of the area of a photograph that a crop of the training has."""
FOR_THE_MEAN = 1000  # photographs that the mean colour is computed from
THREADS = 8


@dataclass(frozen=True, eq=False)
class Photographs:
    """Files with their classes: what :class:`course_lib.data.Dataset` is for images in memory."""

    name: str
    source: str
    files: tuple[Path, ...]
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]
    annotations: Path  # folder of the boxes; it need not be there

    def __len__(self) -> int:
        return len(self.files)

    def __str__(self) -> str:
        return f"{self.name}: {len(self)} photographs of {len(self.classes)} classes from {self.source}"

    @property
    def names(self) -> tuple[str, ...]:
        """CLASS/FILE of each."""
        return tuple(f"{file.parent.name}/{file.name}" for file in self.files)

    def box(self, index: int) -> tuple[float, float, float, float]:
        """The largest box of a photograph, (top, left, bottom, right) as fractions of its sides; all zeros where it has none.

        Raises:
            course_lib.data.DataError: for a file of boxes that cannot be read.
        """
        file = self.annotations / self.files[index].parent.name / f"{self.files[index].stem}.xml"
        if not file.is_file():
            return (0.0, 0.0, 0.0, 0.0)
        try:
            root = ElementTree.parse(file).getroot()
            width, height = (float(root.find(f"size/{side}").text) for side in ("width", "height"))
            boxes = [[float(box.find(side).text) for side in ("ymin", "xmin", "ymax", "xmax")] for box in root.iter("bndbox")]
        except (ElementTree.ParseError, AttributeError, TypeError, ValueError, OSError) as error:
            raise DataError(f"{file} is no file of boxes in the format of PASCAL VOC ({error}): get it again, or delete it.") from error
        if not boxes:
            return (0.0, 0.0, 0.0, 0.0)
        top, left, bottom, right = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        if not (0 < height < math.inf and 0 < width < math.inf):
            raise DataError(f"{file} says that the photograph has {height:g} rows and {width:g} columns: mend or delete it.")
        if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
            raise DataError(
                f"{file}: the region of interest (top, left, bottom, right) = ({top:g}, {left:g}, {bottom:g}, {right:g}) is not inside the "
                f"photograph, which has {height:g} rows and {width:g} columns."
            )
        return (top / height, left / width, bottom / height, right / width)


def photographs(folder: str | Path, split: str) -> Photographs:
    """The photographs of ``folder/split``, in folders that are their classes.

    Args:
        folder: the root of the layout above.
        split: ``"train"`` or ``"val"``.

    Raises:
        course_lib.data.DataError: for a folder that is missing, has no classes, or has a class without images, and for classes of
            ``val`` that are not those of ``train``, where that is there; with what to do.
    """
    from torchvision.datasets import ImageFolder

    place = Path(folder).expanduser() / split
    if not place.is_dir():
        raise DataError(f"{place} is missing: put a folder for each class there, with its photographs, as data/README.md says.")
    try:
        found = ImageFolder(str(place))
    except FileNotFoundError as error:  # torchvision names the classes that have no file
        what = "has no folders of classes in it" if "class folder" in str(error) else f"has a class without photographs ({error})"
        raise DataError(f"{place} {what}: a folder for each class is expected, with its photographs (JPEG, PNG, …).") from error
    hidden = [name for name in found.classes if name.startswith(".")]
    if hidden:
        raise DataError(f"{place / hidden[0]} is hidden, but would count as a class: delete that folder.")
    train = place.parent / "train"
    if split != "train" and train.is_dir():  # a class has its number from the names beside it
        others = set(found.classes) ^ {one.name for one in train.iterdir() if one.is_dir() and not one.name.startswith(".")}
        if others:
            raise DataError(f"{place} and {train} must have the same classes, but only one of them has {', '.join(sorted(others)[:3])}.")
    files, labels = zip(*found.samples, strict=True)
    return Photographs(
        "imagenet", f"{place.name} of a folder in the layout of ImageNet", tuple(map(Path, files)), torch.tensor(labels),
        tuple(found.classes), place.parent / "Annotation",
    )  # fmt: skip


def cut(image: Tensor, box: Sequence[float], *, size: int, area: float, at: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """A crop of a photograph, resized to a square, and its box in the pixels of that.

    Args:
        image: uint8 ``(C, H, W)``.
        box: (top, left, bottom, right) as fractions of the sides.
        size: side of the result.
        area: which share of the photograph the crop has, of its proportions.
        at: where it is: 0 for the top or left, 1 for the bottom or right.

    Returns:
        (uint8 ``(C, size, size)``, integers ``(4,)``: what is left of the box; without a pixel where nothing is).

    Raises:
        TypeError, ValueError: for anything but an 8-bit image, or a box, size, area or place that makes no sense.
    """
    if not require_eight_bit([image])[0].numel():
        raise ValueError(f"image has shape {tuple(image.shape)}: there is no pixel in it.")
    size, area = checks.whole(size, "size", 1, 2**14), checks.number(area, "area", 0, 1)
    at = tuple(checks.number(place, "at", 0, 1) for place in at)
    box = [checks.number(side, "box, in fractions of the sides,", 0, 1) for side in box]
    if len(box) != 4 or len(at) != 2:
        raise ValueError(f"box = {tuple(box)}, at = {at}: (top, left, bottom, right) and (down, across) are expected.")
    share = area**0.5
    height, width = (max(1, round(side * share)) for side in image.shape[-2:])
    top, left = round(at[0] * (image.shape[-2] - height)), round(at[1] * (image.shape[-1] - width))
    crop = to_float(image[:, top : top + height, left : left + width])[None]
    resized = F.interpolate(crop, size=(size, size), mode="bilinear", antialias=True)
    starts, sides = torch.tensor([top, left] * 2), torch.tensor([height, width] * 2)
    pixels = (torch.tensor(box) * torch.tensor([*image.shape[-2:]] * 2) - starts) * size / sides
    return (resized[0] * 255).round().to(torch.uint8), pixels.round().clamp(0, size).long()


class PhotographPool:
    """What batches are drawn from: the files of a :class:`Photographs`.

    Raises:
        ValueError: for another number of classes than the settings say, or photographs in gray by the settings.
    """

    def __init__(self, found: Photographs, settings: ClassifierSettings):
        if len(found.classes) != settings.classes or settings.channels != 3:
            raise ValueError(
                f"there are {len(found.classes)} classes of photographs in colour, but classes = {settings.classes}, channels = "
                f"{settings.channels}: set classes={len(found.classes)} channels=3."
            )
        self.found, self.size, self.labels = found, settings.size, found.labels
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.found)

    def to(self, device: torch.device | str) -> PhotographPool:
        """Where batches are put, in place; returns the pool."""
        self.device = torch.device(device)
        self.labels = self.labels.to(device)
        return self

    def read(self, numbers: Sequence[int], areas: Sequence[float], at: Sequence[tuple[float, float]]) -> tuple[Tensor, Tensor]:
        """Photographs by their numbers, cut as :func:`cut` does: uint8 ``(n, 3, size, size)``, and boxes ``(n, 4)``."""

        def one(number: int, area: float, place: tuple[float, float]) -> tuple[Tensor, Tensor]:
            return cut(open_image(self.found.files[number], color=True), self.found.box(number), size=self.size, area=area, at=place)

        with ThreadPoolExecutor(THREADS) as threads:
            images, boxes = zip(*threads.map(one, numbers, areas, at), strict=True)
        return torch.stack(images), torch.stack(boxes)

    def augmented(self, draws: Draws, count: int, *, padding: int, flip: bool) -> tuple[Tensor, Tensor, Tensor]:
        """(clean images ``(count, 3, size, size)`` in [0, 1], labels ``(count,)``, boxes ``(count, 4)``), cropped and mirrored at random.

        Nothing is padded, since a crop lies inside its photograph.
        """
        places = in_order(draws, len(self), count, self.device)
        uniform = torch.rand(4, count, generator=draws("crops"), device=self.device).cpu()
        areas = AREA[0] + (AREA[1] - AREA[0]) * uniform[0]
        images, boxes = self.read(places.tolist(), areas.tolist(), list(zip(*uniform[1:3].tolist(), strict=True)))
        mirrored = (uniform[3] < 0.5) & flip
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        turned = torch.stack([boxes[:, 0], self.size - boxes[:, 3], boxes[:, 2], self.size - boxes[:, 1]], dim=1)
        boxes = torch.where(mirrored[:, None], turned, boxes)
        return to_float(images.to(self.device)), self.labels[places], boxes.to(self.device)

    def mean_image(self) -> Tensor:
        """The mean colour of up to ``FOR_THE_MEAN`` photographs, evenly spread over the classes, as ``(3, size, size)``."""
        numbers = torch.linspace(0, len(self) - 1, min(FOR_THE_MEAN, len(self))).round().long().tolist()
        total = sum(to_float(self.read([i], [1.0], [(0.0, 0.0)])[0]).mean(dim=(0, 2, 3)) for i in numbers) / len(numbers)
        return total.view(3, 1, 1).expand(3, self.size, self.size)


def evaluate(
    model: nn.Module, pool: PhotographPool, *, indices: Sequence[int] | None = None, factor: int = 1, region: bool = False,
    at_once: int = 100,
) -> list[float]:  # fmt: skip
    """For each photograph, 100 where it is classified correctly, else 0: the mean is in percent.

    Args:
        model: a classifier, in evaluation mode.
        pool: of the test images, cut to the centre.
        indices: numbers of the photographs to look at; None for all.
        factor: by how much the resolution is lower, enlarged by nearest neighbour; 1 for not at all.
        region: does the box keep its resolution?
        at_once: photographs in memory at a time.

    Raises:
        TypeError, ValueError, course_lib.data.DataError: for numbers that there are not, a factor that does not divide the size,
            or files that cannot be read.
    """
    chosen, right = checks.indices(indices, len(pool)), []
    for start in range(0, len(chosen), checks.whole(at_once, "at_once", 1)):
        numbers = chosen[start : start + at_once]
        images, boxes = pool.read(numbers, [AREA[1]] * len(numbers), [(0.5, 0.5)] * len(numbers))
        clean = to_float(images)
        low = low_resolution(clean, factor, "nearest")
        said = resnet.logits(model, mixed_resolution(clean, low, boxes) if region else low).argmax(1)
        right += (100.0 * (said == pool.found.labels[numbers])).tolist()
    return right
