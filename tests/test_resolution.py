"""Low and mixed resolution, against loops over pixels, and a peer."""

import pytest
import torch
from PIL import Image

from course_lib.batches import to_uint8
from course_lib.resolution import central_box, low_resolution, mixed_resolution, random_low_resolution


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


IMAGES = torch.rand(4, 3, 8, 12, generator=seeded())


def by_loops(images, factor):
    """Every pixel is the mean of the block it lies in."""
    made = torch.empty_like(images)
    for y in range(images.shape[2]):
        for x in range(images.shape[3]):
            top, left = y // factor * factor, x // factor * factor
            made[:, :, y, x] = images[:, :, top : top + factor, left : left + factor].mean(dim=(2, 3))
    return made


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_nearest_against_a_loop(factor):
    assert torch.allclose(low_resolution(IMAGES, factor, "nearest"), by_loops(IMAGES, factor), atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_both_ways_see_the_same_small_image(factor):
    small = low_resolution(IMAGES, factor, "nearest")[..., ::factor, ::factor]
    assert torch.equal(low_resolution(IMAGES, factor, "bicubic"),
                       torch.nn.functional.interpolate(small, size=(8, 12), mode="bicubic").clamp(0, 1))  # fmt: skip


def test_the_small_image_is_that_of_pillow():
    gray = to_uint8(IMAGES[:1, :1])
    small = Image.fromarray(gray[0, 0].numpy()).resize((6, 4), Image.Resampling.BOX)
    ours = to_uint8(low_resolution(gray.float() / 255, 2, "nearest"))[0, 0, ::2, ::2]
    assert (ours.int() - torch.tensor(list(small.tobytes())).view(4, 6)).abs().max() <= 1, "but for rounding"


def test_each_image_gets_a_kind_of_its_own_and_all_kinds_occur():
    many = IMAGES[:1].expand(400, -1, -1, -1)
    kinds = [low_resolution(IMAGES[:1], factor, way)[0] for factor in (2, 4) for way in ("nearest", "bicubic")]
    made = random_low_resolution(many, (2, 4), seeded(1))
    counts = [sum(torch.equal(one, kind) for one in made) for kind in kinds]
    assert sum(counts) == 400 and all(70 < count < 130 for count in counts)
    only = random_low_resolution(many, (4,), seeded(1), enlarging=("nearest",))
    assert all(torch.equal(one, kinds[2]) for one in only)


def test_mixed_resolution_against_a_loop():
    low = by_loops(IMAGES, 4)
    boxes = torch.tensor([[0, 0, 8, 12], [2, 3, 5, 9], [4, 4, 4, 4], [7, 0, 8, 1]])
    made = mixed_resolution(IMAGES, low, boxes)
    for i, (top, left, bottom, right) in enumerate(boxes.tolist()):
        for y in range(8):
            for x in range(12):
                inside = top <= y < bottom and left <= x < right
                assert torch.equal(made[i, :, y, x], (IMAGES if inside else low)[i, :, y, x])
    assert torch.equal(mixed_resolution(IMAGES, low, boxes[:1]), IMAGES), "one box for all"


@pytest.mark.parametrize(("side", "box"), [(0, [4, 6, 4, 6]), (3, [2, 4, 5, 7]), (8, [0, 2, 8, 10])])
def test_central_box(side, box):
    assert central_box(IMAGES, side).tolist() == [box]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: low_resolution(to_uint8(IMAGES), 2, "nearest"), TypeError, "batches.to_float"),
        (lambda: low_resolution(IMAGES, 3, "nearest"), ValueError, "8×12 pixels cannot be shrunk by factor = 3"),
        (lambda: low_resolution(IMAGES, 0, "nearest"), ValueError, "factor = 0, but it must be at least 1"),
        (lambda: low_resolution(IMAGES, 2.5, "nearest"), ValueError, "factor = 2.5.*whole number"),
        (lambda: low_resolution(IMAGES, 2, "linear"), ValueError, 'enlarging = "linear", but it must be one of nearest, bicubic'),
        (lambda: mixed_resolution(IMAGES, IMAGES[:2], torch.zeros(4, 4).long()), ValueError, "both must be alike"),
        (lambda: mixed_resolution(IMAGES, IMAGES, torch.zeros(4, 4)), TypeError, "boxes: a tensor of integers"),
        (lambda: mixed_resolution(IMAGES, IMAGES, torch.zeros(3, 4).long()), ValueError, r"boxes are \(3, 4\), but \(4, 4\) is expected"),
        (lambda: mixed_resolution(IMAGES, IMAGES, torch.tensor([[0, 0, 9, 12]])), ValueError,
         r"region of interest .* = \(0, 0, 9, 12\) is not inside the image, which has 8 rows and 12 columns"),
        (lambda: mixed_resolution(IMAGES, IMAGES, torch.tensor([[-1, 0, 8, 12]])), ValueError, r"\(-1, 0, 8, 12\) is not inside"),
        (lambda: mixed_resolution(IMAGES, IMAGES, torch.tensor([[5, 0, 4, 12]])), ValueError, r"top ≤ bottom"),
        (lambda: central_box(IMAGES, 9), ValueError, "side of the region of interest = 9, but it must lie in 0 to 8"),
    ],
)  # fmt: skip
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
