"""Labs of one network on photos: a slider for the noise level, and one for the strength of a degradation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from course_lib import noise
from course_lib.batches import center, to_float
from course_lib.noise import Denoiser
from course_lib.widgets.frames import Restored, restored_frame
from course_lib.widgets.lab import Choice, Lab, Slider
from course_lib.widgets.page import LARGEST_BUDGET, Page
from course_lib.widgets.pattern import GaussianNoise

PAGE_PHOTOS = 2


def require_photos(photos: Mapping[str, Tensor]) -> None:
    """Raise ``TypeError`` unless all photos ``(C, H, W)`` are uint8."""
    for photo in photos.values():
        to_float(photo[:, :1, :1])


def prepared(photo: Tensor, size: int) -> Tensor:
    """The central ``size`` × ``size`` pixels of a uint8 photo ``(C, H, W)``, as float ``(1, C, H, W)`` in [0, 1]."""
    return to_float(center(photo, size))[None]


def noise_lab(
    denoisers: Mapping[str, Denoiser],
    photos: Mapping[str, Tensor],
    *,
    sigmas_255: Sequence[float] = tuple(range(0, 80, 5)),
    start: float = 25,
    page_sigmas_255: Sequence[float] = (0, 5, 10, 15, 20, 25, 30, 40, 50, 75),
    page_size: int = 128,
    page_bytes: int = LARGEST_BUDGET,
    seed: int = 0,
) -> Lab:
    """A slider for the noise level: noisy photo, denoised photo and its error, with their PSNR.

    With a kernel every position is computed when it is first visited; σ, photo and denoiser can be chosen. The static
    page shows the first denoiser on the first two photos, from frames that are computed when the cell is executed. Both
    show the same pixels, in 8 bits, and the PSNR of these. The denoiser gets the noisy photo before it is clipped.

    Args:
        denoisers: name -> ``denoiser(noisy, sigma)``, both on the [0, 1] scale.
        photos: name -> uint8 ``(C, H, W)``.
        sigmas_255: positions of the slider, on the 0–255 scale.
        start: the first position; one of ``sigmas_255`` and of ``page_sigmas_255``.
        page_sigmas_255: positions on the static page; times two photos at most 40.
        page_size: side of the photos' centre that is shown, in pixels; so that page and JupyterLab agree, in both.
        page_bytes: what the pictures of the static page may take; a chapter has 500,000 for all its labs.
        seed: of the noise, whose pattern is the same at every σ and for every photo.

    Returns:
        A lab with ``frame(denoiser, photo, sigma_255)``, the controls ``sigma``, ``photo`` and ``denoiser``, and ``sigmas_255``.

    Raises:
        ValueError: for no denoiser or photo, σ outside [0, 255], or a start that is no position.
        TypeError: for photos that are not uint8.
    """
    if not denoisers or not photos:
        raise ValueError("noise_lab needs at least one denoiser and one photo.")
    for sigma in (*sigmas_255, *page_sigmas_255):
        if not 0 <= sigma <= 255:
            raise ValueError(f"σ = {sigma:g}, but it must lie in [0, 255], on the 0–255 scale.")
    if start not in sigmas_255 or start not in page_sigmas_255:
        raise ValueError(f"start = {start:g} must be one of sigmas_255 and of page_sigmas_255.")
    require_photos(photos)
    denoisers, photos = dict(denoisers), dict(photos)

    def make(denoiser: str, photo: str, sigma_255: float) -> Restored:
        return restored_frame(
            lambda noisy: denoisers[denoiser](noisy, noise.from_255(sigma_255)),
            GaussianNoise(sigma_255, seed), prepared(photos[photo], page_size),
            names=("noisy", "denoised"), position=f"σ = {sigma_255:g}",
            words=f"{photo} with noise of σ = {sigma_255:g}: left the noisy photo, BEFORE; middle the output of {denoiser}, AFTER",
        )  # fmt: skip

    rows = dict.fromkeys(list(photos)[:PAGE_PHOTOS], tuple(page_sigmas_255))
    lab = Lab(
        make,
        (Choice("denoiser", "denoiser", tuple(denoisers)), Choice("photo", "photo", tuple(photos))),
        Slider("sigma", "noise σ", [(f"{s:g}", s) for s in sigmas_255], start),
        dict.fromkeys(photos, sigmas_255),
        order=("sigma", "photo", "denoiser"),
        static=Page(
            "noise-lab", "noise", "photo", rows, tuple(page_sigmas_255).index(start), page_bytes,
            by=next(iter(denoisers)), positions="σ",
        ),
    )  # fmt: skip
    lab.sigmas_255 = tuple(sigmas_255)
    return lab


def degradation_lab(
    restorers: Mapping[str, Callable[[Tensor], Tensor]],
    photos: Mapping[str, Tensor],
    degradations: Mapping[str, Mapping[str, Callable[[Tensor], Tensor]]],
    *,
    page_size: int = 128,
    page_bytes: int = LARGEST_BUDGET,
) -> Lab:
    """A choice between degradations, each with a slider for its strength: degraded, restored, and error.

    Args:
        restorers: name -> ``restorer(degraded)``, images ``(1, C, H, W)`` in [0, 1].
        photos: name -> uint8 ``(C, H, W)``.
        degradations: name -> strength in words -> ``degrade(clean)``; at most three, with equally many strengths, from
            the weakest to the strongest. Give Gaussian noise as a ``GaussianNoise``, of which the page needs one pattern only.
        page_size: side of the photos' centre that is shown, in pixels. The static page shows the first photo, by the first restorer.
        page_bytes: what the pictures of the static page may take; a chapter has 500,000 for all its labs.

    Returns:
        A lab with ``frame(restorer, photo, degradation, strength)``, the controls ``degradation``, ``strength`` (from 0),
        ``photo`` and ``restorer``, and what they choose between: ``degradations`` with their strengths, and ``restorers``.

    Raises:
        ValueError: for no restorer or photo, no or more than three degradations, or unequally many strengths.
        TypeError: for photos that are not uint8.
    """
    if not restorers or not photos:
        raise ValueError("degradation_lab needs at least one restorer and one photo.")
    if not 1 <= len(degradations) <= 3 or len({len(strengths) for strengths in degradations.values()}) != 1:
        raise ValueError("give one to three degradations, each with equally many strengths.")
    require_photos(photos)
    restorers, photos = dict(restorers), dict(photos)
    degradations = {name: dict(strengths) for name, strengths in degradations.items()}

    def make(restorer: str, photo: str, degradation: str, strength: str) -> Restored:
        return restored_frame(
            restorers[restorer], degradations[degradation][strength], prepared(photos[photo], page_size),
            names=("degraded", "restored"), position=strength,
            words=f"{photo} with {degradation}, {strength}: left the degraded photo, BEFORE; middle the output of {restorer}, AFTER",
        )  # fmt: skip

    rows = {name: tuple(strengths) for name, strengths in degradations.items()}
    count = len(next(iter(rows.values())))
    lab = Lab(
        make,
        (
            Choice("restorer", "network", tuple(restorers)), Choice("photo", "photo", tuple(photos)),
            Choice("degradation", "degradation", tuple(rows)),
        ),
        Slider("strength", "strength", [(str(i), i) for i in range(count)], (count - 1) // 2, readout=False),
        rows,
        order=("degradation", "strength", "photo", "restorer"),
        static=Page(
            "degradation-lab", "strength", "degradation", rows, (count - 1) // 2, page_bytes, by=next(iter(restorers))
        ),
    )  # fmt: skip
    lab.degradations, lab.restorers = lab.rows, tuple(restorers)
    return lab
