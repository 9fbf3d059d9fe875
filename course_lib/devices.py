"""Which device trains, in which precision and layout, and with which other processes."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
    """``bf16-mixed`` where a GPU has units for bfloat16, and on a processor where it is at least 1.2 times as fast; else ``32-true``.

    A processor is timed once a process, for about a tenth of a second, at a convolution, forth and back: no version number tells. A
    GPU tells, and is not timed: such a convolution is too small for it, and beside other work its time is that of waiting.
    """
    if device.type != "cpu":
        return "bf16-mixed" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    weight = torch.full((64, 64, 3, 3), 0.01, device=device).to(memory_format=torch.channels_last).requires_grad_()
    images = torch.full((8, 64, 40, 40), 0.5, device=device).to(memory_format=torch.channels_last).requires_grad_()
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        for repetition in range(6):
            began = time.perf_counter()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                F.conv2d(images, weight, padding=1).float().mean().backward()
            if repetition:  # the first one also prepares the kernels
                best[dtype] = min(best.get(dtype, float("inf")), time.perf_counter() - began)
    return "bf16-mixed" if best[torch.float32] > 1.2 * best[torch.bfloat16] else "32-true"


def precision(wanted: str, device: torch.device | None = None) -> str:
    """``wanted`` itself, or for ``"auto"`` what ``COURSE_PRECISION`` says, else what :func:`faster_precision` finds.

    Raises:
        ValueError: for a precision that is neither ``32-true`` nor ``bf16-mixed``.
    """
    chosen = os.environ.get("COURSE_PRECISION") or "auto" if wanted == "auto" else wanted
    if chosen == "auto":
        device, together = device or default(), max(int(os.environ.get("WORLD_SIZE", 1)), _srun_tasks()) > 1
        return "32-true" if together and device.type == "cpu" else faster_precision(device)  # processes must agree, which timings may not
    if chosen not in PRECISIONS:
        raise ValueError(f'precision "{chosen}" is unknown: use {" or ".join(PRECISIONS)} (or COURSE_PRECISION=auto).')
    return chosen


def memory_format(device: torch.device) -> torch.memory_format:
    """In which order a device keeps the axes of images: channels last, which convolutions are fastest in.

    Not on Apple's GPU: there PyTorch computes wrong gradients of batch normalisation from it (pytorch/pytorch issue 175189).
    """
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def compiling(wanted: bool | None, device: torch.device) -> bool:
    """Is a network to be compiled: as ``wanted``, else on a GPU; not where compiling does not work, which a warning tells."""
    asked = device.type == "cuda" if wanted is None else wanted
    problem = asked and no_compiler(device.type)
    if problem:
        warnings.warn(f"torch.compile does not work here ({problem}): the training goes on without it, more slowly.", stacklevel=4)
    return bool(asked and not problem)


def compiled(model: nn.Module, wanted: bool | None, device: torch.device) -> nn.Module:
    """``model`` as one compiled graph for inputs of one shape, where :func:`compiling` says so; else itself."""
    return torch.compile(model, fullgraph=True, dynamic=False) if compiling(wanted, device) else model


@cache
def no_compiler(kind: str) -> str:
    """Why ``torch.compile`` does not work on a kind of device, such as a C++ compiler that is missing; empty where it works."""
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.ones(8, device=kind))
    except Exception as error:  # whatever compilers and their callers raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0][:200] if lines else type(error).__name__
    return ""


def out_of_memory(error: BaseException) -> bool:
    """Did a device, or the machine, have too little memory?"""
    words = ("out of memory", "can't allocate memory", "DefaultCPUAllocator: not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


@contextmanager
def enough_memory(what_to_do: str) -> Iterator[None]:
    """Say in words where memory does not suffice for the block.

    Raises:
        OutOfMemoryError: says so, and ``what_to_do``.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise OutOfMemoryError(f"out of memory: {what_to_do}") from error


class OutOfMemoryError(MemoryError):
    """A device, or the machine, has too little memory; the message says what to try."""


def fabric(precision: str):
    """A launched Lightning Fabric: one process on the default device, or as ``fabric run``, ``torchrun`` or ``srun`` started it.

    Raises:
        ValueError: where ``srun`` started other numbers of tasks on different nodes.
    """
    from lightning_fabric import Fabric  # half a second to import, which reading a method's file should not cost
    from lightning_fabric.plugins.environments import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision, as the progress bar does

    if "LT_CLI_USED" in os.environ:  # fabric run: it has chosen accelerator, devices and strategy, and launched
        launched = Fabric(precision=precision)
    elif "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun: one device for each process that it started here
        launched = Fabric(precision=precision, devices=int(os.environ["LOCAL_WORLD_SIZE"]),
                          num_nodes=int(os.environ["GROUP_WORLD_SIZE"]))  # fmt: skip
    elif _srun_tasks() > 1:  # srun: one device for each task of this node; Lightning reads the ranks from its variables
        here, nodes = _shared_by_srun(_srun_tasks())
        launched = Fabric(precision=precision, accelerator=default().type, devices=here, num_nodes=nodes)
    else:  # alone, also within a job of SLURM that has room for more
        launched = Fabric(precision=precision, accelerator=default().type, devices=1, plugins=[LightningEnvironment()])
    if "LT_CLI_USED" not in os.environ:
        launched.launch()
    if launched.device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # shapes are fixed, so that the search pays
        torch.set_float32_matmul_precision("high")
    return launched


def _srun_tasks() -> int:
    """How many tasks ``srun`` started together with this process; 1 for a process that it did not start.

    The variables of the job alone do not tell: a batch script, and a shell of ``salloc``, have them as well.
    """
    of_step = any(name in os.environ for name in ("SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST"))
    batch_script = os.environ.get("ENVIRONMENT") == "BATCH" and not of_step
    if "SLURM_PROCID" not in os.environ or batch_script or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return 1
    return int(os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or 1)


def _shared_by_srun(tasks: int) -> tuple[int, int]:
    """(tasks on each node, nodes), also for Lightning, which wants variables that ``srun`` sets only where it was told the numbers."""
    nodes, rank = int(os.environ.get("SLURM_STEP_NUM_NODES") or os.environ.get("SLURM_NNODES") or 1), int(os.environ["SLURM_PROCID"])
    if tasks % nodes:
        raise ValueError(f"srun started {tasks} tasks on {nodes} nodes: give each node as many (--ntasks-per-node).")
    here = tasks // nodes
    local = {"SLURM_LOCALID": str(rank % here), "SLURM_NODEID": str(rank // here)}
    if default().type == "cuda" and torch.cuda.device_count() < here:  # each task sees its own GPU only: as if on nodes of their own
        here, nodes, local = 1, tasks, {"SLURM_LOCALID": "0", "SLURM_NODEID": str(rank)}
        os.environ.update(local)
    numbers = {"SLURM_NTASKS": tasks, "SLURM_NNODES": nodes, "SLURM_NTASKS_PER_NODE": here}
    os.environ.update({**{name: os.environ.get(name, value) for name, value in local.items()}, **{k: str(n) for k, n in numbers.items()}})
    return here, nodes


def processes() -> int:
    """How many processes train together; 1 without ``fabric run``, ``torchrun`` or ``srun``."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of these processes this one is, also before they have met; 0 for the first, and where there is only one."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ["SLURM_PROCID"]) if _srun_tasks() > 1 else 0


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
