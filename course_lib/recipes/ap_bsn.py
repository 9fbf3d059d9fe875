"""Recipes of AP-BSN: on correlated noise, with other strides of the training as controls, and on photographs of cameras."""

from __future__ import annotations

from functools import partial

from course_lib.denoising import evaluation
from course_lib.recipes.base import Preset, Recipe
from course_lib.recipes.of_images import OfPairs, benchmarks, images, untouched
from course_lib.self_supervised_denoising import ap_bsn

QUICK = dict(
    width=32, modules=2, channels=1, patch_size=90, batch_size=3, steps=300, log_every=10,  # what two cores do in 15 s
    optimizer="muon", muon_learning_rate=0.02, learning_rate=3e-3, final_learning_rate=0.0, schedule="cosine",
    warmup_steps=20,  # learns most in few steps
    sigma_255=50.0,  # stronger noise tells the strides apart in so few steps
)  # fmt: skip

AT_TEST = {  # what is done at the test: metric -> (stride, passes of R3)
    "psnr": (2, 8),
    "psnr_pd1": (1, 0),
    "psnr_pd2": (2, 0),
    "psnr_pd3": (3, 0),
    "psnr_pd5": (5, 0),
}
MEASURES = {name: partial(ap_bsn.evaluate, stride=stride, passes=passes) for name, (stride, passes) in AT_TEST.items()}
OF_PHOTOGRAPHS = OfPairs(metrics={
    **{name: partial(ap_bsn.evaluate_pairs, stride=stride, passes=passes) for name, (stride, passes) in AT_TEST.items()},
    "input": untouched(evaluation.psnr_of_pairs),
})  # fmt: skip


def on_correlated_noise(title: str, stride: int = 5, **paper) -> Recipe:
    """AP-BSN on synthetic noise, one stored version of each image; the paper has no figures for it. ``paper``: settings of that preset."""
    return Recipe(
        title=title,
        chapter="14_ap_bsn",
        method=ap_bsn,
        network=ap_bsn.APBSN,
        presets={
            "quick": Preset(settings=ap_bsn.Settings(**QUICK, stride=stride), data=images("photos"),
                            tests=benchmarks(["photos"], MEASURES)),
            "paper": Preset(settings=ap_bsn.Settings(stride=stride, **paper), data=images("cbsd432", color=True),
                            tests=benchmarks(["cbsd68"], MEASURES)),
        },
    )  # fmt: skip


RECIPES: dict[str, Recipe] = {
    "ap_bsn": on_correlated_noise("AP-BSN on correlated noise"),
    **{
        # a quarter of the width: these are compared with each other, and four networks of the full size take 29 MB
        f"ap_bsn_stride{stride}": on_correlated_noise(f"{what}, trained at stride {stride}, on correlated noise", stride, width=32)
        for stride, what in {1: "A plain blind-spot network", 2: "Small AP-BSN", 3: "Small AP-BSN", 5: "Small AP-BSN"}.items()
    },
    "ap_bsn_camera": Recipe(
        title="AP-BSN on the noise of cameras",
        chapter="14_ap_bsn",
        method=ap_bsn,
        network=ap_bsn.APBSN,
        presets={
            "quick": Preset(settings=ap_bsn.Settings(**{**QUICK, "noise": "camera", "channels": 3}),
                            data=images("photos", color=True), tests=benchmarks(["photos"], MEASURES)),
            # on the noisy photographs themselves, as the paper's training on those of the SIDD benchmark; their truth only measures
            "paper": Preset(settings=ap_bsn.Settings(noise="camera"), data=images("cc15"), tests={"cc15": OF_PHOTOGRAPHS}),
        },
    ),
}  # fmt: skip
