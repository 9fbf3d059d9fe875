"""Recipes of denoising without clean images: Noise2Noise, and its controls with clean targets.

Noise2Noise draws the noise of input and target anew in each step, as the paper does: an image is seen in as many realisations as
there are steps, and no set of recorded pairs would give that. Clean targets get the same freedom. ``shots`` of the settings stores a
fixed number of realisations of each image instead.
"""

from __future__ import annotations

from functools import partial

from course_lib.recipes.base import Measure, Preset, Recipe
from course_lib.recipes.of_images import benchmarks, images
from course_lib.self_supervised_denoising import noise2noise

QUICK_N2N = dict(
    channels=1, depth=2, width=24, patch_size=40, steps=400, batch_size=8, log_every=20,  # what two cores do in 10 s
    optimizer="muon", muon_learning_rate=0.02, learning_rate=3e-3, schedule="cosine", warmup_steps=20,  # learns most in few steps
    scales=(1.0, 0.5),  # the embedded photos are few and large
)  # fmt: skip

TRAINED = {  # kind -> lowest and highest strength of the training, strengths of the test, the loss: as in the paper
    "gaussian": ((0.0, 50.0), {"psnr_25": 25.0}, "l2"),
    "poisson": ((0.001, 50.0), {"psnr_photons30": 30.0}, "l2"),
    "bernoulli": ((0.0, 0.95), {"psnr_lost50": 0.5}, "l2"),
    "text": ((0.0, 0.5), {"psnr_text25": 0.25}, "l1"),
    "impulses": ((0.0, 0.95), {"psnr_impulses70": 0.7}, "l0"),
}


def measures(kind: str) -> dict[str, Measure]:
    """PSNR on a kind of noise, of the strength at which the paper tests."""
    return {name: partial(noise2noise.evaluate, kind=kind, strength=strength) for name, strength in TRAINED[kind][1].items()}


def noise2noise_recipe(kind: str, target: str = "noisy", **quick) -> Recipe:
    """Noise2Noise on one kind of noise, or the same network with clean targets.

    The paper trains on ImageNet's validation images and tests on Kodak, BSD300 and Set14; here it is CBSD432 and CBSD68, for which it
    has no figures.
    """
    strength, _, loss = TRAINED[kind]
    trained = {"noise": kind, "strength": strength, "target": target, "loss": loss if target == "noisy" else "l2"}
    settings = noise2noise.Settings
    return Recipe(
        title=f"{'Noise2Noise' if target == 'noisy' else 'The U-Net of Noise2Noise with clean targets'}: {kind} noise",
        chapter="12_noise2noise", method=noise2noise,
        network=noise2noise.UNet,
        presets={
            "quick": Preset(settings=settings(**{**QUICK_N2N, **trained, **quick}), data=images("photos"),
                            tests=benchmarks(["photos"], measures(kind))),
            "paper": Preset(settings=settings(**trained), data=images("cbsd432", color=True),
                            tests=benchmarks(["cbsd68", "photos"], measures(kind))),
        },
    )  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "n2n_gaussian": noise2noise_recipe("gaussian"),
    "n2n_gaussian_clean": noise2noise_recipe("gaussian", "clean"),
    # of the strength that is tested: at a few photons the loss is a hundred times as large, and a short run learns little else
    "n2n_poisson": noise2noise_recipe("poisson", strength=(30.0, 30.0)),
    "n2n_poisson_clean": noise2noise_recipe("poisson", "clean", strength=(30.0, 30.0)),
    "n2n_bernoulli": noise2noise_recipe("bernoulli"),
    "n2n_text": noise2noise_recipe("text"),
    "n2n_impulses": noise2noise_recipe("impulses", final_gamma=0.5),  # in so few steps; the authors' later code stops there too
}
