"""What each process of ``test_distributed.py`` runs: ``helpers_distributed.py MODE FOLDER``; it writes ``FOLDER/RANK.pt``."""

import faulthandler
import os
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import torch

from course_lib import cli, data, devices, training
from course_lib.data import Dataset
from course_lib.denoising import dncnn
from course_lib.metric_learning import embedding, siamese, triplet

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])
RANK = int(os.environ.get("RANK") or os.environ["SLURM_PROCID"])
CHECKPOINT = FOLDER / "a.ckpt"

sys.modules["torchmetrics"] = None  # Fabric would import it where it is installed, which doubles the time to start
devices.default = lambda: torch.device("cpu")


def settings(**changes) -> dncnn.Settings:
    small = {"depth": 3, "width": 8, "patch_size": 16, "scales": (1.0,), "batch_size": 6, "schedule": "cosine", "steps": 6,
             "learning_rate": 1e-3, "final_learning_rate": 0.0, "save_every": 3, "log_every": 2}  # fmt: skip
    return dncnn.Settings(**{**small, **changes})


def train(plan: dncnn.Settings, path: Path | None = None, before=None, resume: bool = False) -> dict:
    """A fresh DnCNN trained by this process and the others, and what this one saw of it."""
    batches, sizes = [], []

    def batch(data, draws, share):
        if before:
            before(draws.step)
        sizes.append(share.batch_size)
        batches.append(dncnn.batch(data, draws, share))
        return batches[-1]

    draws = torch.Generator().manual_seed(5)
    pool = dncnn.prepare([torch.randint(0, 256, (1, 40, 48), dtype=torch.uint8, generator=draws)], plan)
    model = dncnn.DnCNN(plan, seed=1)
    method = SimpleNamespace(batch=batch, step=dncnn.step)
    history = training.fit(model, pool, method, plan, checkpoint=path, resume=resume)
    return {"model": model.state_dict(), "batches": batches, "sizes": sizes, "steps": history.steps,
            "losses": history.values.get("loss"), "training": model.training, "interrupted": history.interrupted}  # fmt: skip


def everything() -> dict:
    """Three trainings of two processes, and one that cannot be shared out."""
    put_in_place, replace = [], os.replace

    def counted(source, target):
        replace(source, target)
        put_in_place.append(Path(target).name)
        if len(put_in_place) == 2:  # the one after 3 steps
            shutil.copy(target, FOLDER / "middle.ckpt")

    os.replace = counted
    found = {"adam": train(settings(), CHECKPOINT)}
    os.replace = replace
    found["put_in_place"] = put_in_place
    found["sgd"] = train(settings(steps=1, optimizer="sgd", learning_rate=1e-2, batch_norm=False))
    found["auto"] = training.fit(dncnn.DnCNN(settings()), dncnn.prepare([torch.zeros(1, 32, 32, dtype=torch.uint8)], settings()),
                                 dncnn, settings(steps=1, precision="auto"), progress=False).precision  # fmt: skip
    try:
        train(settings(batch_size=5))
    except ValueError as error:
        found["not_divisible"] = str(error)
    return found


def full_disk() -> dict:
    """The first process alone cannot write the checkpoint after 3 steps: no file may be longer than 2000 bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def disk(step):
        if step == 2:
            faulthandler.dump_traceback_later(30, exit=True)  # processes that wait for each other forever
        if RANK == 0 and step in (2, 5):
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000 if step == 2 else limits[0], limits[1]))

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = train(settings(), CHECKPOINT, disk)
    return {**found, "warned": [str(warning.message) for warning in told]}


def interrupted() -> dict:
    """Ctrl-C, which reaches one process a step before the other."""

    def interrupt(step):
        if step == 2 + RANK:
            faulthandler.dump_traceback_later(30, exit=True)
            signal.raise_signal(signal.SIGINT)

    return train(settings(save_every=100), CHECKPOINT, interrupt)


METRIC_LOSSES = [(siamese, {"form": "squared"}), (siamese, {"form": "unsquared"})] + [
    (triplet, {"mining": mining}) for mining in ("all", "random", "semi-hard", "batch-hard")
]


def metric_losses() -> list[dict]:
    """One step of each loss that compares the images of a batch: what this process drew, and the gradient that it ended with."""
    draws = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (40, 1, 16, 16), dtype=torch.uint8, generator=draws)
    people = Dataset("people", images, "drawn", tuple(map(str, range(40))), torch.arange(40) // 4)
    found = []
    for method, form in METRIC_LOSSES:
        plan = method.Settings(height=16, width=16, dimension=8, images=2, batch_size=12, steps=1, margin=0.7,
                               optimizer="sgd", warmup_steps=0, **form)  # fmt: skip
        seen = []

        def batch(data, draws, share, method=method, seen=seen):
            seen.append(method.batch(data, draws, share))
            return seen[-1]

        model = embedding.Embedder(plan, seed=1)
        history = training.fit(model, method.prepare(people, plan),
                               SimpleNamespace(batch=batch, step=method.step), plan, progress=False)  # fmt: skip
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append({"batch": seen[0], "gradient": gradient, "loss": history.values["loss"][0]})
    return found


def recorded() -> dict:
    """The command that trains and records, of one seed and of two; what was printed of each."""
    os.chdir(FOLDER)
    draws = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=draws)
    digits = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8, generator=draws)

    def load(name, split=None, *, color=False):
        if name == "digits":
            names, classes = tuple(f"{split} {i}" for i in range(200)), tuple("0123456789")
            return Dataset(name, digits, "drawn", names, torch.arange(200) // 20, classes)
        return Dataset(name, images, f"drawn for {name}", ("one", "two"))

    data.load = load
    small = ["depth=3", "width=8", "patch_size=16", "batch_size=6", "steps=3"]
    people = ["steps=2", "dimension=8", "batch_size=36", "--preset", "digits", "--seeds", "2"]
    return {"one": cli.main(["train", "dncnn_s", *small, "--record"]), "seeds": cli.main(["train", "triplet", *people, "--record"])}


if __name__ == "__main__":
    report = {"everything": everything, "full-disk": full_disk, "interrupted": interrupted, "short": lambda: train(settings()),
              "metric-losses": metric_losses, "record": recorded}  # fmt: skip
    torch.save(report[MODE](), FOLDER / f"{RANK}.pt")
