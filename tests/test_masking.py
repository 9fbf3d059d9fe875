"""Masks and maskers: probabilities by chi-square, values against loops, and no pixel lost because of what its value is."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from timing import times_as_fast

from course_lib.self_supervised_denoising import masking

MASKERS = ("neighbour", "neighbour or centre", "mean", "median", "random value")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(*shape):
    """Images whose values tell where they come from."""
    return torch.arange(math.prod(shape[2:]), dtype=torch.float64).view(1, 1, *shape[2:]).expand(shape).contiguous()


# --- sampling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "side"), [(0.015, 8), (1 / 64, 8), (0.00198, 22), (0.06, 4), (0.2, 2), (0.9, 1)])
def test_box_side(ratio, side):
    assert masking.box_side(ratio) == side


@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, math.nan, 15])
def test_ratio_outside(ratio):
    with pytest.raises(ValueError, match="mask_ratio = .*, but it must (lie between 0 and 1|be finite)"):
        masking.stratified(torch.zeros(1, 1, 8, 8), ratio, seeded())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (30, 21)])
def test_one_uniform_pixel_in_each_box(height, width):
    count, side = 4000, 4
    chosen = masking.stratified(torch.zeros(count, 1, height, width), 1 / 16, seeded())
    mask = chosen.mask(torch.zeros(count, 1, height, width))
    boxes = torch.nn.functional.avg_pool2d(mask[..., : height // side * side, : width // side * side], side, divisor_override=1)
    assert (boxes == 1).all(), "exactly one in each whole box"
    hits = mask.sum((0, 1)).flatten().numpy()
    expected = count / side**2  # for every pixel, also in boxes that the border cuts
    chi = ((hits - expected) ** 2 / (expected * (1 - 1 / side**2))).sum()
    # in a whole box the hits are multinomial: one degree of freedom less each
    free = hits.size - (height // side) * (width // side)
    assert stats.chi2.sf(chi * (1 - 1 / side**2), free) > 1e-4 and mask.mean().item() == pytest.approx(1 / 16, rel=0.02)
    assert chosen.inside.sum() == mask.sum()


def test_channels_and_images_have_masks_of_their_own():
    images = torch.zeros(2, 3, 64, 64)
    mask = masking.stratified(images, 1 / 64, seeded()).mask(images).flatten(0, 1).flatten(1)
    overlap = mask @ mask.T
    assert (overlap.diagonal() == 64).all() and (overlap - overlap.diagonal().diag()).max() < 10
    again = masking.stratified(images, 1 / 64, seeded()).mask(images).flatten(0, 1).flatten(1)
    assert torch.equal(mask, again)


def test_phases_of_a_grid_are_all_pixels_once():
    images = torch.zeros(2, 1, 9, 14)
    masks = [masking.grid(images, 4, phase).mask(images) for phase in range(16)]
    assert torch.equal(sum(masks), torch.ones_like(images))
    for wrong in ((1, 0), (4, 16), (4, -1)):
        with pytest.raises(ValueError, match="a grid has a side of at least 2, and a phase"):
            masking.grid(images, *wrong)


# --- maskers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masker", ["neighbour", "neighbour or centre"])
@pytest.mark.parametrize("place", [(4, 4), (0, 0), (8, 3), (1, 8)])
def test_every_neighbour_is_equally_likely(masker, place):
    """Chi-square over the offsets that there are, at the middle, in a corner and at the borders."""
    count, radius, side = 12_000, 2, 9
    images = numbered(count, 1, side, side)
    y, x = (torch.full((count, 1, 1), p) for p in place)
    chosen = masking.Positions(y, x, torch.ones(count, 1, 1, dtype=torch.bool), (side, side))
    made = masking.replaced(images, chosen, masker, radius, seeded())
    values = made[:, 0, place[0], place[1]].long()
    possible = [
        i * side + j
        for i in range(max(0, place[0] - radius), min(side, place[0] + radius + 1))
        for j in range(max(0, place[1] - radius), min(side, place[1] + radius + 1))
        if masker == "neighbour or centre" or (i, j) != place
    ]
    hits = np.bincount(values, minlength=side * side)
    assert hits[possible].sum() == count, "no value from elsewhere"
    assert stats.chisquare(hits[possible]).pvalue > 1e-4


def by_hand(image, place, masker, radius):
    around = [
        image[i, j].item()
        for i in range(max(0, place[0] - radius), min(image.shape[0], place[0] + radius + 1))
        for j in range(max(0, place[1] - radius), min(image.shape[1], place[1] + radius + 1))
        if (i, j) != place
    ]
    return np.mean(around) if masker == "mean" else np.median(around)


@pytest.mark.parametrize("masker", ["mean", "median"])
@pytest.mark.parametrize("radius", [1, 2])
def test_mean_and_median_against_a_loop(masker, radius):
    images = torch.randn(2, 2, 7, 10, generator=seeded(), dtype=torch.float64)
    chosen = masking.stratified(images, 0.25, seeded(1))
    mask, made = chosen.mask(images), masking.replaced(images, chosen, masker, radius, seeded())
    for b, c, y, x in np.ndindex(tuple(images.shape)):
        expected = by_hand(images[b, c], (y, x), masker, radius) if mask[b, c, y, x] else images[b, c, y, x].item()
        assert made[b, c, y, x].item() == pytest.approx(expected, abs=1e-12)


def test_random_values_are_uniform():
    images = torch.full((64, 1, 64, 64), 5.0)
    chosen = masking.stratified(images, 1 / 16, seeded())
    values = masking.replaced(images, chosen, "random value", 1, seeded(1))[chosen.mask(images).bool()]
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("masker", MASKERS)
@pytest.mark.parametrize("shape", [(1, 1, 5, 5), (2, 3, 17, 12), (1, 1, 2, 9)])
def test_only_chosen_pixels_change_and_all_of_them_are_told(masker, shape):
    images = torch.rand(shape, generator=seeded()) + 10
    copy, chosen = images.clone(), masking.stratified(images, 0.1, seeded(1))
    made = masking.replaced(images, chosen, masker, 2, seeded(2))
    mask = chosen.mask(images).bool()
    assert torch.equal(images, copy) and torch.equal(made[~mask], images[~mask]) and made.dtype == images.dtype
    constant = torch.full(shape, 0.5)
    assert chosen.mask(constant).bool().sum() == mask.sum(), "a constant patch has as many masked pixels as any"
    assert torch.equal(made, masking.replaced(images, chosen, masker, 2, seeded(2)))
    if masker == "neighbour":
        assert (made[mask] != images[mask]).all(), "never the pixel itself"


@pytest.mark.parametrize(
    ("masker", "radius", "size", "message"),
    [("nearest", 2, 8, 'unknown masker "nearest"; there are neighbour, neighbour or centre, mean'),
     ("mean", 0, 8, "radius = 0"), ("neighbour", 1, 1, "a pixel needs neighbours")],
)  # fmt: skip
def test_wrong_input(masker, radius, size, message):
    images = torch.zeros(1, 1, size, size)
    with pytest.raises(ValueError, match=message):
        masking.replaced(images, masking.stratified(images, 0.1, seeded()), masker, radius, seeded())


def test_integer_images():
    with pytest.raises(TypeError, match="floating point"):
        masking.stratified(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), 0.1, seeded())


def test_much_faster_than_a_loop_over_pixels():
    """Twenty-one times on a quiet core; what is asserted holds on a busy one too."""
    images = torch.rand(32, 1, 64, 64, generator=seeded())
    rng = np.random.default_rng(0)

    def loop():
        patches, side = images.numpy().copy(), 8
        masks = np.zeros_like(patches)
        for patch, mask in zip(patches[:, 0], masks[:, 0], strict=True):
            untouched = patch.copy()
            for i in range(0, 64, side):
                for j in range(0, 64, side):
                    y, x = i + rng.integers(side), j + rng.integers(side)
                    window = untouched[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
                    patch[y, x] = window[rng.integers(window.shape[0]), rng.integers(window.shape[1])]
                    mask[y, x] = 1

    def vectorised():
        chosen = masking.stratified(images, 1 / 64, seeded())
        chosen.mask(images)
        masking.replaced(images, chosen, "neighbour or centre", 2, seeded())

    assert times_as_fast(vectorised, loop) > 2
