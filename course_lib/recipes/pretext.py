"""Recipes of pretext tasks: RotNet, its rivals, and the probes of the lecture's tables.

``quick`` is on digits on photographs, ``paper`` on CIFAR-10, and ``jpeg`` the same on its JPEG copy, which is another data set. No
test image chooses anything: every network is taken at its last step. (The released code of the probes took the epoch that was best on
the test images.) The paper gives no learning rate for fine-tuned probes; they have that of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from course_lib import data, probes
from course_lib.pretext import alexnet, downstream, rotation, supervised
from course_lib.recipes.base import Benchmark, Measure, Preset, Recipe, Source, parts_of, published
from course_lib.recipes.of_images import images
from course_lib.recipes.probes import Labelled
from course_lib.recipes.probes import preset as probe_preset
from course_lib.training import Method, Plan

DATA = {"quick": "digits_on_photos", "paper": "cifar10", "jpeg": "cifar10_jpeg"}
EPOCH = 50_000  # images, also where fewer have labels

FALLING = dict(schedule="cosine", final_learning_rate=0.0)  # a rate that falls in steps wastes some of so short a run
FEW_STEPS = dict(**FALLING, initial_gamma="ones")  # γ below 1 shrinks the activations of each layer, from which it takes long to recover
DIGITS = dict(flip=False, padding=2)  # a mirrored digit is none
QUICK = dict(**FEW_STEPS, **DIGITS, width=32, batch_size=32, steps=300, log_every=20)
QUICK_PROBE = dict(**FALLING, **DIGITS, batch_size=64, steps=250, learning_rate=0.05)


def rotations(model: nn.Module, images: Tensor, labels: Tensor, indices: Sequence[int] | None = None) -> list[float]:
    """:func:`course_lib.pretext.rotation.evaluate` of images ``(N, C, H, W)``, which needs no labels ``(N,)``."""
    return rotation.evaluate(model, images, indices=indices)


def nearest(name: str) -> dict[str, Measure]:
    """Classified by the nearest training images, in the features of block 1 and of block 2, which every NIN has."""
    blocks = (1, 2)
    return {f"knn_block{b}": partial(downstream.by_neighbours, known=lambda: data.load(name, "train"), block=b) for b in blocks}


def of_nin(
    title: str, method: Method, measure: Callable[[Plan], dict[str, Measure]], *, paper: Mapping | None = None, **settings
) -> Recipe:
    """A NIN that is trained by a method, with the neighbours in its features; ``settings`` are those of all presets."""

    def preset(name: str, **more) -> Preset:
        plan = method.Settings(**{**more, **settings})
        metrics = {**measure(plan), **nearest(DATA[name])}
        return Preset(settings=plan, data=parts_of(DATA[name]), tests={DATA[name]: Labelled(metrics=metrics)})

    return Recipe(
        title=title,
        chapter="04_rotnet",
        method=method,
        network=method.network,
        presets={"quick": preset("quick", **QUICK), "paper": preset("paper"), "jpeg": preset("jpeg")},
        paper=paper or {},
    )


def rotnet(angles: Sequence[int]) -> Recipe:
    """RotNet with these angles."""
    title = f"RotNet: NIN that tells turns by {', '.join(f'{angle}°' for angle in angles)}"
    return of_nin(title, rotation, lambda plan: {"rotation": rotations}, angles=tuple(angles))


def probed(
    title: str, trunk: str, block: int, head: str, *, fine_tuned: bool = False, accuracy: float | None = None, chapter: str = "04_rotnet"
) -> Recipe:
    """A probe of a block of the network of another recipe, with the paper's figure on CIFAR-10 where there is one."""
    # the rate falls after epochs 20, 40 and 45 (non-linear) or 35, 70 and 85 of 100
    drops = (0.35, 0.7, 0.85) if head == "conv" else (0.2, 0.4, 0.45)
    settings = downstream.ProbeSettings(
        block=block, head=head, fine_tuned=fine_tuned, drop_at=drops, batch_size=128, steps=100 * EPOCH // 128,
    )  # fmt: skip

    def preset(name: str, **more) -> Preset:
        source = Source(recipe=trunk, preset=name)
        return probe_preset(replace(settings, **more), source, parts_of(DATA[name]), [DATA[name]])

    return Recipe(
        title=title,
        chapter=chapter,
        method=probes,
        network=downstream.probe,
        presets={"quick": preset("quick", **QUICK_PROBE), "paper": preset("paper"), "jpeg": preset("jpeg")},
        paper=published({"the paper's, the best epoch on the test images": {"cifar10": {"accuracy": accuracy}}}) if accuracy else {},
        ships=False,
    )


def quality(accuracy: float) -> dict:
    """The paper's figure of a network that is trained with all labels."""
    return published({"the paper's, last epoch": {"cifar10": {"accuracy": accuracy}}})


NO_LEARNING = dict(learning_rate=0.0, final_learning_rate=0.0, weight_decay=0.0, schedule="cosine", steps=200)  # statistics only
OF_ALEXNET = Preset(
    settings=alexnet.Settings(), data=parts_of("own"), tests={"own": Benchmark(metrics={"rotation": alexnet.evaluate}, parts=20)}
)

RECIPES: dict[str, Recipe] = {
    "rotnet": rotnet((0, 90, 180, 270)),
    "rotnet_8": rotnet(range(0, 360, 45)),
    "rotnet_0_180": rotnet((0, 180)),
    "rotnet_90_270": rotnet((90, 270)),
    "nin_supervised": of_nin(
        "NIN of three blocks, trained with all labels", supervised, lambda plan: {"accuracy": probes.evaluate}, paper=quality(92.80)
    ),
    "nin_random": of_nin(
        "NIN that learns nothing, with the batch statistics of the images", supervised, lambda plan: {},
        blocks=4, **NO_LEARNING,
    ),
    # the blocks of RotNet
    "rotnet_block1": probed("Non-linear probe of RotNet's block 1", "rotnet", 1, "nonlinear", accuracy=85.07),
    "rotnet_block2": probed("Non-linear probe of RotNet's block 2", "rotnet", 2, "nonlinear", accuracy=89.06),
    "rotnet_block3": probed("Non-linear probe of RotNet's block 3", "rotnet", 3, "nonlinear", accuracy=86.21),
    "rotnet_block4": probed("Non-linear probe of RotNet's block 4", "rotnet", 4, "nonlinear", accuracy=61.73),
    # the comparison with supervised learning
    "rotnet_linear": probed("Linear probe of RotNet's block 2", "rotnet", 2, "linear"),
    "rotnet_conv": probed("Convolutional probe of RotNet's block 2", "rotnet", 2, "conv", accuracy=91.16),
    "rotnet_nonlinear_tuned": probed(
        "RotNet's two blocks and a non-linear head, fine-tuned", "rotnet", 2, "nonlinear", fine_tuned=True, accuracy=91.73
    ),
    "rotnet_conv_tuned": probed(
        "RotNet's two blocks and a convolutional head, fine-tuned", "rotnet", 2, "conv", fine_tuned=True, accuracy=92.17
    ),
    "random_conv": probed("Convolutional probe of an untrained NIN's block 2", "nin_random", 2, "conv", accuracy=72.50),
    # the number of rotations
    "rotnet_8_block2": probed("Non-linear probe of block 2, eight rotations", "rotnet_8", 2, "nonlinear", accuracy=88.51),
    "rotnet_0_180_block2": probed("Non-linear probe of block 2, 0° and 180°", "rotnet_0_180", 2, "nonlinear", accuracy=87.46),
    "rotnet_90_270_block2": probed("Non-linear probe of block 2, 90° and 270°", "rotnet_90_270", 2, "nonlinear", accuracy=85.52),
    # on a folder of one's own
    "rotnet_alexnet": Recipe(
        title="RotNet with AlexNet, on photographs of one's own",
        chapter="04_rotnet",
        method=alexnet,
        network=alexnet.AlexNet,
        presets={
            "quick": Preset(
                # four photographs a step, and few of them: the network is large
                settings=alexnet.Settings(**FEW_STEPS, batch_size=4, steps=12, log_every=2),
                data=images("photos", color=True),
                tests={"photos": Benchmark(metrics={"rotation": alexnet.evaluate})},
            ),
            "paper": OF_ALEXNET,
        },
        ships=False,
    ),
}  # fmt: skip
