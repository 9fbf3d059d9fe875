"""Random patches are windows of the images, each as likely as any other, in the 8 orientations of a square."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from course_lib.batches import ImagePool, center, resized, square, to_float, to_uint8


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(*shapes, start=0):
    """uint8 images of these shapes in which no value occurs twice, so that a patch tells where it is from."""
    images = []
    for shape in shapes:
        count = math.prod(shape)
        assert start + count <= 256
        images.append(torch.arange(start, start + count, dtype=torch.uint8).view(shape))
        start += count
    return images


def all_patches(images, p):
    """Content -> (image, top, left, orientation) of all 8 versions of all windows, by loops."""
    found = {}
    for number, image in enumerate(images):
        _, height, width = image.shape
        values = image.tolist()
        for top in range(height - p + 1):
            for left in range(width - p + 1):
                window = np.array([[row[left : left + p] for row in plane[top : top + p]] for plane in values])
                for turns in range(4):
                    for mirrored in (False, True):
                        version = np.rot90(window, turns, axes=(1, 2))
                        version = version[:, :, ::-1] if mirrored else version
                        found[tuple(version.flatten().tolist())] = (number, top, left, (turns, mirrored))
    return found


def key(patch):
    """The 8-bit values of a patch in [0, 1]; fails where they are not multiples of 1/255."""
    values = patch.double() * 255
    assert (values - values.round()).abs().max() < 1e-4
    return tuple(values.round().int().flatten().tolist())


def assert_uniform(counts, cells):
    """χ² of the counts within 5 standard deviations of what equally likely cells give."""
    assert len(counts) <= cells
    expected = sum(counts.values()) / cells
    chi2 = sum((n - expected) ** 2 for n in counts.values()) / expected + (cells - len(counts)) * expected
    assert abs(chi2 - (cells - 1)) < 5 * math.sqrt(2 * (cells - 1))


GRAY = ((1, 5, 7), (1, 4, 4), (1, 8, 6), (1, 3, 9))
COLOUR = ((3, 4, 5), (3, 6, 4), (3, 4, 4))


# --- patches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "p", "positions"),
    [
        (GRAY, 3, 3 * 5 + 2 * 2 + 6 * 4 + 1 * 7),
        (GRAY[:3], 4, 2 * 4 + 1 + 5 * 3),
        (GRAY, 2, 4 * 6 + 3 * 3 + 7 * 5 + 2 * 8),
        (COLOUR, 3, 2 * 3 + 4 * 2 + 2 * 2),
        (COLOUR, 4, 2 + 3 + 1),
    ],
)
def test_patches_are_windows_and_equally_likely(shapes, p, positions):
    """Against loops over all windows and orientations: nothing else comes, all of it comes, and as often."""
    images = numbered(*shapes)
    pool = ImagePool(images, p)
    possible = all_patches(images, p)
    assert len(possible) == 8 * positions and pool.positions == positions
    count = 200 * positions
    patches = pool.patches(count, seeded())
    assert patches.shape == (count, shapes[0][0], p, p) and patches.dtype == torch.float32
    origins = [possible[key(patch)] for patch in patches]  # KeyError: not a window of any image
    assert_uniform(Counter(origins), 8 * positions)
    assert_uniform(Counter(origin[:3] for origin in origins), positions)
    assert_uniform(Counter(origin[3] for origin in origins), 8)


def test_successive_patches_are_independent():
    """Place and orientation of a patch say nothing about those of the next."""
    images = numbered((1, 4, 4))
    possible = all_patches(images, 3)  # 4 places in 8 orientations
    origins = [possible[key(patch)] for patch in ImagePool(images, 3).patches(20_000, seeded(2))]
    cells = len(possible) ** 2
    assert_uniform(Counter(zip(origins[::2], origins[1::2], strict=True)), cells)


def test_images_as_one_tensor():
    images = numbered((1, 6, 5), (1, 6, 5), (1, 6, 5))
    listed, stacked = ImagePool(images, 4), ImagePool(torch.stack(images), 4)
    assert torch.equal(listed.patches(50, seeded()), stacked.patches(50, seeded()))


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 5, 5)])
def test_whole_image_as_patch(shape):
    images = numbered(shape)
    pool = ImagePool(images, 5)
    assert pool.positions == 1
    possible = all_patches(images, 5)
    assert {possible[key(patch)] for patch in pool.patches(200, seeded())} == set(possible.values())


def test_patches_of_one_pixel():
    images = numbered((3, 4, 4))
    values = {key(patch) for patch in ImagePool(images, 1).patches(500, seeded())}
    assert values == {(i, i + 16, i + 32) for i in range(16)}


def test_draws_come_from_the_generator_only():
    pool = ImagePool(numbered(*GRAY), 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    generator = seeded(5)
    first, second = pool.patches(64, generator), pool.patches(64, generator)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, pool.patches(64, seeded(5)))
    assert not torch.equal(first, second)
    assert not torch.equal(first, pool.patches(64, seeded(6)))


def test_to_moves_all_and_returns_the_pool():
    pool = ImagePool(numbered(*GRAY), 3)
    expected = pool.patches(20, seeded())
    assert pool.to("cpu") is pool
    assert torch.equal(pool.patches(20, seeded()), expected)
    if torch.cuda.is_available():
        patches = pool.to("cuda").patches(500, torch.Generator("cuda").manual_seed(0))
        assert patches.device.type == "cuda"
        possible = all_patches(numbered(*GRAY), 3)
        assert all(key(patch.cpu()) in possible for patch in patches)


def test_images_are_left_as_they_are():
    images = numbered(*GRAY)
    pool = ImagePool(images, 3)
    pool.patches(64, seeded()).zero_()
    for image, original in zip(images, numbered(*GRAY), strict=True):
        assert torch.equal(image, original)
    assert torch.equal(pool.pixels, torch.cat([image.flatten() for image in images]))


# --- scales ---------------------------------------------------------------------------------------------------------------


def smooth(height, width, channels=1):
    """A smooth picture with contrast: waves of differing direction in each channel."""
    y, x = np.mgrid[:height, :width]
    planes = [127 + 60 * np.sin((0.11 + 0.03 * k) * y) + 60 * np.cos(0.17 * x + k) for k in range(channels)]
    return torch.from_numpy(np.stack(planes).round().astype(np.uint8))


@pytest.mark.parametrize(
    ("scale", "size"), [(0.9, (54, 45)), (0.7, (42, 35)), (0.5, (30, 25)), (0.33, (20, 16)), (1.5, (90, 75))]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_against_pillow(scale, size, channels):
    """Pillow's bicubic filter, which also averages over what it leaves out; the two round differently by up to 2 levels."""
    image = smooth(60, 50, channels)
    found = resized(image, scale)
    assert found.shape == (channels, *size) and found.dtype == torch.uint8
    for plane, original in zip(found, image, strict=True):
        expected = Image.fromarray(original.numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
        assert (plane.int() - torch.from_numpy(np.array(expected)).int()).abs().max() <= 2


def test_resized_with_antialiasing():
    """A pattern too fine for the smaller image becomes its mean rather than another pattern."""
    stripes = torch.tensor([0, 200], dtype=torch.uint8).repeat(1, 60, 30)  # (1, 60, 60)
    small = resized(stripes, 0.37)[..., 2:-2, 2:-2].float()
    assert (small - 100).abs().max() < 25


def test_scale_1_is_the_image_itself():
    image = numbered((1, 9, 9))[0]
    assert torch.equal(resized(image, 1), image) and torch.equal(resized(image, 1.0), image)


def test_resized_does_not_wrap_around():
    """Bicubic interpolation overshoots at edges: 0 and 255 must not become 255 and 0."""
    step = torch.zeros(1, 40, 40, dtype=torch.uint8)
    step[..., 20:] = 255
    found = resized(step, 0.7)
    assert found[..., :12].max() < 30 and found[..., 16:].min() > 225


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        (4, (1, 5), (1, 5)),
        (5, (0, 5), (1, 6)),
        (1, (2, 3), (3, 4)),
        (6, (0, 6), (0, 6)),
        (7, (0, 6), (0, 7)),
        (9, (0, 6), (0, 7)),
    ],
)
def test_center(size, rows, columns):
    """As far from the upper as from the lower edge, or one pixel nearer to the upper; all of it where it is smaller."""
    image = numbered((3, 6, 7))[0]
    found = center(image, size)
    assert found.tolist() == [[row[columns[0] : columns[1]] for row in plane[rows[0] : rows[1]]] for plane in image.tolist()]


@pytest.mark.parametrize("shape", [(1, 60, 90), (3, 90, 60), (1, 61, 61), (1, 481, 321)], ids=str)
@pytest.mark.parametrize("size", [20, 33, 60])
def test_square(shape, size):
    """The shorter side as a whole, and the middle of the longer one."""
    image = smooth(*shape[1:], shape[0])
    found = square(image, size)
    assert found.shape == (shape[0], size, size) and found.dtype == torch.uint8
    scale = size / min(shape[1:])
    whole = resized(image, scale)
    top, left = ((side - size) // 2 for side in whole.shape[1:])
    assert min(whole.shape[1:]) == size
    assert torch.equal(found, whole[:, top : top + size, left : left + size])


def test_scales_of_the_pool():
    images = [torch.randint(256, shape, generator=seeded(1)).to(torch.uint8) for shape in ((1, 24, 20), (1, 16, 28))]
    scales, p = (1.0, 0.75, 0.5), 6
    pyramid = [resized(image, scale) for scale in scales for image in images]
    windows = {}
    for number, image in enumerate(pyramid):
        for content in all_patches([image], p):
            windows[content] = number
    pool = ImagePool(images, p, scales)
    assert pool.positions == len(windows) / 8
    counts = Counter(windows[key(patch)] for patch in pool.patches(3000, seeded()))
    for number, image in enumerate(pyramid):
        share = (image.shape[1] - p + 1) * (image.shape[2] - p + 1) / pool.positions
        assert abs(counts[number] - 3000 * share) < 5 * math.sqrt(3000 * share * (1 - share))


def test_scales_of_images_from_an_iterator():
    """It is not used up by the first scale."""
    images = [smooth(24, 20), smooth(16, 28)]
    assert ImagePool(iter(images), 6, (1.0, 0.5)).positions == ImagePool(images, 6, (1.0, 0.5)).positions


# --- errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [5, 0, -1])
def test_patch_size_that_does_not_fit(p):
    with pytest.raises(ValueError, match=f"patch_size = {p}, .* 4 pixels"):
        ImagePool(numbered((1, 6, 7), (1, 9, 4)), p)


def test_patch_too_big_for_the_smallest_scale():
    image = torch.zeros(1, 20, 20, dtype=torch.uint8)
    ImagePool([image], 10, (1.0, 0.5))
    with pytest.raises(ValueError, match="10 pixels"):
        ImagePool([image], 11, (1.0, 0.5))


@pytest.mark.parametrize(("images", "scales"), [([], (1.0,)), (numbered((1, 5, 5)), ())])
def test_no_images(images, scales):
    with pytest.raises(ValueError, match="no images"):
        ImagePool(images, 3, scales)


@pytest.mark.parametrize("shape", [(9, 9), (1, 1, 9, 9)], ids=str)
def test_images_of_a_wrong_number_of_dimensions(shape):
    with pytest.raises(ValueError, match=r"\(C, H, W\) is expected"):
        ImagePool([torch.zeros(shape, dtype=torch.uint8)], 3)


def test_gray_and_colour_together():
    with pytest.raises(ValueError, match=r"\[1, 3\] channels"):
        ImagePool(numbered((1, 5, 5), (3, 5, 5)), 3)


@pytest.mark.parametrize("scales", [(1.0,), (0.9,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_images_that_are_not_8_bit(dtype, scales):
    with pytest.raises(TypeError, match="uint8"):
        ImagePool([torch.zeros(1, 9, 9, dtype=torch.uint8), torch.zeros(1, 9, 9, dtype=dtype)], 3, scales)


# --- 8 bit and float ------------------------------------------------------------------------------------------------------


def test_round_trip_of_all_values():
    values = torch.arange(256, dtype=torch.uint8)
    assert to_float(values).dtype == torch.float32
    assert to_float(values).tolist() == pytest.approx([i / 255 for i in range(256)], abs=1e-7)
    assert torch.equal(to_uint8(to_float(values)), values)


def test_to_uint8_clamps_and_rounds():
    values = torch.tensor([-0.5, -0.001, 0.49 / 255, 0.51 / 255, 100.49 / 255, 100.51 / 255, 254.51 / 255, 1.001, 3.0])
    assert to_uint8(values).dtype == torch.uint8
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 100, 101, 255, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int8])
def test_to_float_takes_8_bit_only(dtype):
    with pytest.raises(TypeError, match=str(dtype)):
        to_float(torch.zeros(3, dtype=dtype))
