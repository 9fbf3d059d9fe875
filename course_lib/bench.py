"""Speed on this machine, as ratios within one run: ``course bench``. Nothing else should compute meanwhile.

Each pair of variants takes turns, so that a machine which slows down slows both, and the medians of the turns are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from course_lib import batches, data, devices, recipes, rng, training, widgets
from course_lib.denoising import dncnn

ROUNDS = 5


def bare_loop(settings: dncnn.Settings, pool: batches.ImagePool, *, precision: str, channels_last: bool) -> float:
    """Seconds for ``settings.steps`` steps of a loop that only trains: no progress, history, checks, or checkpoints."""
    device = devices.default()
    model = dncnn.DnCNN(settings).to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.0, fused=True)
    began = time.perf_counter()
    for step in range(settings.steps):
        noisy, clean = dncnn.batch(pool, step, rng.generator(0, step, 0, "batch", device), settings)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            residual = model(noisy)
        optimizer.zero_grad(set_to_none=True)
        dncnn.loss(residual, noisy - clean).backward()
        optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def in_turns(first: Callable[[], float], second: Callable[[], float]) -> tuple[float, float]:
    """Medians of what the two return, called in turns; a first call of each is not counted."""
    first(), second()
    rounds = [(first(), second()) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in rounds), statistics.median(b for _, b in rounds)


def import_seconds() -> float:
    """What ``import course_lib.denoising.dncnn`` adds to ``import torch``, in a fresh process, median."""
    code = "import torch, time; t = time.perf_counter(); import course_lib.denoising.dncnn; print(time.perf_counter() - t)"
    return statistics.median(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(ROUNDS))


def main(seconds: float) -> None:
    """Print every measurement; ``seconds`` is about how long one turn of a loop takes."""
    device, precision = devices.default(), devices.precision("auto")
    print(f"{devices.describe(device)}, torch {torch.__version__}, precision chosen: {precision}")
    photos = data.load("photos", "train").images
    chosen = {"precision": precision, "channels_last": True}

    for title, recipe_preset in (("quick network, 8 × 32", "quick"), ("DnCNN-S, 17 × 64", "paper")):
        settings = recipes.RECIPES["dncnn_s"].presets[recipe_preset].settings
        settings = replace(settings, steps=5, batch_size=min(settings.batch_size, 32), scales=(1.0,), compile=False, log_every=50)
        pool = dncnn.prepare(photos, settings).to(device)
        once = bare_loop(settings, pool, **chosen) / settings.steps
        settings = replace(settings, steps=max(5, round(seconds / once)))

        plain, fast = in_turns(
            lambda s=settings, p=pool: bare_loop(s, p, precision="32-true", channels_last=False),
            lambda s=settings, p=pool: bare_loop(s, p, **chosen),
        )
        print(f"{title}: {settings.steps / fast:.1f} steps/s of {settings.batch_size}; float32 NCHW takes {plain / fast:.2f} times as long")

        fitted, bare = in_turns(
            lambda s=settings, p=pool: training.fit(dncnn.DnCNN(s), p, dncnn, s, progress=False).seconds,
            lambda s=settings, p=pool: bare_loop(s, p, **chosen),
        )
        print(f"{title}: fit takes {fitted / bare:.3f} times as long as a bare loop")

    held_out = data.load("photos", "test")
    for title, settings in (
        ("quick network", recipes.RECIPES["dncnn_s"].presets["quick"].settings),
        ("DnCNN-S", dncnn.Settings(batch_norm=False)),
    ):
        for size in (128, 256):
            photo = batches.square(held_out.image("camera"), size)
            lab = widgets.noise_lab({"network": dncnn.DnCNN(settings).eval().denoise}, {"camera": photo})
            _ = lab.view  # the first frame also prepares the kernels
            times = []
            for position in (s for s in lab.sigmas_255 if s != lab.start):
                began = time.perf_counter()
                lab.sigma.value = position
                times.append(time.perf_counter() - began)
            print(f"slider move at {size}×{size}, {title}: {1000 * statistics.median(times):.0f} ms (most: {1000 * max(times):.0f} ms)")

    print(f"import course_lib.denoising.dncnn: {import_seconds():.2f} s beyond import torch")
