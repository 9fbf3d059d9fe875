"""PSNR and SSIM against scikit-image and against loops."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from course_lib import metrics

PROTOCOLS = ("quantised", "clamped", "raw")


def pair(*shape, sigma=0.3, seed=0):
    """8-bit clean images and an estimate that leaves [0, 1] in many places, so that the three protocols differ."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(256, shape, generator=generator).float() / 255
    strength = sigma * (1 + torch.arange(shape[0])).view(-1, 1, 1, 1)
    return clean + strength * torch.randn(shape, generator=generator), clean


def prepared(estimate, protocol):
    """What the protocol does to the estimate, in float64."""
    estimate = estimate.double().numpy()
    if protocol == "raw":
        return estimate
    estimate = np.minimum(np.maximum(estimate, 0), 1)
    return np.rint(estimate * 255) / 255 if protocol == "quantised" else estimate


# --- PSNR -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("shape", [(4, 1, 24, 31), (3, 3, 17, 20)])
def test_psnr_against_scikit_image(protocol, shape):
    estimate, clean = pair(*shape, sigma=0.1)
    found = metrics.psnr(estimate, clean, protocol=protocol)
    assert found.shape == (shape[0],) and found.dtype == torch.float32
    expected = [
        peak_signal_noise_ratio(c, e, data_range=1.0)
        for e, c in zip(prepared(estimate, protocol), clean.double().numpy(), strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_psnr_against_loops(protocol):
    estimate, clean = pair(2, 3, 4, 5)
    for image, found in enumerate(metrics.psnr(estimate, clean, protocol=protocol).tolist()):
        total, pixels = 0.0, 0
        for c in range(3):
            for y in range(4):
                for x in range(5):
                    value = estimate[image, c, y, x].item()
                    if protocol != "raw":
                        value = min(max(value, 0.0), 1.0)
                    if protocol == "quantised":
                        value = round(value * 255) / 255
                    total += (value - clean[image, c, y, x].item()) ** 2
                    pixels += 1
        assert found == pytest.approx(10 * math.log10(1 / (total / pixels)), abs=1e-4)


def test_protocols_differ():
    estimate, clean = pair(1, 1, 32, 32)
    raw, clamped = (metrics.psnr(estimate, clean, protocol=p).item() for p in ("raw", "clamped"))
    assert clamped > raw + 1
    slightly, clean = pair(1, 1, 32, 32, sigma=0.4 / 255)  # rounding removes or adds much of so small an error
    clamped, quantised = (metrics.psnr(slightly, clean, protocol=p).item() for p in ("clamped", "quantised"))
    assert abs(clamped - quantised) > 0.1


def test_no_border_is_left_out():
    """One wrong pixel counts, wherever it is: 10·log10(pixels / error²)."""
    clean = torch.full((1, 1, 8, 9), 0.2)
    for y, x in ((0, 0), (0, 8), (7, 0), (7, 8), (4, 4)):
        estimate = clean.clone()
        estimate[0, 0, y, x] += 0.4
        assert metrics.psnr(estimate, clean, protocol="raw").item() == pytest.approx(10 * math.log10(72 / 0.16), abs=1e-4)


def test_mean_over_images_is_not_the_psnr_of_all_pixels():
    estimate, clean = pair(2, 1, 32, 32, sigma=0.05)
    estimate[1] = clean[1] + 8 * (estimate[1] - clean[1])
    values = metrics.psnr(estimate, clean, protocol="raw")
    assert values.shape == (2,)
    pooled = peak_signal_noise_ratio(clean.double().numpy(), estimate.double().numpy(), data_range=1.0)
    assert values.mean().item() > pooled + 1
    for image in range(2):  # and neither image knows of the other
        alone = metrics.psnr(estimate[image : image + 1], clean[image : image + 1], protocol="raw")
        assert alone.item() == pytest.approx(values[image].item(), abs=1e-5)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_psnr_of_equal_images_is_infinite(protocol):
    _, clean = pair(2, 3, 8, 8)
    assert metrics.psnr(clean.clone(), clean, protocol=protocol).tolist() == [math.inf, math.inf]


def test_quantised_psnr_forgives_less_than_half_a_level():
    clean = (torch.arange(256) / 255).view(1, 1, 16, 16)
    for error in (-0.49, 0.49):
        assert metrics.psnr(clean + error / 255, clean, protocol="quantised").item() == math.inf
    assert math.isfinite(metrics.psnr(clean + 0.51 / 255, clean, protocol="quantised").item())


def test_psnr_leaves_its_arguments_as_they_are():
    estimate, clean = pair(2, 1, 8, 8)
    copies = estimate.clone(), clean.clone()
    metrics.psnr(estimate, clean, protocol="quantised")
    assert torch.equal(estimate, copies[0]) and torch.equal(clean, copies[1])


# --- errors ---------------------------------------------------------------------------------------------------------------

FIGURES = {p: lambda e, c, p=p: metrics.psnr(e, c, protocol=p) for p in PROTOCOLS}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
class TestErrors:
    def test_integer_images(self, figure):
        image, other = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
        for estimate, clean in ((other, image), (image, other), (other, other)):
            with pytest.raises(TypeError, match="uint8"):
                figure(estimate, clean)

    @pytest.mark.parametrize("shape", [(2, 1, 16, 16), (1, 3, 16, 16), (1, 1, 16, 15), (1, 1, 1, 1)], ids=str)
    def test_differing_shapes(self, figure, shape):
        """Also those that would broadcast."""
        with pytest.raises(ValueError, match="differ in shape"):
            figure(torch.zeros(1, 1, 16, 16), torch.zeros(shape))

    @pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (1, 1, 1, 16, 16)], ids=str)
    def test_wrong_number_of_dimensions(self, figure, shape):
        with pytest.raises(ValueError, match=r"\(B, C, H, W\)"):
            figure(torch.zeros(shape), torch.zeros(shape))


@pytest.mark.parametrize("protocol", ["quantized", "", "RAW", None])
def test_unknown_protocol(protocol):
    with pytest.raises(ValueError, match='"quantised", "clamped" or "raw"'):
        metrics.psnr(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), protocol=protocol)


def test_protocol_has_no_default():
    with pytest.raises(TypeError, match="protocol"):
        metrics.psnr(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))


# --- masks ----------------------------------------------------------------------------------------------------------------


def test_iou_against_a_loop():
    draws = torch.Generator().manual_seed(0)
    predicted, truth = (torch.rand(6, 1, 5, 7, generator=draws) < 0.4 for _ in range(2))
    predicted[0], truth[1] = False, False
    predicted[2] = truth[2] = False
    expected = []
    for p, t in zip(predicted, truth, strict=True):
        shared = sum(bool(a and b) for a, b in zip(p.flatten(), t.flatten(), strict=True))
        either = sum(bool(a or b) for a, b in zip(p.flatten(), t.flatten(), strict=True))
        expected.append(shared / either if either else 1.0)
    assert metrics.iou(predicted, truth).tolist() == pytest.approx(expected)
    assert expected[0] == expected[1] == 0 and expected[2] == 1


def test_iou_of_a_square_that_is_too_large():
    """A side of 12 that overshoots by 2 on every side: (12 / 16)²."""
    truth, predicted = torch.zeros(2, 1, 1, 30, 30, dtype=torch.bool)
    truth[..., 9:21, 9:21], predicted[..., 7:23, 7:23] = True, True
    assert metrics.iou(predicted, truth).item() == pytest.approx((12 / 16) ** 2)


@pytest.mark.parametrize("levels", [2, 7, None])
def test_average_precision_against_scikit_learn(levels):
    from sklearn.metrics import average_precision_score

    draws = torch.Generator().manual_seed(levels or 0)
    truth = torch.rand(3, 1, 20, 20, generator=draws) < 0.1
    scores = torch.randn(3, 1, 20, 20, generator=draws, dtype=torch.float64) + truth
    scores = (scores * levels / 4).round() if levels else scores  # with ties
    assert metrics.average_precision(scores, truth) == pytest.approx(average_precision_score(truth.flatten(), scores.flatten()), rel=1e-9)


def test_average_precision_of_a_constant_is_the_prevalence():
    truth = torch.zeros(2, 1, 4, 5, dtype=torch.bool)
    truth[0, 0, 1] = True
    assert metrics.average_precision(torch.zeros(2, 1, 4, 5), truth) == pytest.approx(5 / 40)


MASK = torch.zeros(2, 1, 4, 5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.iou(MASK, MASK[:1]), "both must be of one shape"),
        (lambda: metrics.iou(MASK.expand(2, 3, 4, 5), MASK.expand(2, 3, 4, 5)), r"of one shape \(B, 1, H, W\)"),
        (lambda: metrics.iou(MASK.float(), MASK), "predicted masks: a tensor of booleans is expected"),
        (lambda: metrics.iou(MASK[0], MASK[0]), r"\(B, 1, H, W\) is expected"),
        (lambda: metrics.average_precision(MASK.float(), MASK), "no pixel is true"),
        (lambda: metrics.average_precision(MASK.float() / 0, ~MASK), "NaN"),
        (lambda: metrics.average_precision(MASK, ~MASK), "scores: a tensor of numbers is expected"),
        (lambda: metrics.average_precision(MASK.float(), MASK.float()), "true masks: a tensor of booleans is expected"),
    ],
)
def test_masks_that_make_no_sense(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
