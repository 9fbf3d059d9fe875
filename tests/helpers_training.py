"""What ``test_training.py`` and ``test_resume.py`` run in processes of its own: ``helpers_training.py MODE FOLDER READY REPORT``.

The checkpoint is ``FOLDER/a.ckpt``. ``READY`` is made once the training is under way, ``REPORT`` is written at the end.
"""

import json
import os
import signal
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import torch

from course_lib import checkpoints, devices, training
from course_lib.denoising import dncnn
from course_lib.plan import make_optimizers

MODE, FOLDER, READY, REPORT = sys.argv[1], *map(Path, sys.argv[2:])
CHECKPOINT = FOLDER / "a.ckpt"

sys.modules["torchmetrics"] = None  # Fabric would import it where it is installed, which doubles the time to start
devices.default = lambda: torch.device("cpu")
torch.set_num_threads(1)


def settings(**changes) -> dncnn.Settings:
    small = {"depth": 3, "width": 8, "patch_size": 16, "scales": (1.0,), "batch_size": 4, "schedule": "cosine",
             "final_learning_rate": 0.0, "warmup_steps": 5}  # fmt: skip
    return dncnn.Settings(**{**small, **changes})


def train(plan: dncnn.Settings, path: Path | None, before=None, progress: bool = True):
    """A fresh DnCNN trained from ``path`` on; ``before(step)`` is called in each step, before the batch is made."""

    def batch(data, draws, share):
        if before:
            before(draws.step)
        return dncnn.batch(data, draws, share)

    draws = torch.Generator().manual_seed(5)
    pool = dncnn.prepare([torch.randint(0, 256, (1, 40, 48), dtype=torch.uint8, generator=draws)], plan)
    model = dncnn.DnCNN(plan, seed=1)
    method = SimpleNamespace(batch=batch, step=dncnn.step)
    return model, training.fit(model, pool, method, plan, checkpoint=path, resume=True, progress=progress)


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def run() -> None:
    """A training of many small steps and savings, to be killed and resumed."""
    train(settings(steps=int(os.environ["STEPS"]), save_every=3, log_every=10), CHECKPOINT, progress=False)


def interrupted() -> dict:
    """Wait for a Ctrl-C from outside, resume, and compare with a training without interruption."""
    plan = settings(steps=150, log_every=10)

    def slowly(step):
        if step == 3:
            READY.touch()
        if step >= 3:
            time.sleep(0.05)

    _, first = train(plan, CHECKPOINT, slowly)
    found = torch.load(CHECKPOINT, weights_only=True)
    stop = found["step"]
    resumed, second = train(plan, CHECKPOINT)
    whole, third = train(plan, None)
    after = min(step for step in third.steps if step >= stop)  # the entry that the interruption divided in two
    rows = [{step: values for step, *values in zip(h.steps, *h.values.values(), strict=True)} for h in (second, third)]
    return {
        "interrupted": first.interrupted,
        "stopped_at": stop,
        "steps": plan.steps,
        "updates": sorted({int(state["step"]) for state in found["optimizer"][0]["state"].values()}),
        "resumed_equals_whole": equal(resumed.state_dict(), whole.state_dict()),
        "history_without_the_extra_entry_equals": all(rows[0][step] == rows[1][step] for step in rows[1] if step != after)
        and sorted(rows[0]) == sorted({*rows[1], stop}),
    }


def stuck() -> dict:
    """Ignore the first Ctrl-C in a step that does not end; the second one must get through."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)

    def forever(step):
        if step == 3:
            READY.touch()
            os.read(reader, 1)  # the first signal has arrived, and its handler has run
            time.sleep(0.1)
            READY.with_suffix(".1").touch()
            time.sleep(60)

    ended_by = "nothing"
    try:
        train(settings(steps=9), CHECKPOINT, forever)
    except KeyboardInterrupt:
        ended_by = "KeyboardInterrupt"
    return {"ended_by": ended_by, "on_disk": torch.load(CHECKPOINT, weights_only=True)["step"]}


def full_disk() -> dict:
    """FOLDER is a small file system: fill it up in step 4, clear it in step 8; checkpoints are due after 3, 6, 9, 12."""
    report, filler = {"steps_on_disk": {}}, FOLDER / "filler"

    def disk(step):
        if step in (5, 6, 8, 9):
            report["steps_on_disk"][step] = torch.load(CHECKPOINT, weights_only=True)["step"]
        if step == 4:
            with open(filler, "wb", buffering=0) as file:
                try:
                    while file.write(b"0" * 1024):
                        pass
                except OSError:
                    pass
            report["free_when_full"] = os.statvfs(FOLDER).f_bavail * os.statvfs(FOLDER).f_bsize
        if step == 8:
            report["leftovers"] = sorted(path.name for path in FOLDER.iterdir() if path.name not in ("a.ckpt", "a.ckpt.lock", "filler"))
            filler.unlink()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(settings(steps=12, save_every=3), CHECKPOINT, disk)
    report["warned"] = [str(warning.message) for warning in told]
    report["last"] = torch.load(CHECKPOINT, weights_only=True)["step"]
    return report


def kills_in_a_save() -> dict:
    """Kill a saving before its first, second, … operation on the file system, until one comes through.

    The operations are those that Python reports to audit hooks, and ``fsync``. Each saving is done by a fork of its own.
    """
    plan = settings(steps=9)
    fabric = devices.fabric("32-true")
    model = dncnn.DnCNN(plan)
    parts = checkpoints.Parts(model, make_optimizers(model, plan))
    identity = {"network": "DnCNN", "settings": asdict(plan), "seed": 0, "about": {}}

    def content(step: int) -> dict:
        return parts.content(step, identity, training.History(precision="32-true"))

    def on_disk() -> int:
        return checkpoints.read(CHECKPOINT, type(plan), identity, True)["step"]

    def others() -> list[str]:
        folders = {FOLDER, Path(os.environ["TMPDIR"])}
        files = [path for folder in folders for path in folder.iterdir() if path.is_file()]
        return sorted(path.name for path in files if path not in (CHECKPOINT, REPORT))

    def save_and_die(at: int) -> list[str]:
        operations: list[str] = []
        finished = False

        def count(event: str, arguments) -> None:
            if not finished and event in ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.truncate", "fsync"):
                target = arguments[1] if event == "os.rename" else arguments[0] if arguments else ""
                if event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                    return
                operations.append(f"{event} {Path(os.fspath(target)).name if isinstance(target, str | Path) else ''}".strip())
                if len(operations) == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        original = os.fsync

        def fsync(descriptor):
            count("fsync", ())
            original(descriptor)

        os.fsync = fsync
        sys.addaudithook(count)
        checkpoints.write(fabric, CHECKPOINT, content(2))
        finished = True
        return operations

    checkpoints.write(fabric, CHECKPOINT, content(2))  # imports what a saving imports
    found, at = [], 0
    while True:
        at += 1
        checkpoints.write(fabric, CHECKPOINT, content(1))
        cleared = [name for name in others() if "unfinished" in name]
        if not (pid := os.fork()):
            REPORT.write_text(json.dumps(save_and_die(at)))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            return {"operations": json.loads(REPORT.read_text()), "found": found, "last": on_disk(), "others": others()}
        found.append({"status": status, "step": on_disk(), "others": others(), "cleared_before": not cleared})


if __name__ == "__main__":
    report = {"run": run, "interrupted": interrupted, "stuck": stuck, "full-disk": full_disk, "save": kills_in_a_save}[MODE]()
    if report is not None:
        REPORT.write_text(json.dumps(report))
