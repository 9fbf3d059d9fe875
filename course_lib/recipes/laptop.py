r"""The preset ``laptop`` of the denoisers: network, loss and data of the paper, and all else chosen to learn in hours on two cores.

One network is not the paper's: CBDNet has half of its width. Nor are the gray images of those that are told the noise level: the authors
of FFDNet train on 5,544 images, so that it gets BSDS500 whole, 432 images of five times the pixels of BSD400. (FFDNet on BSD68
at σ = 25: 28.92 dB after 388,000 patches of these, 28.89 after 800,000 of BSD400.)
The paper's protocol takes days there. A run of the same number of hours with its settings stops in the middle of a schedule that was
made for days. What is changed here was measured with DnCNN-S at σ = 25 (17 layers, 64 channels), four minutes on two cores, one seed:
PSNR on Set12's seven small images, and on a quarter of BSD68.

==========================================================  =========  =========
\                                                           Set12      BSD68
==========================================================  =========  =========
batch normalisation, He's start, AdamW                      25.26 dB   25.62 dB
batch normalisation, He's start, Muon                       29.25 dB   28.41 dB
no normalisation, centred orthogonal start, AdamW           29.06 dB   28.27 dB
no normalisation, centred orthogonal start, Muon            29.85 dB   28.77 dB
==========================================================  =========  =========

The networks that see no clean image keep their start. The U-Net of Noise2Void after 250 steps of 8 patches, one seed, on the embedded
photographs: Adam 27.55 dB, Muon at the rate above 27.69, at twice that rate, and three times that of the rest, 27.84. The half-plane
network learns fastest at that rate, too: after 200 steps of 4 patches, one seed, Adam 21.2 dB, Muon 24.0 (0.005), 27.1 (0.01) and 28.9
(0.02, and 0.003 for the rest). But that does not last: of two runs of 10,000 steps at the highest rate one diverged, and the other spoiled
whole photographs. So its rates are those of the U-Net below. The dilated one, deep and without normalisation, stands none of this: after
160 steps of 4 patches, one seed, on one photograph, Adam 28.23 dB, Muon at 0.003 28.76 with 0.0003 for the rest and 27.04 with 0.001; at
0.01 it learns nothing. Behind pixel-shuffle downsampling, with an absolute error in place of a likelihood, it does: small AP-BSN after 150
steps at stride 5, one seed, on four images of CBSD68 at stride 2, 21.39 dB (0.003), 22.05 (0.01) and 21.81 (0.02). For the full width no
rate was measured.

The U-Net of Noise2Noise has five poolings: its innermost images have 2×2 pixels where patches have 64×64. At these higher rates it fits
patches, and may fail on whole photographs, which have more pixels there. Lower ones mend it. After 400 steps of 8 patches, seeds 0, 1 and
2, PSNR of three embedded photographs in colour at σ = 25, cut into 64×64 and in one piece:

===================================  ===================  ===================
\                                    cut                  in one piece
===================================  ===================  ===================
Muon, 0.02, and 0.003 for the rest   29.96, 29.86, 29.38  10.61, 30.17, 25.30
Muon, 0.005, and 0.001 for the rest  29.62, 30.04, 29.81  29.88, 30.35, 30.02
===================================  ===================  ===================

Patches of 128×128, half as many, are no better at the lower rate (29.94 dB, seed 0), and Adam at 0.001 stays behind (28.25 dB, seed
0). The half-plane network has as many poolings, and needs more than the lower rate: after 600 steps it fits patches of 64×64 (likelihood
−1.70, the dilated one's −1.72 at its end), but has 26.00 dB on BSD68, 26.32 without the posterior. The authors take patches of 256×256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from course_lib.recipes.ap_bsn import RECIPES as SHUFFLED
from course_lib.recipes.base import Preset, Recipe, Source
from course_lib.recipes.blind_spots import RECIPES as BLIND
from course_lib.recipes.denoising import CLASSES
from course_lib.recipes.denoising import RECIPES as CLEAN
from course_lib.recipes.of_images import images
from course_lib.recipes.self_supervised_denoising import RECIPES as NOISY

LAPTOP = dict(
    batch_size=16, patch_size=40,  # of 128 patches a step takes eight times as long
    optimizer="muon", muon_learning_rate=0.01,  # steps that are equally long in all directions of a kernel; for the 3×3 kernels inside
    learning_rate=1e-3, final_learning_rate=0.0, schedule="cosine",  # AdamW for first and last layer and biases; all rates end at zero
    warmup_steps=100,  # Muon's first steps are as long as all others, in directions of which it knows little yet
    ema=0.999,  # of a schedule that has not ended yet only the average is worth measuring; at its end the two agree
    save_every=250,  # about a minute: what a power cut costs
)  # fmt: skip
PLAIN = {
    **LAPTOP,
    "batch_norm": False,  # its statistics of 16 patches are noise, and with …
    "centred": True,  # … kernels that start orthogonal in their middle tap a deep network learns from the first step on without it
}
"""For plain stacks of convolutions."""
DEEP_UNET = {**LAPTOP, "batch_size": 8, "patch_size": 64, "steps": 20_000, "muon_learning_rate": 0.005}  # see above
UNET = {**LAPTOP, "patch_size": 64, "steps": 20_000, "muon_learning_rate": 0.02, "learning_rate": 3e-3}
TURNED = {**DEEP_UNET, "batch_size": 4, "steps": 10_000}  # four rotations of each patch go through the network
DILATED = {**LAPTOP, "batch_size": 4, "patch_size": 48, "steps": 6_000, "muon_learning_rate": 0.003, "learning_rate": 3e-4}
SUBIMAGES = {**LAPTOP, "batch_size": 4, "patch_size": 120, "steps": 10_000}  # the paper's patches: a stride of 5 leaves a fifth of them

CHANGES: Mapping[str, Mapping[str, Any]] = {
    "dncnn_s": {**PLAIN, "steps": 20_000},
    "dncnn_s15": {**PLAIN, "steps": 20_000},
    "dncnn_s50": {**PLAIN, "steps": 20_000},
    "dncnn_b": {**PLAIN, "steps": 20_000},
    "dncnn_3": {**PLAIN, "steps": 20_000, "batch_size": 18},  # each of its nine degradations twice
    "cdncnn_b": {**PLAIN, "steps": 20_000},
    "dncnn_30": {**PLAIN, "steps": 16_000},
    "bfcnn_30": {**PLAIN, "steps": 16_000},
    "bfcnn": {**PLAIN, "steps": 16_000},
    # it computes at half resolution, so that larger patches and more steps cost less than above
    "ffdnet": {**PLAIN, "steps": 50_000, "patch_size": 64, "orthogonal": False},  # singular values move by 1e-5 at a time: too little, …
    "cffdnet": {**PLAIN, "steps": 20_000, "patch_size": 50, "orthogonal": False},  # … in so few steps, to be worth its time
    "fdncnn": {**LAPTOP, "steps": 20_000, "centred": True},  # it never has batch normalisation
    # at half the paper's width its weights take 2 MB and not 9; Adam, as Muon was not measured with a U-Net whose skips are added
    "cbdnet": {"width": 32, "steps": 12_000, "batch_size": 16, "patch_size": 64, "learning_rate": 1e-3, "final_learning_rate": 0.0,
               "schedule": "cosine", "warmup_steps": 200, "ema": 0.999, "save_every": 250},
    "gradual": {**LAPTOP, "steps": 16_000, "centred": True},
    "gradual_poisson": {**LAPTOP, "steps": 16_000, "centred": True},
    # a network that is trained already: fewer steps, and smaller ones
    **{f"gradual_{name}": {**LAPTOP, "steps": 3_000, "centred": True, "learning_rate": 2e-4, "muon_learning_rate": 2e-3}
       for name in CLASSES},
    **{name: DEEP_UNET for name in NOISY},
    **{name: UNET for name in BLIND if name.startswith("n2v") and name != "n2v_single"},
    **{name: TURNED for name in BLIND if name.startswith("half_plane")},
    **{name: DILATED for name in BLIND if name.startswith("dilated")},
    **{name: SUBIMAGES for name in SHUFFLED},
    **{name: {**SUBIMAGES, "batch_size": 2, "steps": 2_500} for name in ("ap_bsn", "ap_bsn_camera")},  # of full width
}  # fmt: skip
"""Recipe -> what differs from the settings of its preset ``paper``."""
MORE_IMAGES = {"ffdnet": images("bsd432"), "fdncnn": images("bsd432")}
"""Recipe -> what it trains on, where that is not as in its preset ``paper``."""


def on_a_laptop(name: str, paper: Preset) -> Preset:
    """The preset ``laptop`` beside that of the paper; what goes on from weights goes on from those of that preset."""
    needs = {part: Source(recipe=source.recipe, preset="laptop", part=source.part) for part, source in paper.needs.items()}
    settings, data = replace(paper.settings, **CHANGES[name]), MORE_IMAGES.get(name, paper.data)
    return replace(paper, settings=settings, data=data, needs=needs, ships=name in CLEAN and name != "fdncnn")


# The recipes of denoising, with and without clean images, with that preset. Sliders of the chapters without clean images show small
# networks, of the preset quick; the weights of these would double the repository. Nothing shows FDnCNN.
RECIPES: dict[str, Recipe] = {
    name: replace(recipe, presets={**recipe.presets, "laptop": on_a_laptop(name, recipe.presets["paper"])}) if name in CHANGES else recipe
    for name, recipe in {**CLEAN, **NOISY, **BLIND, **SHUFFLED}.items()
}  # fmt: skip
