"""Scenes of a sorting line, drawn by this file: a conveyor with objects, before and after somebody took the illegal ones away.

A pair of scenes shows one place of the line. *Before*, lawful objects lie among one or two illegal ones. *After*, the illegal ones are
gone, every lawful one lies elsewhere, and the belt has brought as many new lawful ones as were taken away: neither the number of
objects nor the difference of the two pictures tells what is illegal. Nor does colour: every kind of object comes in every colour. What
tells is shape and pattern alone.

The two classes were filmed at two times of the day: their light has another colour, strength and direction, and their belts another
wear. This is how a classifier of before and after can be right without looking at an object. How large the difference is, is set by
``light`` and ``belt``: 1 as described, 0 none, and -1 gives every class the light or the belt of the other one, and leaves all else
as it is.

Nothing here is photographed. The lecture's own data set is WS² (Marelli and others, 2025), see :mod:`course_lib.data.sorting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import checks, rng
from course_lib.data.dataset import Dataset, Request

CLASSES = ("after", "before")  # the labels 0 and 1; background, where it is a class, is 2
SIZE = 64  # pixels of a side
COUNT = {"train": 500, "test": 100}  # pairs
PLACES = 3  # objects lie in a jittered grid of 3 × 3 places, so that they hardly overlap
LAWFUL_COUNT, ILLEGAL_COUNT = (2, 3), (1, 2)  # fewest and most in a scene before
RADIUS = (9.0, 11.0)  # pixels, of half an object
REACH = 15  # pixels: half the side of a window that holds any object with its shadow

# Light of the two classes as gains of red, green and blue, and the belt's own brightness.
LIGHT = {"before": (1.02, 0.92, 0.80), "after": (0.86, 0.95, 1.04)}
BELT_TONE = {"before": 0.30, "after": 0.40}


class Drawn(NamedTuple):
    """Scenes, the first half before and the second half after; number n and number n + N are a pair."""

    images: Tensor  # (2 N, 3, size, size) uint8
    labels: Tensor  # (2 N,) int64: 1 before, 0 after
    illegal: Tensor  # (2 N, 1, size, size) booleans: pixels of illegal objects; none after
    objects: Tensor  # (2 N, 1, size, size) booleans: pixels of any object


# --- the kinds of objects -------------------------------------------------------------------------------------------------
# A kind is a function of coordinates (u, v), in which the object fills about [-1, 1]²: a signed distance, negative inside, and a tone
# in [0, 1], where 1 is its second, darker colour.

Kind = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _box(u: Tensor, v: Tensor, width: float, height: float, corner: float = 0.1) -> Tensor:
    """Signed distance of a rectangle with half sides ``width`` and ``height`` and round corners."""
    x, y = u.abs() - width + corner, v.abs() - height + corner
    return torch.hypot(x.clamp(min=0), y.clamp(min=0)) + torch.maximum(x, y).clamp(max=0) - corner


def _band(x: Tensor, at: float, half: float) -> Tensor:
    """1 where |x − at| < half, with a soft border."""
    return (5 * (half - (x - at).abs()) + 0.5).clamp(0, 1)


def _waves(x: Tensor) -> Tensor:
    """Stripes between 0 and 1 with soft borders."""
    return (0.5 + 1.2 * x.sin()).clamp(0, 1)


def _lid(u, v):
    radius = torch.hypot(u, v)
    return radius - 0.9, _band(radius, 0.6, 0.08)


def _tray(u, v):
    shape = _box(u, v, 0.95, 0.7, 0.2)
    return shape, _band(shape, -0.28, 0.07)


def _bottle(u, v):
    return torch.minimum(_box(u, v - 0.25, 0.5, 0.72, 0.25), _box(u, v + 0.7, 0.2, 0.3, 0.05)), _band(v, -0.9, 0.15)


def _cup(u, v):
    return torch.maximum(u.abs() - 0.55 - 0.22 * v, v.abs() - 0.85), _band(v, 0.7, 0.12)


def _film(u, v):
    radius, angle = torch.hypot(u, v), torch.atan2(v, u)
    return radius - 0.75 - 0.12 * (3 * angle).sin(), (0.3 + 0.3 * u).clamp(0, 1)


def _tub(u, v):
    return _box(u, v, 0.8, 0.8, 0.45), (6 * ((6 * u).cos() * (6 * v).cos() - 0.5)).clamp(0, 1)


def _tin(u, v):
    return _box(u, v, 0.62, 0.95, 0.08), _waves(13 * v)


def _net(u, v):
    return torch.hypot(u, v) - 0.92, torch.maximum(_waves(12 * u), _waves(12 * v))


def _coil(u, v):
    radius = torch.hypot(u, v)
    return radius - 0.92, _waves(14 * radius)


def _star(u, v):
    radius, angle = torch.hypot(u, v), torch.atan2(v, u)
    return radius - 0.72 - 0.24 * (5 * angle).sin(), torch.zeros_like(u)


def _board(u, v):
    return _box(u, v, 0.82, 0.82, 0.05), _waves(9 * u) * _waves(9 * v) + (1 - _waves(9 * u)) * (1 - _waves(9 * v))


def _pliers(u, v):
    return torch.minimum(_box(u + v, u - v, 1.15, 0.32, 0.05), _box(u - v, u + v, 1.15, 0.32, 0.05)), _band(torch.hypot(u, v), 0.0, 0.15)


LAWFUL: dict[str, Kind] = {"lid": _lid, "tray": _tray, "bottle": _bottle, "cup": _cup, "film": _film, "tub": _tub}
ILLEGAL: dict[str, Kind] = {"tin": _tin, "net": _net, "coil": _coil, "star": _star, "board": _board, "pliers": _pliers}


# --- scenes ---------------------------------------------------------------------------------------------------------------


def draw(
    count: int, split: str = "train", *, seed: int = 0, size: int = SIZE, light: float = 1.0, belt: float = 1.0
) -> Drawn:
    """``count`` pairs of scenes, all drawn in one pass.

    Args:
        count: pairs; the scenes of one count are not the first ones of a larger count.
        split: ``"train"`` or ``"test"``, which have no scene in common.
        seed: of every draw. ``light`` and ``belt`` change what they say and nothing else, so that the same objects lie at the same
            places.
        size: pixels of a side; objects keep their size in pixels, and there are as many.
        light: difference between the light of the two classes: 1 as filmed, 0 none, -1 each class in the light of the other.
        belt: the same of their belts.

    Returns:
        Images ``(2 · count, 3, size, size)`` uint8 with labels and masks, see :class:`Drawn`.

    Raises:
        TypeError: for anything but numbers.
        ValueError: for an unknown split, no pair, sides below 48 pixels, or a difference outside of -1 to 1.
    """
    if split not in COUNT:
        raise ValueError(f'split = "{split}", but it must be one of {", ".join(COUNT)}.')
    count, size = checks.whole(count, "count", 1), checks.whole(size, "size", 48)
    light, belt = checks.number(light, "light", -1, 1), checks.number(belt, "belt", -1, 1)

    def stream(purpose: str) -> torch.Generator:
        return rng.generator(seed, 0, 0, f"scenes, {split}, {purpose}")

    kinds, colors = _objects(count, stream("objects"))
    taken = kinds >= len(LAWFUL)  # for each illegal object that is taken away the belt brings a lawful one
    after = torch.where(taken, torch.randint(len(LAWFUL), kinds.shape, generator=stream("new objects")), kinds)
    new_colors = torch.where(taken[..., None], _vivid(torch.rand(colors.shape, generator=stream("new colors"))), colors)
    both, places = torch.cat([kinds, after]), _places(2 * count, kinds.shape[1], size, stream("places"))
    sprites = _sprites(both, places, stream("sizes"))

    labels = torch.arange(2).flip(0).repeat_interleave(count)
    picture = F.pad(_belts(labels, size, belt, stream("belt")), (REACH,) * 4)
    seen = torch.zeros(2 * count, *picture.shape[2:], dtype=torch.uint8)  # 0 belt, 1 lawful, 2 illegal
    _paint(picture, seen, both, torch.cat([colors, new_colors]), places, sprites)
    inside = slice(REACH, REACH + size)
    picture = picture[..., inside, inside].mul_(_lights(labels, size, light, stream("light")))
    picture.add_(torch.randn(picture.shape, generator=stream("sensor")), alpha=0.012)
    seen = seen[:, None, inside, inside]
    return Drawn(picture.clamp_(0, 1).mul_(255).round_().to(torch.uint8), labels, seen == 2, seen > 0)


def _vivid(uniform: Tensor) -> Tensor:
    """Colours ``(…, 3)`` of uniform numbers, none as dark as the belt: the largest channel lies between 0.6 and 1."""
    strongest = uniform.amax(-1, keepdim=True).clamp(min=1e-3)
    return (uniform / strongest) ** 0.7 * (0.6 + 0.4 * strongest)


def _objects(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Kinds ``(count, slots)`` of the objects before, -1 where there is none and from ``len(LAWFUL)`` on illegal; colours ``(…, 3)``."""
    slots = LAWFUL_COUNT[1] + ILLEGAL_COUNT[1]
    lawful = torch.randint(LAWFUL_COUNT[0], LAWFUL_COUNT[1] + 1, (count, 1), generator=generator)
    illegal = torch.randint(ILLEGAL_COUNT[0], ILLEGAL_COUNT[1] + 1, (count, 1), generator=generator)
    slot = torch.arange(slots)
    of_lawful = torch.randint(len(LAWFUL), (count, slots), generator=generator)
    of_illegal = len(LAWFUL) + torch.randint(len(ILLEGAL), (count, slots), generator=generator)
    kinds = torch.where(slot < lawful, of_lawful, torch.where(slot < lawful + illegal, of_illegal, -1))
    order = torch.rand(count, slots, generator=generator).argsort(1)  # so that illegal ones do not always lie on top
    return kinds.gather(1, order), _vivid(torch.rand(count, slots, 3, generator=generator))


def _places(count: int, slots: int, size: int, generator: torch.Generator) -> Tensor:
    """Middles ``(count, slots, 2)`` of the objects in pixels, each in its own cell of the grid, and anywhere in it."""
    cell = torch.rand(count, PLACES**2, generator=generator).argsort(1)[:, :slots]
    corner = torch.stack([cell % PLACES, cell // PLACES], -1)
    jitter = 0.5 + 0.5 * (torch.rand(count, slots, 2, generator=generator) - 0.5)
    return (corner + jitter) * size / PLACES


def _sprites(kinds: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """Opacity and tone ``(2, count, slots, side, side)`` of every object, turned and sized at random, in a window around its middle.

    All objects of a kind are drawn at once. Where there is no object the opacity is 0.
    """
    turn = 2 * math.pi * torch.rand(kinds.shape, generator=generator)
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * torch.rand(kinds.shape, generator=generator)
    drawn = torch.zeros(2, *kinds.shape, 2 * REACH, 2 * REACH)
    for number, shape in enumerate((*LAWFUL.values(), *ILLEGAL.values())):
        scene, slot = (kinds == number).nonzero(as_tuple=True)
        pixels, angle = radius[scene, slot, None, None], turn[scene, slot, None, None]
        offset = (torch.arange(2 * REACH) - REACH + 0.5 - places[scene, slot, :, None] % 1) / pixels
        x, y = offset[:, 0, None, :], offset[:, 1, :, None]
        distance, tone = shape(angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x)
        drawn[:, scene, slot] = torch.stack([(0.5 - distance * pixels).clamp(0, 1), tone])
    return drawn


def _paint(picture: Tensor, seen: Tensor, kinds: Tensor, colors: Tensor, places: Tensor, sprites: Tensor) -> None:
    """Put shadows and objects on belts, in place: ``picture (count, 3, …)`` and ``seen (count, …)`` have a margin of ``REACH``.

    Objects lie on top of each other in the order of their slots, their shadows on the belt only.
    """
    scene = torch.arange(len(kinds))[:, None, None]
    corner = places.floor().long()  # of the window: the margin makes up for half of it
    windows = [
        (scene, corner[:, slot, 1, None, None] + torch.arange(2 * REACH)[:, None], corner[:, slot, 0, None, None] + torch.arange(2 * REACH))
        for slot in range(kinds.shape[1])
    ]
    by_pixel = picture.permute(0, 2, 3, 1)  # a view, in which a window has its channels last
    for slot, window in enumerate(windows):
        soft = F.avg_pool2d(F.pad(sprites[0, :, slot], (3, -3, 3, -3)), 5, 1, 2)  # moved to the lower right, and blurred
        by_pixel[window] *= 1 - 0.4 * soft[..., None]
    for slot, window in enumerate(windows):
        alpha, tone = sprites[:, :, slot, :, :, None]
        paint = colors[:, slot, None, None] * (1 - 0.65 * tone)
        by_pixel[window] = by_pixel[window].lerp(paint, alpha)
        lawful = kinds[:, slot, None, None] < len(LAWFUL)
        seen[window] = torch.where(alpha[..., 0] > 0.5, 2 - lawful.to(torch.uint8), seen[window])


def _mixed(labels: Tensor, of: dict, difference: float) -> Tensor:
    """For each scene the value of its class, moved towards the mean of both (difference 0) or to the other class (-1)."""
    values = torch.tensor([of[name] for name in CLASSES])
    middle = values.mean(0)
    return (middle + difference * (values - middle))[labels]


def _belts(labels: Tensor, size: int, difference: float, generator: torch.Generator) -> Tensor:
    """Empty belts ``(count, 3, size, size)``: streaks along the belt, most before, and cleats across it, most after."""
    count = len(labels)
    tone = _mixed(labels, BELT_TONE, difference).view(-1, 1, 1, 1) * (1 + 0.06 * torch.randn(count, 1, 1, 1, generator=generator))
    cloud = F.interpolate(torch.randn(count, 1, 6, 6, generator=generator), size=(size, size), mode="bicubic")
    streaks = torch.randn(count, 1, size, 1, generator=generator)
    phase = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=generator)
    cleats = ((2 * math.pi * torch.arange(size) / 16 + phase).cos() - 0.8).clamp(min=0) * 5
    along = _mixed(labels, {"before": 1.0, "after": 0.0}, difference).view(-1, 1, 1, 1)
    wear = 0.012 * cloud + 0.022 * along * streaks - 0.09 * (1 - along) * cleats
    return (tone + wear) * torch.tensor([1.0, 1.0, 1.02]).view(1, 3, 1, 1)


def _lights(labels: Tensor, size: int, difference: float, generator: torch.Generator) -> Tensor:
    """Gains ``(count, 3, size, size)``: colour and strength of the class, a little of the moment, and a slope over the picture."""
    count = len(labels)
    color = _mixed(labels, LIGHT, difference) * (1 + 0.05 * torch.randn(count, 1, generator=generator))
    slope = _mixed(labels, {"before": (-0.10, 0.06), "after": (0.10, 0.0)}, difference)
    axis = torch.linspace(-1, 1, size)
    plane = 1 + slope[:, 0, None, None] * axis + slope[:, 1, None, None] * axis[:, None]
    return color[:, :, None, None] * plane[:, None]


def scenes(asked: Request) -> Dataset:
    """Scenes of a split; those to test on come with the masks of their illegal objects."""
    drawn = draw(COUNT[asked.split], asked.split)
    names = tuple(f"{CLASSES[label]} {i % COUNT[asked.split]}" for i, label in enumerate(drawn.labels.tolist()))
    source = f"scenes of a sorting line drawn by course_lib.data.scenes, {asked.split} split"
    masks = drawn.illegal if asked.split == "test" else None
    return Dataset(asked.name, drawn.images, source, names, drawn.labels, CLASSES, masks=masks)
