r"""A world without objects: images whose only law is that neighbouring pixels are alike.

The spectrum of natural images falls as one over the frequency, :math:`\lvert F(u) \rvert \propto 1 / \lVert u \rVert`. Noise with
that spectrum and random phases (*pink noise*) looks like clouds. It has no objects, no up and down, and no direction. What a network
can tell about the places of its patches, it has from continuity alone: the test of a shortcut.

Source: D. Field, *Relations between the statistics of natural images and the response properties of cortical cells*, J. Opt. Soc. Am.
A 4 (1987), for the spectrum.
"""

from __future__ import annotations

import torch

from course_lib import checks, rng
from course_lib.data import Dataset

CONTRAST = 0.18  # standard deviation of a pixel over all images, in [0, 1]: 0.3 % of the values are clipped


def pink_noise(count: int, size: int, *, channels: int = 1, exponent: float = 1.0, gray: bool = False, seed: int = 0) -> Dataset:
    """Images of noise whose amplitudes fall as the frequency to the power of −``exponent``.

    They are cut from images of twice the size, since what a Fourier transform makes goes on periodically: the right border would
    match the left one.

    Args:
        count: number of images.
        size: of their sides, in pixels.
        channels: of the images.
        exponent: 1 for natural images; 0 is white noise.
        gray: the same in all channels, instead of drawn for each?
        seed: of the draws.

    Returns:
        A data set of ``count`` images ``(channels, size, size)``, without labels.

    Raises:
        TypeError, ValueError: for numbers that are no whole ones of at least 1, or an exponent outside of 0 to 4.
    """
    numbers = {"count": count, "channels": channels, "size": size}
    count, channels, size = (checks.whole(value, name, 1) for name, value in numbers.items())
    exponent = checks.number(exponent, "exponent", 0, 4)
    wide, planes = 2 * size, 1 if gray else channels
    white = torch.randn(count, planes, wide, wide, generator=rng.generator(seed, 0, 0, "pink noise"))
    down, across = torch.fft.fftfreq(wide)[:, None], torch.fft.rfftfreq(wide)
    frequency = (down.square() + across.square()).sqrt()
    amplitude = torch.where(frequency > 0, frequency, 1) ** -exponent
    amplitude[0, 0] = 0  # the mean of the large image
    amplitude = amplitude / _deviation(amplitude, wide)
    noise = torch.fft.irfft2(amplitude * torch.fft.rfft2(white), s=(wide, wide))[..., :size, :size]
    images = (255 * (0.5 + CONTRAST * noise)).round().clamp(0, 255).to(torch.uint8).expand(-1, channels, -1, -1).contiguous()
    return Dataset("pink_noise", images, f"1/f^{exponent:g} noise, drawn with seed {seed}", tuple(f"noise {i}" for i in range(count)))


def _deviation(amplitude: torch.Tensor, side: int) -> torch.Tensor:
    """Standard deviation of white noise after a filter with these amplitudes, by Parseval."""
    double = torch.full((amplitude.shape[1],), 2.0)  # columns of negative frequencies, which rfft2 leaves out
    double[0] = 1
    if side % 2 == 0:
        double[-1] = 1
    return ((amplitude.square() * double).sum() / side**2).sqrt()
