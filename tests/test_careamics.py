"""The masks and the loss of Noise2Void beside those of CAREamics, where the settings of both coincide.

CAREamics 0.3.5 pins lightning, pydantic, zarr and bioimageio, which is too much for a comparison of three functions. So its files
``lightning/modules/n2v_utils/pixel_manipulation.py`` and ``losses/n2v_losses.py`` were executed by themselves, once, and what they
returned stands here. Compared are

- ``_get_stratified_coords`` at a ratio of 1/16, where the side of its boxes is a whole number as ours always is: how often each place of a
  box is drawn, and how many points are left where the border cuts boxes;
- ``uniform_manipulate`` with its centre, which is our "neighbour or centre", away from the border (there it repeats pixels at the border,
  where ours cuts the neighbourhood);
- ``median_manipulate``: of an even number of values it takes the lower of the middle two, and of the negated image the upper one; ours is
  their mean;
- ``n2v_loss``.

Not compared is its default, which removes the centre: it leaves out the centre's whole row and column, and draws the offset +1 twice as
often as the others (seen here as well: 320, 668, 714 and 1,264 for the four neighbours that are left at radius 1).
"""

import numpy as np
import pytest
import torch
from scipy import stats

from course_lib.self_supervised_denoising import masking, noise2void

PLACES = [1880, 2021, 2014, 2009, 2011, 2015, 2019, 2069, 2020, 2021, 2010, 2027, 1969, 2044, 1935, 1936]
"""Hits of the 16 places of boxes of 4×4, row by row, in 2,000 patches of 16×16."""
OF_CUT_BOXES = 15_780
"""Points in 2,000 patches of 14×9."""
OFFSETS = [320, 326, 342, 394, 285, 321, 320, 329, 329]
"""Hits of the 9 offsets of a neighbourhood of 3×3, row by row."""
MEDIANS = (4, 3), (0.56, 0.59)
"""A masked pixel, and the middle two of its 24 neighbours."""
LOSS = 0.13158650696277618


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same_distribution(ours, theirs):
    return stats.chi2_contingency([ours, theirs]).pvalue > 1e-3


def test_places_within_a_box():
    chosen = masking.stratified(torch.zeros(2000, 1, 16, 16), 1 / 16, seeded())
    ours = torch.bincount((chosen.y % 4 * 4 + chosen.x % 4).flatten(), minlength=16)
    assert ours.sum() == sum(PLACES) == 2000 * 16 and chosen.inside.all()
    assert same_distribution(ours.numpy(), PLACES)
    assert not same_distribution(np.sort(ours.numpy()) + 60 * np.arange(16), PLACES), "what is another one is found"


def test_boxes_that_the_border_cuts():
    points = masking.stratified(torch.zeros(2000, 1, 14, 9), 1 / 16, seeded()).inside.sum().item()
    assert points == pytest.approx(OF_CUT_BOXES, rel=0.02) and points == pytest.approx(2000 * 14 * 9 / 16, rel=0.02)


def test_neighbour_or_centre():
    images = torch.arange(225.0).view(1, 1, 15, 15).expand(3000, 1, 15, 15).contiguous()
    middle = torch.full((3000, 1, 1), 7)
    chosen = masking.Positions(middle, middle, torch.ones_like(middle, dtype=torch.bool), (15, 15))
    found = masking.replaced(images, chosen, "neighbour or centre", 1, seeded())[:, 0, 7, 7].long()
    ours = [int((found == (7 + a) * 15 + 7 + b).sum()) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    assert sum(ours) == 3000 and same_distribution(ours, OFFSETS)


def test_median():
    (y, x), middle = MEDIANS
    image = (torch.arange(72) * 37 % 101).double().view(1, 1, 8, 9) / 100
    place = (torch.full((1, 1, 1), p) for p in (y, x))
    chosen = masking.Positions(*place, torch.ones(1, 1, 1, dtype=torch.bool), (8, 9))
    made = masking.replaced(image, chosen, "median", 2, seeded())[0, 0, y, x].item()
    assert made == pytest.approx(sum(middle) / 2, abs=1e-6)


def test_loss():
    number = torch.arange(48)
    estimate, noisy = ((number * k % n).float().view(2, 1, 4, 6) / n for k, n in ((17, 29), (23, 31)))
    mask = (number * 5 % 7 < 2).float().view(2, 1, 4, 6)
    made = noise2void.Masked(estimate, noisy, mask)
    loss, _ = noise2void.step(torch.nn.Identity(), made, noise2void.Settings())
    assert loss.item() == pytest.approx(LOSS, rel=1e-6)
