"""``course bench``: speed and memory on this machine, as ratios within one run. Nothing else should compute meanwhile.

Whatever is compared takes turns, so that a machine which slows down slows both, and the medians of the turns are compared.
Memory is that of a fresh process.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import peers
import plain_loop as public
from course_lib import batches, checks, data, devices, files, noise, project, recipes, results, rng, terminal, training
from course_lib.denoising import dncnn, ffdnet
from course_lib.metric_learning import distances, gallery, triplet
from course_lib.noisy_classification import pixel_regularisation, resnet, restorer
from course_lib.pretext import contrastive, rotation
from course_lib.self_supervised_denoising import masking, noise2void
from course_lib.self_supervised_denoising.noise2noise import UNet

ROUNDS = 5
SIZES = (256, 512, 1024, 2048)
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Row:
    """One measurement."""

    what: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.3g} {self.unit}"


def bare_loop(settings: dncnn.Settings, pool: batches.ImagePool, *, precision: str, channels_last: bool) -> float:
    """Seconds for ``settings.steps`` steps of a loop that only trains: no progress, history, checks, or checkpoints."""
    device = devices.default()
    model = dncnn.DnCNN(settings).to(device)
    if channels_last:
        model.to(memory_format=devices.memory_format(device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True)
    began = time.perf_counter()
    for step in range(settings.steps):
        noisy, clean = dncnn.batch(pool, rng.Draws(0, step, 0, device), settings)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            residual = model(noisy)
        optimizer.zero_grad(set_to_none=True)
        dncnn.loss(residual, noisy - clean).backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def trained(model: torch.nn.Module, pool, settings: training.Plan, method: training.Method = dncnn) -> float:
    """Seconds of a training by ``fit``; ``terminal.Stopped`` where it was interrupted, since its time is then of fewer steps."""
    history = training.fit(model, pool, method, settings, progress=False)
    if history.interrupted:
        raise terminal.Stopped(history.signal or signal.SIGINT)
    return history.seconds


def plain_loop(settings: dncnn.Settings, images) -> float:
    """Seconds for ``settings.steps`` steps as public code makes them."""
    seconds, _ = public.train(
        dncnn.DnCNN(settings).to(devices.default()), images, patch_size=settings.patch_size, sigma=noise.from_255(25),
        batch_size=settings.batch_size, steps=settings.steps + 1, learning_rate=settings.learning_rate,
    )  # fmt: skip
    return seconds


def plain_loop_masked(settings: noise2void.Settings, noisy: list[Tensor]) -> float:
    """Seconds for ``settings.steps`` steps of Noise2Void as public code makes them, on stored noisy images ``(1, H, W)``."""
    seconds, _ = public.train_masked(
        UNet(settings).to(devices.default()), noisy, patch_size=settings.patch_size, side=masking.box_side(settings.mask_ratio),
        radius=settings.radius, batch_size=settings.batch_size, steps=settings.steps + 1, learning_rate=settings.learning_rate,
    )  # fmt: skip
    return seconds


def seconds_of_masks(patches: Tensor, settings: noise2void.Settings, repetitions: int = 20) -> float:
    """Seconds for choosing and replacing the pixels of patches ``(B, 1, P, P)``, all at once; the mean of several times."""
    draws, began = rng.generator(0, 0, 0, "mask", patches.device), time.perf_counter()
    for _ in range(repetitions):  # once is over before the processor has warmed up
        chosen = masking.stratified(patches, settings.mask_ratio, draws)
        chosen.mask(patches)
        masking.replaced(patches, chosen, settings.masker, settings.radius, draws)
    if patches.device.type == "cuda":
        torch.cuda.synchronize(patches.device)
    return (time.perf_counter() - began) / repetitions


def seconds_of_masks_by_loop(patches: Tensor, settings: noise2void.Settings) -> float:
    """The same by a loop over pixels."""
    draw, side, began = np.random.default_rng(0), masking.box_side(settings.mask_ratio), time.perf_counter()
    for patch in patches[:, 0].cpu().numpy():
        public.masked(patch, side, settings.radius, draw)
    return time.perf_counter() - began


def plain_classifier(settings: pixel_regularisation.Settings, found: data.Dataset) -> float:
    """Seconds for ``settings.steps`` steps of the pivot loss as public code makes them."""
    seconds, _ = public.train_classifier(
        resnet.ResNet(settings).to(devices.default()), found.images, found.labels, max_sigma=settings.max_sigma,
        batch_size=settings.batch_size, steps=settings.steps + 1, learning_rate=settings.learning_rate,
    )  # fmt: skip
    return seconds


def classifying(seconds: float):
    """ResNet-20 with the pivot loss, as :class:`Row`: how fast, and how long the plain loop takes beside it."""
    settings = recipes.RECIPES["cifar_noise_pivot"].presets["paper"].settings
    found = data.load("digits_on_photos", "train")  # of the size of CIFAR-10's images
    pool = pixel_regularisation.prepare(found, settings).to(devices.default())

    def ours(steps: int) -> float:
        plan = replace(settings, steps=steps, compile=False)
        return trained(resnet.ResNet(plan), pool, plan, pixel_regularisation)

    ours(5)  # the first one also prepares the kernels
    steps = max(5, round(seconds * 5 / ours(5)))
    fast, plain = in_turns(lambda: ours(steps), lambda: plain_classifier(replace(settings, steps=steps), found))
    yield Row("ResNet-20, pivot loss: training", steps * settings.batch_size / fast, "images/s")
    yield Row("ResNet-20, pivot loss: public-style loop takes", plain / fast, "times as long as fit")


def in_turns(*measured: Callable[[], float]) -> list[float]:
    """Medians of what each returns, called in turns; a first call of each is not counted."""
    for function in measured:
        function()
    rounds = [[function() for function in measured] for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def matrix_product_rate(precision: str, size: int = 2048) -> float:
    """Floating-point operations a second of the product of two ``size`` × ``size`` matrices: what the device can do."""
    device = devices.default()
    dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
    a, b = (torch.full((size, size), 0.5, device=device, dtype=dtype) for _ in range(2))

    def once() -> float:
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    once()
    return 2 * size**3 / statistics.median(once() for _ in range(4 * ROUNDS))


def operations(settings: dncnn.Settings) -> float:
    """Floating-point operations of one training step: forward, and twice that backward, two for each multiplication."""
    weights = sum(p.numel() for p in dncnn.DnCNN(settings).parameters() if p.dim() == 4)
    return 3 * 2 * weights * settings.patch_size**2 * settings.batch_size


def in_a_fresh_process(function: Callable, *arguments):
    """What ``function`` returns when a new process calls it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_bytes() -> int:
    """Most memory this process has had: on the GPU where there is one, else resident."""
    if devices.default().type == "cuda":
        return torch.cuda.max_memory_allocated()
    if STATUS.is_file():  # Linux; there ru_maxrss would also count what the parent process had
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text())[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bytes_now() -> int:
    """Memory this process has now, counted like :func:`peak_bytes`; where that is not to be had, the peak so far."""
    if devices.default().type == "cuda":
        return torch.cuda.memory_allocated()
    if STATUS.is_file():
        return 1024 * int(re.search(r"VmRSS:\s*(\d+) kB", STATUS.read_text())[1])
    return peak_bytes()


def training_memory(settings: dncnn.Settings, precision: str) -> int:
    """Bytes that three steps take at their peak, beyond what the process had before."""
    pool = dncnn.prepare(data.load("photos", "train").images, settings).to(devices.default())
    before = bytes_now()
    bare_loop(replace(settings, steps=3), pool, precision=precision, channels_last=True)
    return peak_bytes() - before


def full_size(name: str) -> torch.nn.Module:
    """The full-size gray ``"DnCNN-S"`` or ``"FFDNet"`` as it is shipped, untrained."""
    made = {"DnCNN-S": (dncnn.DnCNN, dncnn.Settings), "FFDNet": (ffdnet.FFDNet, ffdnet.Settings)}
    network, settings = made[name]
    device = devices.default()
    return network(settings(batch_norm=False)).to(device, memory_format=devices.memory_format(device)).eval()


def seconds_of_denoising(network: torch.nn.Module, side: int, precision: str) -> float:
    """Seconds for denoising one gray image of ``side`` × ``side``."""
    device = devices.default()
    image = torch.full((1, 1, side, side), 0.5, device=device)
    began = time.perf_counter()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
        network.denoise(image, 0.1)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def inference(name: str, side: int, precision: str) -> tuple[float, int]:
    """Seconds for denoising one gray image by a network of :func:`full_size`, and bytes that it takes at its peak."""
    network = full_size(name)
    before = bytes_now()
    times = [seconds_of_denoising(network, side, precision) for _ in range(4)]
    return statistics.median(times[1:]), peak_bytes() - before


def time_to(goal: float) -> tuple[float, int, float]:
    """(seconds, steps, PSNR) of the shortest run that reaches ``goal`` dB on Set12 at σ = 25.

    The quick network on BSD400; each run has twice the steps of the one before, and its own schedule.
    """
    preset = recipes.RECIPES["dncnn_s"].presets["quick"]
    images, held_out = data.load("bsd400").images, data.load("set12").images
    steps = 100
    while steps <= 12_800:
        settings = replace(preset.settings, steps=steps)
        model = dncnn.DnCNN(settings)
        seconds = trained(model, dncnn.prepare(images, settings), settings)
        values = dncnn.evaluate(model, held_out, 25)
        if sum(values) / len(values) >= goal:
            return seconds, steps, sum(values) / len(values)
        steps *= 2
    raise RuntimeError(f"{steps // 2} steps do not reach {goal} dB.")


def mining() -> dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]:
    """Name -> (our loss, that of pytorch-metric-learning) of embeddings ``(256, D)`` of 64 people × 4 images, margin 0.2."""
    from pytorch_metric_learning import distances as their_distances
    from pytorch_metric_learning import losses, miners, reducers

    labels = torch.arange(64, device=devices.default()).repeat_interleave(4)
    plain = their_distances.LpDistance(normalize_embeddings=False)
    every = losses.TripletMarginLoss(margin=0.2, distance=plain)
    hardest = losses.TripletMarginLoss(margin=0.2, distance=plain, reducer=reducers.MeanReducer())
    miner = miners.BatchHardMiner(distance=plain)
    return {
        "all triplets": (
            lambda e: triplet.all_triplets(distances.pairwise(e, e), labels, 0.2).loss,
            lambda e: every(e, labels),
        ),
        "batch-hard": (
            lambda e: triplet.batch_hard(e, labels, 0.2).loss,
            lambda e: hardest(e, labels, miner(e, labels)),
        ),
    }


def seconds_of_loss(loss: Callable[[Tensor], Tensor], repetitions: int = 10) -> float:
    """Seconds for that many times a loss of 256 embeddings of 128 dimensions, and its gradient."""
    device = devices.default()
    draws = torch.randn(256, 128, generator=rng.generator(0, 0, 0, "embeddings")).to(device)
    began = time.perf_counter()
    for _ in range(repetitions):
        loss(F.normalize(draws).requires_grad_()).backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def seconds_of_pairs(loss: Callable[[Tensor, Tensor], Tensor], first: Tensor, second: Tensor, repetitions: int = 10) -> float:
    """Seconds for a loss of two batches of embeddings and its gradient."""
    began = time.perf_counter()
    for _ in range(repetitions):
        loss(first, second).backward()
    if first.device.type == "cuda":
        torch.cuda.synchronize(first.device)
    return (time.perf_counter() - began) / repetitions


def gallery_seconds(templates: int = 100_000, dimension: int = 128) -> float:
    """Seconds for identifying one query among that many people with a template each, median."""
    stored = F.normalize(torch.randn(templates, dimension, generator=rng.generator(0, 0, 0, "templates")))
    door, times = gallery.Gallery(dimension, network="bench"), []
    for place, template in enumerate(stored):
        door.enrol(str(place), template[None])
    for place in range(4 * ROUNDS):
        began = time.perf_counter()
        door.identify(stored[place : place + 1], 0.5)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def of_rotations(steps: int) -> tuple[float, float]:
    """Seconds for so many steps of RotNet's quick network by ``fit``, and as public code makes them: medians of turns."""
    settings = replace(recipes.RECIPES["rotnet"].presets["quick"].settings, steps=steps, log_every=50, compile=False)
    images = data.load("digits_on_photos", "train")
    pool = rotation.prepare(images, settings).to(devices.default())

    def ours() -> float:
        history = training.fit(rotation.network(settings), pool, rotation, settings, progress=False)
        if history.interrupted:
            raise terminal.Stopped(history.signal or signal.SIGINT)
        return history.seconds

    def plain() -> float:
        model = rotation.network(settings).to(devices.default())
        model.normalised = torch.nn.Identity()  # that data set does it
        return public.train_rotations(
            model, images.images, batch_size=settings.batch_size, steps=steps + 1, learning_rate=settings.learning_rate
        )

    return tuple(in_turns(ours, plain))


def import_seconds() -> float:
    """What ``import course_lib.denoising.dncnn`` adds to ``import torch``, in a fresh process, median."""
    code = "import torch, time; t = time.perf_counter(); import course_lib.denoising.dncnn; print(time.perf_counter() - t)"
    return statistics.median(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(ROUNDS))


def training_rows(seconds: float):
    """DnCNN, quick and full, beside other loops."""
    photos = data.load("photos", "train").images
    quick, paper = (recipes.RECIPES["dncnn_s"].presets[name].settings for name in ("quick", "paper"))
    precision = devices.precision("auto")
    rate = matrix_product_rate(precision)
    yield Row(f"matrix product, {precision}", rate / 1e9, "GFLOP/s")
    for title, settings in (("quick network, 8×32", quick), ("DnCNN-S, 17×64", paper)):
        settings = replace(settings, steps=5, batch_size=min(settings.batch_size, 32), scales=(1.0,), log_every=50, compile=False)
        pool = dncnn.prepare(photos, settings).to(devices.default())
        bare_loop(settings, pool, precision=precision, channels_last=True)  # the first one also prepares the kernels
        once = bare_loop(settings, pool, precision=precision, channels_last=True) / settings.steps
        settings = replace(settings, steps=max(5, round(seconds / once)))
        ours, bare, float32, plain = in_turns(
            lambda s=settings, p=pool: trained(dncnn.DnCNN(s), p, s),
            lambda s=settings, p=pool: bare_loop(s, p, precision=precision, channels_last=True),
            lambda s=settings, p=pool: bare_loop(s, p, precision="32-true", channels_last=False),
            lambda s=settings: plain_loop(s, photos),
        )
        yield Row(f"{title}: training", settings.steps * settings.batch_size / ours, "patches/s")
        yield Row(f"{title}: public-style loop takes", plain / ours, "times as long as fit")
        yield Row(f"{title}: bare loop in float32 NCHW takes", float32 / ours, "times as long as fit")
        yield Row(f"{title}: fit takes", ours / bare, "times as long as a bare loop")
        yield Row(f"{title}: share of the matrix product's rate", 100 * operations(settings) * settings.steps / ours / rate, "%")
        memory = in_a_fresh_process(training_memory, settings, precision)
        yield Row(f"{title}: peak memory of training {settings.batch_size} patches", memory / 1e6, "MB")


def masking_rows(seconds: float):
    """Noise2Void beside a loop as public code writes it, and its masks alone."""
    photos = data.load("photos", "train").images
    masked = replace(
        recipes.RECIPES["n2v"].presets["quick"].settings, scales=(1.0,), optimizer="adam", batch_size=32, steps=5, compile=False
    )
    noisy = noise2void.prepare(photos, masked).to(devices.default())
    trained(UNet(masked), noisy, masked, noise2void)  # the first one also prepares the kernels
    once = trained(UNet(masked), noisy, masked, noise2void) / masked.steps
    masked = replace(masked, steps=max(5, round(seconds / once)))
    stored = [noise.gaussian(batches.to_float(photo)[None], noise.from_255(25), rng.generator(0, i, 0, "bench"), clip=False)[0]
              for i, photo in enumerate(photos)]  # fmt: skip
    ours, plain = in_turns(lambda: trained(UNet(masked), noisy, masked, noise2void), lambda: plain_loop_masked(masked, stored))
    yield Row("Noise2Void, quick network, masks of 1/16: public-style loop takes", plain / ours, "times as long as fit")
    if peers.installed("careamics"):
        ours, theirs = in_turns(lambda: trained(UNet(masked), noisy, masked, noise2void), partial(peers.careamics, masked, stored))
        yield Row("Noise2Void, a U-Net of as many operations: CAREamics takes", theirs / ours, "times as long as fit")
    patches, paper_masks = torch.rand(32, 1, 64, 64, device=devices.default()), noise2void.Settings()
    ours, by_loop = in_turns(partial(seconds_of_masks, patches, paper_masks), partial(seconds_of_masks_by_loop, patches, paper_masks))
    yield Row("masks of 32 patches of 64×64: a loop over pixels takes", by_loop / ours, "times as long as ours")


def inference_rows(seconds: float):
    """How time and memory grow with the image."""
    precision = devices.precision("auto")
    for side in SIZES:
        time_taken, memory = in_a_fresh_process(inference, "DnCNN-S", side, precision)
        yield Row(f"DnCNN-S, {side}×{side}: inference", 1000 * time_taken, "ms")
        yield Row(f"DnCNN-S, {side}×{side}: peak memory", memory / 1e6, "MB")
    both = [full_size(name) for name in ("DnCNN-S", "FFDNet")]
    for way in dict.fromkeys((precision, "32-true")):
        slow, fast = in_turns(*(partial(seconds_of_denoising, network, 512, way) for network in both))
        yield Row(f"512×512, {way}: DnCNN-S takes", slow / fast, "times as long as FFDNet")
    yield Row("FFDNet, 512×512: peak memory", in_a_fresh_process(inference, "FFDNet", 512, precision)[1] / 1e6, "MB")


def slider_rows(seconds: float):
    """How long a reader waits for a picture."""
    from course_lib import widgets  # needs IPython, which a machine for training may lack

    quick, held_out = recipes.RECIPES["dncnn_s"].presets["quick"].settings, data.load("photos", "test")
    for title, settings in (("quick network", quick), ("DnCNN-S", dncnn.Settings(batch_norm=False))):
        for side in (128, 256):
            photo = batches.square(held_out.image("camera"), side)
            lab = widgets.noise_lab({"network": dncnn.DnCNN(settings).eval().denoise}, {"camera": photo})
            _ = lab.view  # the first frame also prepares the kernels
            times = []
            for position in (s for s in lab.sigmas_255 if s != lab.start):
                began = time.perf_counter()
                lab.sigma.value = position
                times.append(time.perf_counter() - began)
            yield Row(f"slider move at {side}×{side}, {title}", 1000 * statistics.median(times), "ms")


def rotation_rows(seconds: float):
    """RotNet beside a loop as public code writes it."""
    of_rotations(5)  # the first one also prepares the kernels
    once = of_rotations(5)[0] / 5
    ours, plain = of_rotations(max(5, round(seconds / once)))
    yield Row("RotNet, quick network: public-style loop takes", plain / ours, "times as long as fit")


def restoring_rows(seconds: float):
    """The teacher of chapter 18 beside its student, on one photo."""
    wide, narrow = (
        restorer.Restorer(recipes.RECIPES[name].presets["quick"].settings).to(devices.default()).eval()
        for name in ("restorer_noise", "small_noise")
    )
    teacher, student = in_turns(*(partial(seconds_of_restoring, network, 256) for network in (wide, narrow)))
    yield Row("256×256: the teacher of SLKD takes", teacher / student, "times as long as its student")


@torch.no_grad()
def seconds_of_restoring(network: torch.nn.Module, side: int, repetitions: int = 10) -> float:
    """Seconds for restoring one gray image of ``side`` × ``side`` that many times, in float32."""
    image = torch.full((1, 1, side, side), 0.5, device=devices.default())
    network(image)  # the first one also prepares the kernels
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    began = time.perf_counter()
    for _ in range(repetitions):
        network(image)
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - began


def contrastive_rows(seconds: float):
    """SimCLR and its loss beside those of lightly, where that is installed."""
    if not peers.installed("lightly"):
        return
    first, second = (torch.randn(256, 128, device=devices.default(), requires_grad=True) for _ in range(2))
    losses = (partial(contrastive.nt_xent, temperature=0.5), peers.lightly_loss(0.5))
    ours, theirs = in_turns(*(partial(seconds_of_pairs, loss, first, second) for loss in losses))
    yield Row("NT-Xent of 256 images, loss and gradient: lightly takes", theirs / ours, "times as long as ours")
    settings = replace(recipes.RECIPES["contrastive"].presets["quick"].settings, steps=5, compile=False)
    images = data.load("digits_on_photos", "train")
    pool = contrastive.prepare(images, settings).to(devices.default())

    def fitted() -> float:
        return trained(contrastive.network(settings), pool, settings, contrastive)

    fitted()  # the first one also prepares the kernels
    settings = replace(settings, steps=max(5, round(seconds * settings.steps / fitted())))
    ours, theirs = in_turns(fitted, lambda: peers.lightly(settings, images.images))
    yield Row("SimCLR, quick network: lightly's views and loss take", theirs / ours, "times as long as fit")


def metric_learning_rows(seconds: float):
    """Losses over all pairs of a batch, and a gallery of many people."""
    if importlib.util.find_spec("pytorch_metric_learning"):
        for name, losses in mining().items():
            ours, theirs = in_turns(*(partial(seconds_of_loss, loss) for loss in losses))
            yield Row(f"{name} of 64 people × 4, loss and gradient: pytorch-metric-learning takes", theirs / ours, "times as long as ours")
    yield Row("gallery of 100,000 templates of 128 dimensions: one query", 1000 * gallery_seconds(), "ms")


def import_rows(seconds: float):
    """What the library adds to the start of a program."""
    yield Row("import course_lib.denoising.dncnn, beyond import torch", import_seconds(), "s")


PARTS: dict[str, Callable[[float], Iterator[Row]]] = {
    "training": training_rows, "masking": masking_rows, "classifying": classifying, "inference": inference_rows, "slider": slider_rows,
    "rotation": rotation_rows, "contrastive": contrastive_rows, "restoring": restoring_rows,
    "metric_learning": metric_learning_rows, "import": import_rows,
}  # fmt: skip


def require_parts(parts: Iterable[str]) -> list[str]:
    """The parts that are asked for, all where none is; ``ValueError`` for one that there is not."""
    chosen = list(parts) or list(PARTS)
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        raise ValueError(f"there is no part {', '.join(unknown)} to measure: choose from {', '.join(PARTS)}.")
    return chosen


def measurements(seconds: float, parts: Iterable[str] = ()) -> Iterator[Row]:
    """The measurements of the named parts, or of all; ``seconds`` is about how long one turn of a loop takes.

    Nothing is compiled, also where ``fit`` would: that takes longer than a turn, and once.

    Raises:
        ValueError: for a part that there is not.
    """
    for part in require_parts(parts):
        yield from PARTS[part](seconds)


def main(seconds: float, goal: float | None = None, record: Path | None = None, parts: Iterable[str] = ()) -> None:
    """Print the measurements of :data:`PARTS`; with ``goal`` also the time to that PSNR, with ``record`` write all to that JSON file.

    Where an error or Ctrl-C ends it, what was measured so far goes to ``FILE.part`` beside it.
    """
    require_parts(parts)  # everything that can be wrong, before the measurements
    checks.number(seconds, "seconds", 0, 3600, inside=True)
    if goal is not None:
        checks.number(goal, "time-to", 0, 100, inside=True)
    about = {
        "device": devices.describe(devices.default()), "precision": devices.precision("auto"),
        "versions": results.versions(), "commit": project.commit(),
    }  # fmt: skip
    if record is not None:
        files.require_writable(record)  # before the measurements, which take minutes
    if goal is not None:
        for name in ("bsd400", "set12"):
            data.load(name)
    print(", ".join(f"{key} {value}" for key, value in about.items() if key in ("device", "precision")))
    rows, place = [], record and record.with_name(f"{record.name}.part")
    try:
        for row in measurements(seconds, parts):
            print(row)
            rows.append(row)
        if goal is not None:
            taken, steps, reached = time_to(goal)
            rows.append(Row(f"quick network on BSD400: time to {goal} dB on Set12", taken, f"s ({steps} steps, {reached:.2f} dB)"))
            print(rows[-1])
        place = record
    finally:  # what was measured before an end too early is kept beside a record that may be whole
        if place is not None and rows:
            entry = {**about, "rows": [{"what": row.what, "value": round(row.value, 4), "unit": row.unit} for row in rows]}
            files.write(place, (json.dumps(entry, indent=1, ensure_ascii=False) + "\n").encode())
            print(f"written to {place}" if place == record else f"ended early: what was measured so far is in {place}")
    if record is not None:
        record.with_name(f"{record.name}.part").unlink(missing_ok=True)
