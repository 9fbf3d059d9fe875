"""Recipes of learning from single noisy images: Noise2Void with each of its maskers, blind-spot networks, and their controls.

All train on one stored noisy version of each image at σ = 25. The literature has the same sets, but other networks: the figures beside
a record say whose they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from course_lib import data
from course_lib.recipes.base import Measure, Preset, Recipe, Split, part, published
from course_lib.recipes.of_images import benchmarks, images
from course_lib.self_supervised_denoising import blind_spot_training, noise2noise, noise2void

QUICK = dict(
    patch_size=40, steps=400, batch_size=8, log_every=20,  # what two cores do in 10 s
    optimizer="muon", muon_learning_rate=0.02, learning_rate=3e-3, schedule="cosine", warmup_steps=20,  # learns most in few steps
)  # fmt: skip
PHOTOS = dict(scales=(1.0, 0.5))  # the embedded photos are few and large
QUICK_UNET = dict(**QUICK, depth=2, width=24)
QUICK_N2V = dict(**QUICK_UNET, mask_ratio=1 / 16)  # four times the paper's, since so few steps see few masked pixels
QUICK_BLIND = {
    "half-plane": dict(**{**QUICK, "patch_size": 32}, depth=2, width=16),
    "dilated": dict(**{**QUICK, "patch_size": 32, "muon_learning_rate": 0.01}, depth=3, width=24),  # its variance may collapse at 0.02
}
UNET = dict(channels=1, depth=2, width=48, patch_size=64, steps=80_000, batch_size=128, learning_rate=4e-4)  # noise2void's own
PAPER_BLIND = {
    "half-plane": dict(patch_size=128),  # not the paper's 256, since the images have 180 pixels; the rest is the paper's
    # the network of AP-BSN by the schedule of D-BSN, which has the same idea: 90 epochs, a tenth at 30, 60, 70 and 80 of them
    "dilated": dict(depth=9, width=128, patch_size=96, batch_size=8, steps=180_000, learning_rate=3e-4, beta2=0.999, warmup_steps=0,
                    schedule="drop", drop_at=(1 / 3, 2 / 3, 7 / 9, 8 / 9), final_learning_rate=3e-8),
}  # fmt: skip
BY_DBSN = "as the authors of D-BSN give it"


def presets(
    settings: Callable, quick: dict, paper: dict, measures: dict[str, Measure], on_bsd68: dict[str, Measure] | None = None
) -> dict[str, Preset]:
    """``quick`` on the embedded photos, ``paper`` on BSD400, each with settings of its own; ``on_bsd68`` is measured there only."""
    tests = benchmarks(["bsd68"], {**measures, **(on_bsd68 or {})}) | benchmarks(["photos"], measures)
    return {
        "quick": Preset(settings=settings(**PHOTOS, **quick), data=images("photos"), tests=benchmarks(["photos"], measures)),
        "paper": Preset(settings=settings(**paper), data=images("bsd400"), tests=tests),
    }


# --- Noise2Void -----------------------------------------------------------------------------------------------------------

AS_IT_IS = {"psnr_25": partial(noise2void.evaluate, sigma_255=25.0)}
HIDDEN = {"blind_25": partial(noise2void.evaluate_hidden, sigma_255=25.0)}  # 16 passes an image: on BSD68 only


def n2v(title: str, masker: str, figures: dict | None = None, **settings) -> Recipe:
    """Noise2Void with one of its maskers; ``settings`` are those of both presets."""
    both = {"masker": masker, **settings}
    return Recipe(
        title=f"Noise2Void: a masked pixel is replaced by {title}",
        chapter="13_noise2void",
        method=noise2void,
        network=noise2noise.UNet,
        presets=presets(noise2void.Settings, {**QUICK_N2V, **both}, both, AS_IT_IS, HIDDEN),
        paper=published(figures or {}),
    )


def n2v_of(side: int) -> Recipe:
    """Noise2Void with one masked pixel in each box of side²."""
    return n2v(f"a random one of its neighbourhood, or itself; one in {side * side}", "neighbour or centre", mask_ratio=1 / side**2)


def one_of(name: str) -> Callable[[int], Split]:
    """A single test image, that of the seed's number, to train on and to restore: 0 for the first; after the last comes the first."""

    def chosen(seed: int, asked: str) -> data.Dataset:
        if asked != name:
            raise ValueError(f'this training is on one image of "{name}", which alone it restores, and on no other data such as "{asked}".')
        whole = part(name, "test")
        number = seed % len(whole)
        return replace(whole, images=whole.images[number][None], names=(whole.names[number],), labels=None, classes=())

    return lambda seed: Split(name, lambda: chosen(seed, name), partial(chosen, seed))


def single(name: str, **settings) -> Preset:
    """Noise2Void on one image of a data set, whose stored noise is that of the test."""
    return Preset(settings=noise2void.Settings(tested=True, **settings), data=one_of(name), tests=benchmarks([name], AS_IT_IS))


# --- controls: the same network, told more, or the wrong thing --------------------------------------------------------------


def control(title: str, target: str) -> Recipe:
    """The U-Net of the Noise2Void recipes at σ = 25 with another target, from two stored shots of each image."""
    told = {"noise": "gaussian", "strength": (25.0, 25.0), "target": target, "shots": 2}
    return Recipe(
        title=f"The U-Net of the Noise2Void recipes with {title} as target, σ = 25",
        chapter="13_noise2void",
        method=noise2noise,
        network=noise2noise.UNet,
        presets=presets(noise2noise.Settings, {**QUICK_UNET, **told, "channels": 1},
                        {**UNET, **told, "beta2": 0.999, "schedule": "cosine"}, AS_IT_IS),
    )  # fmt: skip


# --- blind-spot networks --------------------------------------------------------------------------------------------------


def blind_spot(architecture: str, *, posterior: bool, figures: dict | None = None) -> Recipe:
    """A blind-spot network of either architecture; with a posterior also its mean alone is measured."""
    kind = {"architecture": architecture, "posterior": posterior}
    measures = {"psnr_25": partial(blind_spot_training.evaluate, sigma_255=25.0)}
    if posterior:
        measures["blind_25"] = partial(blind_spot_training.evaluate, sigma_255=25.0, centre=False)
    return Recipe(
        title=f"Blind-spot network, {architecture}, {'which tells mean and variance, with the posterior' if posterior else 'mean alone'}",
        chapter="13_noise2void",
        method=blind_spot_training,
        network=blind_spot_training.BlindSpotDenoiser,
        presets=presets(blind_spot_training.Settings, {**QUICK_BLIND[architecture], **kind},
                        {**PAPER_BLIND[architecture], **kind}, measures),
        paper=published(figures or {}),
    )  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "n2v": n2v("a random one of its neighbourhood, or itself", "neighbour or centre", {"raw": {"bsd68": {"psnr_25": 27.71}}}),
    "n2v_neighbour": n2v("a random neighbour", "neighbour"),
    "n2v_mean": n2v("the mean of its neighbours", "mean"),
    "n2v_median": n2v("the median of its neighbours", "median"),
    "n2v_random": n2v("a random value", "random value"),
    "n2v_ratio_4": n2v_of(2),
    "n2v_ratio_64": n2v_of(8),
    "n2v_ratio_256": n2v_of(16),
    "n2v_single": Recipe(
        title="Noise2Void on one single image, which it restores; another image for each seed",
        chapter="13_noise2void",
        method=noise2void,
        network=noise2noise.UNet,
        presets={"quick": single("photos", **QUICK_N2V), "paper": single("set12", steps=8_000, batch_size=16)},  # an image has few patches
        seeds=12,
        ships=False,
    ),
    "n2v_as_n2n": control("a second noisy image", "noisy"),
    "n2v_as_clean": control("the clean image", "clean"),
    "n2v_as_identity": control("the input itself", "same"),
    "half_plane": blind_spot("half-plane", posterior=True, figures={BY_DBSN: {"bsd68": {"psnr_25": 29.27}}}),
    "half_plane_mean": blind_spot("half-plane", posterior=False),
    "dilated": blind_spot("dilated", posterior=True),
    "dilated_mean": blind_spot("dilated", posterior=False),
}
