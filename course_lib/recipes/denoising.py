"""Recipes of denoising: DnCNN and its successors, BF-CNN, FFDNet, gradual denoising, CBDNet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import nn

from course_lib import reported
from course_lib.denoising import bfcnn, cbdnet, dncnn, evaluation, fdncnn, ffdnet, gradual, nn3d
from course_lib.recipes.base import Measure, Preset, Recipe, Source, published
from course_lib.recipes.of_images import OfImages, OfPairs, before_and_after, benchmarks, images, restored
from course_lib.training import Method

# --- how they are measured ------------------------------------------------------------------------------------------------


def at_sigmas(*sigmas_255: float, method: Method = dncnn) -> dict[str, Measure]:
    """A method's PSNR on Gaussian noise: ``psnr`` where there is one σ, else ``psnr_15``, ``psnr_25``, …"""
    names = ["psnr"] if len(sigmas_255) == 1 else [f"psnr_{sigma:g}" for sigma in sigmas_255]
    return {name: partial(method.evaluate, sigma_255=sigma) for name, sigma in zip(names, sigmas_255, strict=True)}


def around_it(*sigmas_255: float) -> dict[str, Measure]:
    """PSNR of NN3D around a network."""
    return {f"nn3d_{sigma:g}": restored(nn3d.evaluate, sigma) for sigma in sigmas_255}


def beyond(method: Method) -> dict[str, Measure]:
    """PSNR on noise within and beyond what a blind network was trained for, by the protocol of BF-CNN."""
    clamped = {} if method is bfcnn else {"protocol": "clamped"}
    return {f"clamped_{sigma}": partial(method.evaluate, sigma_255=float(sigma), **clamped) for sigma in (10, 30, 50, 70, 100)}


GRAY, COLOR = at_sigmas(15.0, 25.0, 50.0), at_sigmas(15.0, 25.0, 35.0, 50.0)
TOLD = at_sigmas(15.0, 25.0, 35.0, 50.0, 75.0, method=fdncnn)
AROUND = {**at_sigmas(30.0, 50.0), **around_it(30.0, 50.0)}  # NN3D, within the range of a blind network
UPSCALED = before_and_after({f"_x{scale}": (evaluation.psnr_upscaled, (scale,)) for scale in (2, 3, 4)})
DEBLOCKED = before_and_after({f"_q{quality}": (evaluation.psnr_deblocked, (quality,)) for quality in (10, 20, 30, 40)})
TAKEN = before_and_after({"_camera": (evaluation.psnr_of_camera, (0.08, 0.03)),
                          "_jpeg": (partial(evaluation.psnr_of_camera, quality=80), (0.08, 0.03))})  # fmt: skip
REAL = OfPairs(metrics=before_and_after({"": (evaluation.psnr_of_pairs, ())}))

# --- settings that several share ------------------------------------------------------------------------------------------

QUICK = dict(
    depth=8, width=32, steps=1000, batch_size=8, log_every=25,  # what two cores do in 20 s
    batch_norm=False, zero_last=True,  # a shallow network starts as well without, and every step is faster
    learning_rate=2e-3, final_learning_rate=0.0, schedule="cosine", warmup_steps=20,  # learns most in few steps
    scales=(1.0, 0.5),  # the embedded photos are few and large
)  # fmt: skip
QUICK_BEYOND = {**QUICK, "batch_norm": True, "patch_size": 24, "steps": 600}  # its constants are what the chapter is about
QUICK_FFDNET = dict(
    depth=6, patch_size=32, steps=1000, batch_size=8, log_every=25,  # what two cores do in 20 s
    batch_norm=False, centred=True,  # a shallow network starts as well without, and every step is faster
    final_learning_rate=0.0, schedule="cosine", warmup_steps=20, scales=(1.0, 0.5),  # as above
)  # fmt: skip
QUICK_FDNCNN = {name: value for name, value in QUICK_FFDNET.items() if name != "batch_norm"}  # which it never has
QUICK_GRADUAL = dict(
    depth=8, width=32, patch_size=32, steps=300, batch_size=8, log_every=20,  # what two cores do in 15 s
    learning_rate=2e-3, warmup_steps=20,  # learns most in few steps
)  # fmt: skip
QUICK_CBDNET = dict(
    width=16, estimator_width=16, patch_size=48, steps=600, batch_size=8, log_every=25,  # what two cores do in 30 s
    learning_rate=2e-3, warmup_steps=20,  # learns most in few steps
)  # fmt: skip
BLIND = dict(depth=20, patch_size=50, sigma_255=(0.0, 55.0), steps=150_000)  # of the paper; 50 epochs of 128 × 3,000 patches

# --- families -------------------------------------------------------------------------------------------------------------


def dncnn_s(sigma_255: float, *, bsd68: float, set12: float) -> Recipe:
    """DnCNN-S for one σ, with the paper's figures on the two test sets."""
    tests, sigma = at_sigmas(sigma_255), (sigma_255, sigma_255)
    return Recipe(
        title=f"DnCNN-S: 17 layers, trained for σ = {sigma_255:g}",
        chapter="08_dncnn", method=dncnn,
        network=dncnn.DnCNN,
        presets={
            "quick": Preset(settings=dncnn.Settings(**QUICK, sigma_255=sigma), data=images("photos"), tests=benchmarks(["photos"], tests)),
            "paper": Preset(settings=dncnn.Settings(sigma_255=sigma), data=images("bsd400"),
                            tests=benchmarks(["bsd68", "set12", "photos"], tests)),
        },
        paper=published({"quantised": {"bsd68": {"psnr": bsd68}, "set12": {"psnr": set12}}}),
    )  # fmt: skip


def trained_up_to(title: str, method: Method, network: type[nn.Module], sigma_255: float, paper: Sequence[float]) -> Recipe:
    """DnCNN or BF-CNN, 20 layers, for σ from 0 to one that is exceeded in the test, with figures of BF-CNN's paper."""
    tests, trained = beyond(method), {"sigma_255": (0.0, sigma_255)}
    return Recipe(
        title=title,
        chapter="10_blind_and_real", method=method,
        network=network,
        presets={
            "quick": Preset(settings=method.Settings(**QUICK_BEYOND, **trained), data=images("photos"),
                            tests=benchmarks(["photos"], tests)),
            "paper": Preset(settings=bfcnn.Settings(**trained), data=images("bsd400"), tests=benchmarks(["bsd68", "photos"], tests)),
        },
        paper=published({"clamped": {"bsd68": dict(zip(tests, paper, strict=True))}}),
        fails=() if method is bfcnn else tuple(name for name in tests if reported.sigma_255(name) > sigma_255),  # biases do not scale
    )  # fmt: skip


def ffdnet_recipe(title: str, train_on: str, paper: dict[str, dict[str, float]], *, color: bool = False, **settings) -> Recipe:
    """FFDNet in gray or colour; ``paper`` are published figures, data set to test on -> metric -> value."""
    tests = at_sigmas(15.0, 25.0, 35.0, 50.0, 75.0, method=ffdnet)
    with_nn3d = {**tests, "psnr_30": partial(ffdnet.evaluate, sigma_255=30.0), **around_it(30.0, 50.0, 75.0)}
    channels = {"channels": 3} if color else {}
    return Recipe(
        title=title,
        chapter="09_ffdnet", method=ffdnet,
        network=ffdnet.FFDNet,
        presets={
            "quick": Preset(settings=ffdnet.Settings(**QUICK_FFDNET, **channels), data=images("photos", color=color),
                            tests=benchmarks(["photos"], tests)),
            "paper": Preset(settings=ffdnet.Settings(**settings, **channels), data=images(train_on, color=color),
                            tests=benchmarks(paper, tests if color else with_nn3d) | benchmarks(["photos"], tests)),
        },
        paper=published({"quantised": paper}),
    )  # fmt: skip


CLASSES = {  # of images, for gradual denoising: what to train on, and what to test on
    "faces": ("portraits", "portraits"),
    "digits": ("sheets", "sheets"),
    "photos": ("bsd400", "set12"),
    "text": ("pages", "pages"),
    "textures": ("textures", "textures"),
}


def gradual_recipe(title: str, on: Sequence[str], *, start: str = "", peak: float = 0.0, **settings) -> Recipe:
    """Gradual denoising of σ = 25, or of a Poisson peak, trained on some of the classes and tested on all."""
    tests = {"psnr": partial(gradual.evaluate, peak=peak) if peak else partial(gradual.evaluate, sigma_255=25.0)}
    presets = {
        "paper": Preset(
            settings=gradual.Settings(peak=peak, **settings),
            data=images(*(CLASSES[name][0] for name in on)),
            tests=benchmarks([test for _, test in CLASSES.values()], tests),
            needs={"start": Source(recipe=start)} if start else {},
        )
    }
    if not start:  # what is embedded; its photos to train on have the textures among them, both halves
        embedded = ("photos", "sheets", "pages")
        presets["quick"] = Preset(settings=gradual.Settings(**QUICK_GRADUAL, peak=peak), data=images(*embedded),
                                  tests=benchmarks(embedded, tests))  # fmt: skip
    return Recipe(title=title, chapter="11_inside_the_denoiser", method=gradual, network=gradual.GradualDenoiser, presets=presets)


# --- the recipes ----------------------------------------------------------------------------------------------------------

RECIPES: dict[str, Recipe] = {
    "dncnn_s": dncnn_s(25.0, bsd68=29.23, set12=30.436),
    "dncnn_s15": dncnn_s(15.0, bsd68=31.73, set12=32.859),
    "dncnn_s50": dncnn_s(50.0, bsd68=26.23, set12=27.178),
    "dncnn_b": Recipe(
        title="DnCNN-B: 20 layers, blind, trained for σ in [0, 55]",
        chapter="08_dncnn", method=dncnn,
        network=dncnn.DnCNN,
        presets={
            "quick": Preset(settings=dncnn.Settings(**QUICK, sigma_255=(0.0, 55.0)), data=images("photos"),
                            tests=benchmarks(["photos"], GRAY)),
            "paper": Preset(settings=dncnn.Settings(**BLIND), data=images("bsd400"), tests={
                "bsd68": OfImages(metrics={**GRAY, **AROUND, **beyond(dncnn)}),
                "set12": OfImages(metrics={**GRAY, **AROUND}),
                "photos": OfImages(metrics=GRAY),
            }),
        },
        paper=published({
            "quantised": {"bsd68": {"psnr_15": 31.61, "psnr_25": 29.16, "psnr_50": 26.23},
                          "set12": {"psnr_15": 32.680, "psnr_25": 30.362, "psnr_50": 27.206}},
            "clamped": {"bsd68": dict(zip(beyond(dncnn), (33.73, 28.34, 26.22, 22.12, 15.43), strict=True))},  # by BF-CNN's authors
        }),
        fails=("clamped_70", "clamped_100"),
    ),
    "dncnn_3": Recipe(
        title="DnCNN-3: 20 layers for Gaussian noise, super-resolution and JPEG deblocking",
        chapter="08_dncnn", method=dncnn,
        network=dncnn.DnCNN,
        presets={
            # a batch of 9 has each of the nine degradations once
            "quick": Preset(settings=dncnn.Settings(**{**QUICK, "batch_size": 9}, sigma_255=(0.0, 55.0), general=True),
                            data=images("photos"), tests=benchmarks(["photos"], {**GRAY, **UPSCALED, **DEBLOCKED})),
            # of the paper: 50 epochs of 128 × 8,000 patches
            "paper": Preset(settings=dncnn.Settings(**{**BLIND, "steps": 400_000}, general=True), data=images("bsd400"), tests={
                "bsd68": OfImages(metrics=GRAY),
                "set12": OfImages(metrics={**GRAY, **DEBLOCKED}),
                "set5": OfImages(metrics=UPSCALED),
                "photos": OfImages(metrics={**GRAY, **UPSCALED, **DEBLOCKED}),
            }),
        },
        paper=published({
            "quantised": {"bsd68": {"psnr_15": 31.46, "psnr_25": 29.02, "psnr_50": 26.10}},
            "luma, raw, without a border of the scale": {"set5": {"psnr_x2": 37.58, "psnr_x3": 33.75, "psnr_x4": 31.40}},
        }),
    ),
    "cdncnn_b": Recipe(
        title="CDnCNN-B: DnCNN-B for colour images",
        chapter="08_dncnn", method=dncnn,
        network=dncnn.DnCNN,
        presets={
            "quick": Preset(settings=dncnn.Settings(**QUICK, channels=3, sigma_255=(0.0, 55.0)), data=images("photos", color=True),
                            tests=benchmarks(["photos"], COLOR)),
            "paper": Preset(settings=dncnn.Settings(**BLIND, channels=3), data=images("cbsd432", color=True), tests={
                "cbsd68": OfImages(metrics=COLOR),
                "cc15": REAL,
                "photos": OfImages(metrics={**COLOR, **TAKEN}),
            }),
        },
        paper=published({"quantised": {"cbsd68": {"psnr_15": 33.89, "psnr_25": 31.23, "psnr_35": 29.58, "psnr_50": 27.92}}}),
    ),
    "dncnn_30": trained_up_to("DnCNN for σ up to 30: 20 layers, blind", dncnn, dncnn.DnCNN, 30.0,
                              (33.78, 28.37, 18.84, 15.21, 12.91)),
    "bfcnn_30": trained_up_to("BF-CNN for σ up to 30: bias-free, 20 layers", bfcnn, bfcnn.BFCNN, 30.0,
                              (33.67, 28.25, 26.05, 24.68, 23.26)),
    "bfcnn": trained_up_to("BF-CNN for σ up to 55: bias-free, 20 layers", bfcnn, bfcnn.BFCNN, 55.0,
                           (33.72, 28.31, 26.18, 24.88, 23.57)),
    "ffdnet": ffdnet_recipe("FFDNet: told the noise level, σ in [0, 75]", "bsd400", {
        # the second line and those on Set12 are by the authors of NN3D
        "bsd68": {"psnr_15": 31.63, "psnr_25": 29.19, "psnr_35": 27.73, "psnr_50": 26.29, "psnr_75": 24.79,
                  "psnr_30": 28.38, "nn3d_30": 28.37, "nn3d_50": 26.29, "nn3d_75": 24.80},
        "set12": {"psnr_30": 29.63, "psnr_50": 27.33, "psnr_75": 25.51, "nn3d_30": 29.66, "nn3d_50": 27.39, "nn3d_75": 25.61},
    }),
    # of the paper: in colour 12 layers of 96 kernels, on patches of 50
    "cffdnet": ffdnet_recipe("FFDNet for colour images", "cbsd432", {
        "cbsd68": {"psnr_15": 33.87, "psnr_25": 31.21, "psnr_35": 29.58, "psnr_50": 27.96, "psnr_75": 26.24},
    }, color=True, depth=12, width=96, patch_size=50),
    "fdncnn": Recipe(
        title="FDnCNN: told the noise level at full resolution, σ in [0, 75]",
        chapter="09_ffdnet", method=fdncnn,
        network=fdncnn.FDnCNN,
        presets={
            "quick": Preset(settings=fdncnn.Settings(**QUICK_FDNCNN), data=images("photos"), tests=benchmarks(["photos"], TOLD)),
            "paper": Preset(settings=fdncnn.Settings(), data=images("bsd400"), tests=benchmarks(["bsd68", "set12", "photos"], TOLD)),
        },
        paper=published({"quantised": {"bsd68": {"psnr_15": 31.69, "psnr_25": 29.22, "psnr_50": 26.27}}}),  # of the released code
    ),
    "gradual": gradual_recipe("Gradual denoising, class-agnostic, σ = 25", tuple(CLASSES)),
    **{
        # a network that is trained already: fewer steps, and smaller ones
        f"gradual_{name}": gradual_recipe(f"Gradual denoising, trained further on {name}", (name,), start="gradual", steps=10_000,
                                          learning_rate=2e-4)
        for name in CLASSES
    },
    "gradual_poisson": gradual_recipe("Gradual denoising, class-agnostic, Poisson noise of peak 8", tuple(CLASSES), peak=8.0),
    "cbdnet": Recipe(
        title="CBDNet: estimates the noise of a camera, and removes it",
        chapter="10_blind_and_real", method=cbdnet,
        network=cbdnet.CBDNet,
        presets={
            "quick": Preset(settings=cbdnet.Settings(**QUICK_CBDNET), data=images("photos", color=True),
                            tests=benchmarks(["photos"], TAKEN)),
            "paper": Preset(settings=cbdnet.Settings(), data=images("cbsd432", color=True),
                            tests={"cc15": REAL, "photos": OfImages(metrics=TAKEN)}),
        },
    ),
}  # fmt: skip
