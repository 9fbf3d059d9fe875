"""Trainings of other packages, for ``course bench`` to time beside ours where they are installed; nothing else of the course needs them.

``pip install careamics`` or ``pip install lightly`` in an environment of its own, with this repository on its path: CAREamics pins
versions of what the course uses.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms.functional import to_pil_image

import plain_loop as public
from course_lib import devices
from course_lib.pretext import contrastive
from course_lib.self_supervised_denoising import noise2void
from course_lib.self_supervised_denoising.noise2noise import UNet


def installed(package: str) -> bool:
    """Can the package be imported here?"""
    return importlib.util.find_spec(package) is not None


def operations(network: nn.Module, side: int) -> int:
    """Floating-point operations for one gray patch of that side, forth."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, side, side))
    return counter.get_total_flops()


def careamics(settings: noise2void.Settings, noisy: Sequence[Tensor], *, workers: int = 2) -> float:
    """Seconds for ``settings.steps`` steps of CAREamics' Noise2Void, loader, masks, network and optimiser being its own.

    Of its U-Nets of the same depth it is the one whose operations are nearest in number to those of ours.

    Args:
        settings: batch size, patch size, share of masked pixels, radius and depth are taken over.
        noisy: stored noisy images ``(1, H, W)``.
        workers: of its loader.
    """
    from careamics import CAREamist
    from careamics.config import create_advanced_n2v_config
    from pytorch_lightning import Callback

    class Timer(Callback):
        began = ended = 0.0

        def on_train_batch_end(self, trainer, module, outputs, batch, number):
            if number == 0:
                self.began = time.perf_counter()  # starting the workers is not counted
            self.ended = time.perf_counter()

    def trainer(width: int, timer: Timer, folder: str) -> CAREamist:
        config = create_advanced_n2v_config(
            "bench", "array", "YX", [settings.patch_size] * 2, settings.batch_size, num_epochs=1, num_steps=settings.steps + 1,
            masked_pixel_percentage=100 * settings.mask_ratio, roi_size=2 * settings.radius + 1, num_workers=workers,
            model_params={"depth": settings.depth, "num_channels_init": width}, trainer_params={"enable_model_summary": False},
        )  # fmt: skip
        return CAREamist(config, work_dir=folder, callbacks=[timer], enable_progress_bar=False)

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        wanted, side = operations(UNet(settings), settings.patch_size), settings.patch_size
        widths = {width: operations(trainer(width, Timer(), folder).model, side) for width in range(8, 65, 2)}
        timer = Timer()
        trainer(min(widths, key=lambda width: abs(widths[width] - wanted)), timer, folder).train(
            train_data=[image[0].cpu().numpy() for image in noisy]
        )
    return timer.ended - timer.began


def lightly(settings: contrastive.Settings, images: Tensor, *, workers: int = 2) -> float:
    """Seconds for ``settings.steps`` steps of SimCLR with lightly's views and loss, and a loop as its tutorial writes it.

    The network is ours, so that views, loader and loss are compared.

    Args:
        settings: batch size, colours and temperature are taken over.
        images: uint8 ``(N, 3, H, W)``.
        workers: of the loader.
    """
    from lightly.transforms import SimCLRTransform

    change = SimCLRTransform(input_size=settings.size, cj_strength=settings.colour, gaussian_blur=0.0, normalize=None)

    class Views(torch.utils.data.Dataset):
        def __len__(self):
            return (settings.steps + 1) * settings.batch_size

        def __getitem__(self, index):
            return change(to_pil_image(images[index % len(images)]))

    loss, model = lightly_loss(settings.temperature), contrastive.network(settings).to(devices.default())
    seconds, _ = public.loop(
        model, Views(), lambda *views: loss(*model(torch.cat(views)).chunk(2)), settings.batch_size, settings.learning_rate, workers
    )
    return seconds


def lightly_loss(temperature: float) -> nn.Module:
    """Lightly's NT-Xent, of two batches of embeddings."""
    from lightly.loss import NTXentLoss

    return NTXentLoss(temperature=temperature).to(devices.default())
