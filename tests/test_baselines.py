"""Denoisers without a network do what scikit-image does and denoise; the noise they meet is the same for every denoiser."""

import numpy as np
import pytest
import torch
from skimage import data as photographs
from skimage import restoration
from skimage.metrics import peak_signal_noise_ratio

from course_lib.denoising import baselines, evaluation

SIGMA = 25 / 255
METHODS = {name: method for name, (method, _) in baselines.METHODS.items()}
DIRECTLY = {
    "non-local means": lambda plane, sigma, factor: restoration.denoise_nl_means(
        plane, patch_size=5, patch_distance=7, h=factor * sigma, sigma=sigma, fast_mode=True),
    "total variation": lambda plane, sigma, factor: restoration.denoise_tv_chambolle(plane, weight=factor * sigma),
    "wavelet": lambda plane, sigma, factor: restoration.denoise_wavelet(
        plane, sigma=factor * sigma, method="BayesShrink", mode="soft", rescale_sigma=True),
}  # fmt: skip


def crop(top, left, channels=1, size=64):
    picture = photographs.camera()[None] if channels == 1 else photographs.astronaut().transpose(2, 0, 1)
    return torch.from_numpy(picture[:, top : top + size, left : left + size].copy())


CROPS = [crop(100, 200), crop(300, 20)]


def noisy_crop(channels=1, index=0):
    return evaluation.test_noise(crop(100, 200, channels)[None].float() / 255, SIGMA, index)


def quantised(image):
    return np.rint(np.clip(image, 0, 1) * 255) / 255


# --- the methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_photo_gets_3_db_better(method):
    before = evaluation.psnr_per_image(lambda noisy, sigma: noisy, CROPS, SIGMA, protocol="clamped")
    after = evaluation.psnr_per_image(method, CROPS, SIGMA, protocol="clamped")
    assert all(b + 3 < a for b, a in zip(before, after, strict=True))


def test_non_local_means_of_other_patches():
    noisy = noisy_crop()
    direct = restoration.denoise_nl_means(noisy[0, 0].numpy(), patch_size=7, patch_distance=7, h=0.6 * SIGMA, sigma=SIGMA, fast_mode=True)
    found = baselines.non_local_means(noisy, SIGMA, factor=0.6, patch_size=7)
    assert np.array_equal(found[0, 0].numpy(), direct) and not torch.equal(found, baselines.non_local_means(noisy, SIGMA, factor=0.6))
    with pytest.raises(ValueError, match="patch_size = 0"):
        baselines.non_local_means(noisy, SIGMA, patch_size=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_equals_scikit_image(name, channels):
    """Called on each channel of each image by itself, in the shape and type that it came in."""
    noisy = torch.cat([noisy_crop(channels, index) for index in range(2)])
    before = noisy.clone()
    for factor in (None, 0.7):
        options = {} if factor is None else {"factor": factor}
        found = METHODS[name](noisy, SIGMA, **options)
        default = 0.8 if name == "non-local means" else 1.0
        expected = np.stack([[DIRECTLY[name](p, SIGMA, factor or default) for p in image] for image in noisy.numpy()])
        assert found.shape == noisy.shape and found.dtype == torch.float32
        assert np.allclose(found.numpy(), expected, atol=1e-6)
    assert torch.equal(noisy, before), "the input is left as it is"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_without_noise_the_photo_is_returned(method):
    clean = crop(100, 200)[None].float() / 255
    assert torch.equal(method(clean, 0), clean)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("images", "error", "message"), [(crop(0, 0)[None], TypeError, "noisy images are torch.uint8"),
                                                          (torch.rand(8, 8), ValueError, r"\(8, 8\)")])  # fmt: skip
def test_what_is_no_batch_of_images(method, images, error, message):
    with pytest.raises(error, match=message):
        method(images, SIGMA)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_sigma_on_the_wrong_scale(method):
    with pytest.raises(ValueError, match="0–255"):
        method(noisy_crop()[..., :16, :16], 25.0)


def test_tuned_takes_the_best_factor():
    """Against a loop of its own over the factors and two crops, by scikit-image alone."""
    chosen = baselines.tuned(iter(CROPS), SIGMA)
    assert list(chosen) == list(DIRECTLY)
    at = {}
    for name, (method, factors) in baselines.METHODS.items():
        means = []
        for factor in factors:
            values = []
            for index, image in enumerate(CROPS):
                clean = image[0].numpy().astype(np.float32) / 255
                noisy = evaluation.test_noise(torch.from_numpy(clean)[None, None], SIGMA, index)[0, 0].numpy()
                estimate = quantised(DIRECTLY[name](noisy, SIGMA, factor))
                values.append(peak_signal_noise_ratio(clean, estimate, data_range=1))
            means.append(np.mean(values))
        best = factors[int(np.argmax(means))]
        assert chosen[name].func is method and chosen[name].keywords == {"factor": best}
        at[name] = int(np.argmax(means))
    assert set(at.values()) != {0}, "the first factor is not always the best one here"
    assert torch.equal(chosen["wavelet"](noisy_crop(), SIGMA),
                       baselines.wavelet(noisy_crop(), SIGMA, **chosen["wavelet"].keywords))  # fmt: skip


def test_tuned_on_nothing_is_refused():
    with pytest.raises(ValueError, match="no images to tune on"):
        baselines.tuned([], SIGMA)


def test_only_the_named_methods_are_tuned():
    assert list(baselines.tuned(CROPS, SIGMA, ["wavelet"])) == ["wavelet"]
    with pytest.raises(ValueError, match='unknown method "median"; there are non-local means'):
        baselines.tuned(CROPS, SIGMA, ["median"])


# --- how all denoisers are measured ---------------------------------------------------------------------------------------


def test_the_noise_is_the_same_on_each_call():
    clean = torch.rand(1, 3, 16, 16)
    torch.manual_seed(1)
    first = evaluation.test_noise(clean, SIGMA, 3, seed=5)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(evaluation.test_noise(clean, SIGMA, 3, seed=5), first)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert torch.equal(evaluation.test_noise(clean, SIGMA), evaluation.test_noise(clean, SIGMA, 0, seed=0))


@pytest.mark.parametrize("other", [{"index": 4}, {"index": 3, "seed": 6}, {"index": 5, "seed": 3}])
def test_the_noise_differs_between_images_and_seeds(other):
    clean = torch.full((1, 1, 64, 64), 0.5)
    a = evaluation.test_noise(clean, SIGMA, 3, seed=5) - clean
    b = evaluation.test_noise(clean, SIGMA, **other) - clean
    assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()) < 0.1


def test_the_noise_has_its_strength_and_is_not_clipped():
    clean = torch.ones(1, 1, 128, 128)
    eta = evaluation.test_noise(clean, SIGMA) - clean
    assert eta.std().item() == pytest.approx(SIGMA, rel=0.03)
    assert (eta > 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    stronger = evaluation.test_noise(clean, 2 * SIGMA) - clean
    assert torch.allclose(stronger, 2 * eta, atol=1e-6), "the same pattern at every σ"


@pytest.mark.parametrize("protocol", ["quantised", "clamped", "raw"])
def test_psnr_per_image_against_a_loop(protocol):
    """Images of two sizes; the denoiser gets each with its own noise, and σ on the [0, 1] scale."""
    images, seen = [crop(100, 200), crop(300, 20)[:, :40, :56]], []

    def denoiser(noisy, sigma):
        seen.append(sigma)
        return 1.2 * torch.nn.functional.avg_pool2d(noisy, 3, 1, 1)

    found = evaluation.psnr_per_image(denoiser, images, SIGMA, protocol=protocol, seed=7)
    treat = {"quantised": quantised, "clamped": lambda x: np.clip(x, 0, 1), "raw": lambda x: x}[protocol]
    expected = []
    for index, image in enumerate(images):
        clean = image.float()[None] / 255
        estimate = denoiser(evaluation.test_noise(clean, SIGMA, index, seed=7), SIGMA).numpy()
        expected.append(peak_signal_noise_ratio(clean.numpy(), treat(estimate), data_range=1))
    assert found == pytest.approx(expected, abs=1e-4) and seen == [SIGMA] * 4
    assert all(isinstance(value, float) for value in found)
