"""Training batches of a fixed shape, made on the device by indexing.

The images stay on the device as uint8 for the whole run. A batch is then a handful of tensor operations without a
loop over images, a worker process or a copy from the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks


def to_float(images: Tensor) -> Tensor:
    """8-bit images as float32 in [0, 1], of the same shape.

    Raises:
        TypeError: unless the images are uint8.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8:
        raise TypeError(
            f"images are {checks.described(images)}, but 8-bit images (torch.uint8) are expected: batches.to_uint8 makes them of a tensor "
            "on the [0, 1] scale."
        )
    return images.float().div_(255)  # in the memory of the new tensor


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1], clamped and rounded to 8 bit, of the same shape.

    Raises:
        TypeError: unless the images are floating point: 8-bit ones would become black and white.
        ValueError: for NaN or infinite values, and for images on the 0–255 scale (not looked at on a GPU).
    """
    if not isinstance(images, Tensor) or images.dtype not in checks.FLOATING:
        raise TypeError(f"images are {checks.described(images)}, but floating-point images in [0, 1] are expected.")
    if images.device.type == "cpu" and images.numel():
        checks.require_scale(images)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def require_eight_bit(images) -> list[Tensor]:
    """The images as a list, if they are uint8 tensors ``(C, H, W)`` or one ``(N, C, H, W)``; a data set stands for its images.

    Raises:
        TypeError: for images that are not uint8 tensors.
        ValueError: for another shape, or the noisy photographs of a data set that has their clean counterparts beside them.
    """
    if getattr(images, "truth", None) is not None:
        raise ValueError(f"the images of {images.name} are noisy, and their truth is beside them: they are not to be taken for clean ones.")
    images = getattr(images, "images", images)
    if isinstance(images, str | bytes) or not isinstance(images, Iterable) or getattr(images, "shape", None) == ():
        raise TypeError(f"images are {checks.described(images)}, but 8-bit images (C, H, W) are expected.")
    images = list(images)  # an iterator can be used once only
    for image in images:
        if isinstance(image, Tensor) and image.dim() != 3:
            raise ValueError(
                f"an image has shape {tuple(image.shape)}, but (C, H, W) is expected: add the channel of a gray one with image[None]."
            )
        checks.tensor(image, "an image", ("C", "H", "W"), of="8-bit")
    return images


def resized(image: Tensor, scale: float) -> Tensor:
    """A uint8 image ``(C, H, W)`` made smaller or larger by bicubic interpolation with antialiasing; errors as :mod:`course_lib.checks`."""
    if (scale := checks.number(scale, "scale", 0, 64, inside=True)) == 1:
        return image
    checks.require_images(images := to_float(image)[None])
    return to_uint8(F.interpolate(images, size=[max(1, round(n * scale)) for n in image.shape[-2:]], mode="bicubic", antialias=True)[0])


def center(image: Tensor, size: int) -> Tensor:
    """The central ``size`` × ``size`` pixels of an image ``(C, H, W)``, fewer where it is smaller; errors as :mod:`course_lib.checks`."""
    size = checks.whole(size, "size", 1)
    top, left = ((side - min(size, side)) // 2 for side in checks.tensor(image, "image", ("C", "H", "W"), finite=False).shape[-2:])
    return image[:, top : top + size, left : left + size]


def square(image: Tensor, size: int) -> Tensor:
    """A uint8 image ``(C, H, W)`` shrunk to ``size`` on its shorter side, and cut to its centre: ``(C, size, size)``."""
    return center(resized(image, size / min(image.shape[-2:])), size)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images ``(B, C, H, W)`` continued at the right and at the bottom up to sides that are multiples of ``multiple``.

    They are mirrored; repeated at the border where they are too small to mirror. ``[..., :H, :W]`` of the result are the images.
    """
    height, width = images.shape[-2:]
    right, below = -width % multiple, -height % multiple
    return F.pad(images, (0, right, 0, below), mode="reflect" if right < width and below < height else "replicate")


class ImagePool:
    """Images of any sizes as one flat uint8 tensor, from which random patches are cut.

    Each possible position of a patch in any of the images is equally likely, so a large image gives more patches than
    a small one, as if all patches had been cut out beforehand and shuffled.

    Args:
        images: uint8 tensors ``(C, H, W)`` with the same number of channels, or one tensor ``(N, C, H, W)``.
        patch_size: side of the square patches, in pixels.
        scales: each image enters once at each of these sizes; 1 is its own.

    Raises:
        TypeError: for images that are not uint8.
        ValueError: for no images, for differing channels, or where an image is smaller than a patch.
    """

    def __init__(self, images, patch_size: int, scales: tuple[float, ...] = (1.0,)):
        images = self.accepted(images)
        scales = tuple(checks.number(scale, "scales", 0, 100, inside=True) for scale in scales)
        pyramid = [resized(image, scale) for scale in scales for image in images]
        if not pyramid:
            raise ValueError("there are no images to cut patches from.")
        if len({image.shape[0] for image in pyramid}) > 1:
            raise ValueError(
                f"images have {sorted({image.shape[0] for image in pyramid})} channels: give all gray or all colour images."
            )
        patch_size = checks.whole(patch_size, "patch_size")
        small = min(min(image.shape[-2:]) for image in pyramid)
        if not 1 <= patch_size <= small:
            raise ValueError(
                f"patch_size = {patch_size}, but the smallest image side is {small} pixels (at scales {scales}): choose "
                f"1 to {small}, or leave out the small scales."
            )
        self.patch_size = patch_size
        self.channels = pyramid[0].shape[0]
        self.pixels = torch.cat([image.reshape(-1) for image in pyramid])
        sizes = torch.tensor([image.shape for image in pyramid])  # (N, 3): C, H, W
        self.heights, self.widths = sizes[:, 1], sizes[:, 2]
        self.starts = F.pad(sizes.prod(1).cumsum(0)[:-1], (1, 0))  # where each image begins in `pixels`
        self.ends = ((self.heights - patch_size + 1) * (self.widths - patch_size + 1)).cumsum(0)
        self.positions = int(self.ends[-1])
        """Number of different patches in the pool."""

    accepted = staticmethod(require_eight_bit)
    """The images as a list of tensors ``(C, H, W)``, if they are of the kind that this pool keeps."""

    values = staticmethod(to_float)
    """What a patch has of the pixels that are kept."""

    def to(self, device: torch.device | str) -> ImagePool:
        """Move everything to ``device``, in place; returns the pool."""
        for name in ("pixels", "heights", "widths", "starts", "ends"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def patches(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` random patches, each turned and mirrored in one of the 8 ways of a square.

        Args:
            count: how many.
            generator: the source of the draws, on the pool's device.

        Returns:
            ``(count, C, patch_size, patch_size)`` float32 in [0, 1].

        Raises:
            TypeError: for no generator.
        """
        checks.generator(generator)
        p, device = self.patch_size, self.pixels.device
        position = torch.randint(self.positions, (count,), generator=generator, device=device)
        turn = torch.randint(2, (3, count, 1, 1), generator=generator, device=device).bool()
        image = torch.searchsorted(self.ends, position, right=True)  # (count,)
        within = position - F.pad(self.ends, (1, 0))[image]
        columns = self.widths[image] - p + 1
        top, left = within // columns, within % columns

        row, column = torch.arange(p, device=device).view(1, p, 1), torch.arange(p, device=device).view(1, 1, p)
        y = torch.where(turn[0], column, row)  # (count, p, p): transposed or not
        x = torch.where(turn[0], row, column)
        y = torch.where(turn[1], p - 1 - y, y)  # mirrored top to bottom
        x = torch.where(turn[2], p - 1 - x, x)  # mirrored left to right
        width = self.widths[image].view(-1, 1, 1)
        inside = (top.view(-1, 1, 1) + y) * width + left.view(-1, 1, 1) + x
        plane = (self.heights * self.widths)[image]
        channel = torch.arange(self.channels, device=device).view(1, -1, 1, 1)
        index = (self.starts[image].view(-1, 1, 1, 1) + channel * plane.view(-1, 1, 1, 1)) + inside[:, None]
        return self.values(self.pixels[index])


class FloatPool(ImagePool):
    """The same of floating-point images, such as noisy ones, which are neither rounded to 8 bits nor clipped.

    They enter at their own size; shots of one scene are stacked as channels, so that a patch is cut from all of them at one place.
    """

    def __init__(self, images, patch_size: int):
        super().__init__(images, patch_size)

    @staticmethod
    def accepted(images) -> list[Tensor]:
        """The images as a list of tensors ``(C, H, W)``; ``TypeError`` unless they are floating point, ``ValueError`` for another shape."""
        images = list(images)
        for image in images:
            if getattr(image, "dtype", None) == torch.uint8:
                raise TypeError("images are torch.uint8, but floating-point ones are expected: 8-bit noise is rounded and clipped.")
            checks.tensor(image, "an image", ("C", "H", "W"), of="floating")
        return images

    @staticmethod
    def values(images: Tensor) -> Tensor:
        """The pixels as they are, of any shape."""
        return images


class IdentityPool:
    """Images of one size with identities, from which batches of P identities × K images are drawn.

    Args:
        images: uint8 ``(N, C, H, W)``.
        identities: ``(N,)`` integers, such as the numbers of persons; any values.

    Raises:
        TypeError: for images that are not uint8.
        ValueError: for a wrong shape, or another number of identities than of images.
    """

    def __init__(self, images: Tensor, identities: Tensor):
        checks.tensor(images, "images", ("N", "C", "H", "W"), of="8-bit")
        if not len(images):
            raise ValueError("there are no images to draw batches from.")
        if checks.tensor(identities, "identities", ("N",), of="integers").shape != images.shape[:1]:
            raise ValueError(f"there are {len(images)} images, but {len(identities)} identities.")
        order = identities.argsort(stable=True)
        self.images = images[order]
        self.names, counts = identities[order].unique_consecutive(return_counts=True)
        self.counts, self.starts = counts, F.pad(counts.cumsum(0)[:-1], (1, 0))
        self.channels = images.shape[1]

    def __len__(self) -> int:
        """Number of identities."""
        return len(self.names)

    def to(self, device: torch.device | str) -> IdentityPool:
        """Move everything to ``device``, in place; returns the pool."""
        for name in ("images", "names", "counts", "starts"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def pk(self, p: int, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """K images of each of P different identities: ``(P · K, C, H, W)`` float32 in [0, 1], and their identities ``(P · K,)``.

        The K images of one identity are different ones where it has as many, else all of them in turn.

        Raises:
            TypeError: for no generator.
            ValueError: for p or k below 1, or more identities than there are.
        """
        checks.generator(generator)
        if not 1 <= p <= len(self) or k < 1:
            raise ValueError(f"p = {p}, k = {k}, but there are {len(self)} identities: p must lie in 1 to {len(self)}, k be at least 1.")
        device = self.images.device
        chosen = torch.rand(len(self), generator=generator, device=device).argsort()[:p]
        counts, starts = self.counts[chosen, None], self.starts[chosen, None]
        draws = torch.rand(p, int(self.counts.max()), generator=generator, device=device)
        beyond = torch.arange(draws.shape[1], device=device) >= counts  # an identity has fewer images than the largest one
        order = draws.masked_fill(beyond, 2).argsort(dim=1)  # (p, most): a random order of each identity's own images
        place = order.gather(1, torch.arange(k, device=device).expand(p, k) % counts)
        return to_float(self.images[(starts + place).flatten()]), self.names[chosen].repeat_interleave(k)


def shots(
    images: Tensor, generator: torch.Generator, *, shift: float = 0.0, angle: float = 0.0, light: float = 0.0
) -> Tensor:
    """Another shot of each image: moved, turned, and in another light, each by its own random amount.

    Args:
        images: ``(B, C, H, W)`` floating point in [0, 1].
        generator: the source of the draws, on the device of the images.
        shift: most that an image moves in either direction, as a fraction of its side.
        angle: most that it is turned either way, in degrees.
        light: contrast and brightness change by up to this: values v become clamp((1 + a) v + b), a and b between −light and light.

    Returns:
        Images in the shape of ``images``; what comes in from outside continues the border.

    Raises:
        TypeError: for integer images, no generator, or a strength that is no number.
        ValueError: for images of a wrong shape or scale, or a strength that is negative, or too large to mean anything.
    """
    checks.generator(generator)
    checks.require_images(images)
    checks.number(shift, "shift", 0, 1)
    checks.number(angle, "angle", 0, 180)
    checks.number(light, "light", 0, 1)
    count, device = len(images), images.device

    def uniform(most: float) -> Tensor:
        return most * (2 * torch.rand(count, generator=generator, device=device) - 1)

    turn, right, down = uniform(math.radians(angle)), uniform(2 * shift), uniform(2 * shift)
    height, width = images.shape[-2:]
    cos, sin = turn.cos(), turn.sin()
    matrix = torch.stack([cos, -sin * height / width, right, sin * width / height, cos, down], dim=1).view(-1, 2, 3)
    exact = images if images.dtype == torch.float64 else images.float()  # 16 bits are too few for where a pixel comes from
    grid = F.affine_grid(matrix.to(exact), list(images.shape), align_corners=False)
    moved = F.grid_sample(exact, grid, mode="bilinear", padding_mode="border", align_corners=False)
    contrast, brightness = (uniform(light).view(-1, 1, 1, 1) for _ in range(2))
    return ((1 + contrast) * moved + brightness).clamp(0, 1).to(images)
