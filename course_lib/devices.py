"""Which device trains, and in which precision."""

from __future__ import annotations

import logging
import os
import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

PRECISIONS = ("32-true", "bf16-mixed")


def default() -> torch.device:
    """A CUDA GPU or Apple's where PyTorch sees one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def describe(device: torch.device) -> str:
    """The device in words, as progress bars and records show it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type.upper()


@cache
def faster_precision(device: torch.device) -> str:
    """``bf16-mixed`` where bfloat16 makes a convolution, forth and back, at least 1.2 times as fast; else ``32-true``.

    Timed once a process on ``device``, for about a tenth of a second: a processor or GPU without bfloat16 units computes
    it more slowly than float32, and no version number tells.
    """
    if device.type == "mps":
        return "32-true"
    weight = torch.full((64, 64, 3, 3), 0.01, device=device).to(memory_format=torch.channels_last).requires_grad_()
    images = torch.full((8, 64, 40, 40), 0.5, device=device).to(memory_format=torch.channels_last).requires_grad_()
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        for repetition in range(6):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            began = time.perf_counter()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                F.conv2d(images, weight, padding=1).float().mean().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repetition:  # the first one also prepares the kernels
                best[dtype] = min(best.get(dtype, float("inf")), time.perf_counter() - began)
    return "bf16-mixed" if best[torch.float32] > 1.2 * best[torch.bfloat16] else "32-true"


def precision(wanted: str, device: torch.device | None = None) -> str:
    """``wanted`` itself, or for ``"auto"`` what ``COURSE_PRECISION`` says, else what :func:`faster_precision` finds.

    Raises:
        ValueError: for a precision that is neither ``32-true`` nor ``bf16-mixed``.
    """
    chosen = os.environ.get("COURSE_PRECISION") or "auto" if wanted == "auto" else wanted
    if chosen == "auto" and int(os.environ.get("WORLD_SIZE", 1)) > 1:  # all processes must agree, which timings may not
        return "bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(False) else "32-true"
    if chosen == "auto":
        return faster_precision(device or default())
    if chosen not in PRECISIONS:
        raise ValueError(f'precision "{chosen}" is unknown: use {" or ".join(PRECISIONS)} (or COURSE_PRECISION=auto).')
    return chosen


def fabric(precision: str):
    """A launched Lightning Fabric: one process on the default device, or as ``fabric run`` and ``torchrun`` started it."""
    from lightning_fabric import Fabric  # half a second to import, which reading a method's file should not cost

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision, as the progress bar does

    if "LT_CLI_USED" in os.environ:  # fabric run: it has chosen accelerator, devices and strategy, and launched
        launched = Fabric(precision=precision)
    elif "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun: one device for each process that it started here
        launched = Fabric(precision=precision, devices=int(os.environ["LOCAL_WORLD_SIZE"]),
                          num_nodes=int(os.environ["GROUP_WORLD_SIZE"]))  # fmt: skip
    else:
        launched = Fabric(precision=precision, accelerator=default().type, devices=1)
    if "LT_CLI_USED" not in os.environ:
        launched.launch()
    if launched.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are fixed, so that the search pays
        torch.set_float32_matmul_precision("high")
    return launched


def processes() -> int:
    """How many processes train together; 1 without ``fabric run`` or ``torchrun``."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of these processes this one is; 0 for the first, and where there is only one."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def share(batch_size: int, world_size: int) -> int:
    """What one of ``world_size`` processes has of a batch; ``ValueError`` where it cannot be shared out evenly."""
    if batch_size % world_size:
        raise ValueError(f"batch_size = {batch_size} cannot be shared out evenly to {world_size} processes.")
    return batch_size // world_size


def agreed(fabric, asked: bool, *, ask: bool) -> bool:
    """Has anybody asked to stop? Several processes agree on it in the steps where all ``ask``, so that none waits for another."""
    if fabric.world_size == 1:
        return asked
    return ask and bool(fabric.all_reduce(torch.tensor(float(asked), device=fabric.device)) > 0)


def same_buffers(fabric, model: nn.Module) -> None:
    """Give all processes the first one's buffers: each had batch statistics of its own batches."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            buffer.copy_(fabric.broadcast(buffer))


class _Gathered(torch.autograd.Function):
    """Concatenation over all processes; the gradient of a process's part is the sum of what all of them find for it."""

    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(processes())]
        distributed.all_gather(parts, local.contiguous())
        ctx.length = len(local)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total[distributed.get_rank() * ctx.length :][: ctx.length]


def gathered(local: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks: ``(b, …)`` on each of R gives ``(R · b, …)`` on all.

    For losses that compare the images of a batch with one another, of which every process holds but a share. The gradient
    passes: where each process computes the loss of the whole batch from this, the mean of their gradients, which is what
    data parallelism takes, is the gradient of that loss. One process gets back what it gave.
    """
    return local if processes() == 1 else _Gathered.apply(local)
