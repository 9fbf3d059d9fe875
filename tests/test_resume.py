"""A training that is killed and resumed ends as one that was left alone: bit for bit, whenever it is killed.

The trainings are other processes (``helpers_training.py``) and the kills are real ones, SIGKILL, which no program can answer.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import course_lib

HELPER = Path(__file__).with_name("helpers_training.py")
STEPS = 400
SEED = int(os.environ.get("COURSE_KILL_SEED", "20240607"))  # of the moments; failures print it

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")


class Run:
    """The training of one precision in one folder, started again and again."""

    def __init__(self, folder: Path, precision: str):
        (folder / "tmp").mkdir(parents=True)
        self.folder, self.checkpoint, self.temporary = folder, folder / "a.ckpt", folder / "tmp"
        self.environment = {**os.environ, "COURSE_PRECISION": precision, "STEPS": str(STEPS), "TMPDIR": str(self.temporary),
                            "PYTHONPATH": str(Path(course_lib.__file__).parents[1]), "OMP_NUM_THREADS": "1"}  # fmt: skip
        self.process = None

    def start(self, mode: str = "run") -> None:
        command = [sys.executable, str(HELPER), mode, str(self.folder), str(self.folder / "ready"), str(self.folder / "report")]
        self.process = subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def wait_until(self, condition, seconds: float = 300.0) -> bool:
        """Wait, looking some thousand times a second; False if the process ended first."""
        limit = time.monotonic() + seconds
        while self.process.poll() is None:
            if condition():
                return True
            if time.monotonic() > limit:
                self.process.kill()
                raise AssertionError(f"nothing happened for {seconds:g} s")
            time.sleep(0.0002)
        return False

    def kill(self) -> int:
        self.process.kill()
        self.process.communicate()
        return self.process.returncode

    def finish(self) -> None:
        _, errors = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, errors

    def written(self) -> tuple[int, int]:
        """Changes whenever a checkpoint is put in place."""
        try:
            found = self.checkpoint.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def saving(self) -> bool:
        """Is there, beside the checkpoint or in the folder for temporary files, a file that is being written?"""
        names = {"ready", "report", "tmp", self.checkpoint.name, self.checkpoint.name + ".lock"}
        return bool({*os.listdir(self.folder), *self.temporaries()} - names)

    def temporaries(self) -> list[str]:
        return [name for name in os.listdir(self.temporary) if (self.temporary / name).is_file()]

    def content(self) -> dict | None:
        return torch.load(self.checkpoint, weights_only=True) if self.checkpoint.exists() else None

    def step(self) -> int:
        content = self.content()
        return content["step"] if content else -1


def ten_moments(draw: random.Random) -> list[tuple]:
    """Two kills while the process starts, four some time after a number of savings, four in the midst of a saving."""
    moments = [("start", draw.uniform(0.05, 1)) for _ in range(2)]
    moments += [("steps", draw.randint(1, 5), draw.uniform(0, 1)) for _ in range(4)]
    moments += [("saving", draw.randint(1, 5)) for _ in range(4)]
    draw.shuffle(moments)
    return moments


def killed_ten_times(folder: Path, precision: str) -> dict:
    """What two trainings left behind, the second one killed at ten random moments, and a log of the kills."""
    whole = Run(folder / "whole", precision)
    began = time.monotonic()
    whole.start()
    whole.wait_until(whole.checkpoint.exists)
    start_up = time.monotonic() - began
    whole.finish()
    pace = (time.monotonic() - began - start_up) / (STEPS / 3)  # seconds from one saving to the next

    run, kills = Run(folder / "killed", precision), []
    for kind, amount, *rest in ten_moments(random.Random(f"{SEED} {precision}")):
        before = run.step()
        run.start()
        if kind == "start":
            until, last = time.monotonic() + amount * start_up, run.written()
            run.wait_until(lambda until=until, last=last: time.monotonic() > until or run.written() != last)
        else:
            for _ in range(amount):
                last = run.written()
                run.wait_until(lambda last=last: run.written() != last)
            if kind == "steps":
                time.sleep(rest[0] * pace)
            else:
                for name in run.temporaries():  # of the kills before
                    (run.temporary / name).unlink()
                for file in run.folder.glob("*.unfinished"):
                    file.unlink()
                run.wait_until(run.saving)
        status = run.kill()
        kills.append({"moment": (kind, amount, *rest), "status": status, "before": before, "after": run.step(),
                      "saving": run.saving()})  # fmt: skip
    run.start()
    run.finish()
    return {"whole": whole.content(), "killed": run.content(), "kills": kills,
            "beside": sorted(path.name for path in run.folder.iterdir())}  # fmt: skip


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Both precisions at the same time, one on each core."""
    folder = tmp_path_factory.mktemp("kills")
    with ThreadPoolExecutor(2) as pool:
        futures = {p: pool.submit(killed_ten_times, folder / p, p) for p in ("32-true", "bf16-mixed")}
    return {precision: future.result() for precision, future in futures.items()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_kill_9_at_ten_random_moments_changes_nothing(trainings, precision):
    found = trainings[precision]
    whole, killed, kills = found["whole"], found["killed"], found["kills"]
    print(f"seed {SEED} (COURSE_KILL_SEED)", *kills, sep="\n")  # pytest shows it where the test fails

    # the kills were kills of a training that was under way
    assert [kill["status"] for kill in kills] == [-signal.SIGKILL] * 10
    assert all(kill["before"] <= kill["after"] < STEPS for kill in kills)
    assert len({kill["after"] for kill in kills if kill["after"] > max(kill["before"], 0)}) >= 5
    assert kills[-1]["after"] > 0

    # and they changed nothing
    assert whole["precision"] == killed["precision"] == precision
    assert whole["step"] == killed["step"] == STEPS
    assert whole["history"]["steps"] == killed["history"]["steps"]
    assert whole["history"]["values"] == killed["history"]["values"]
    assert not killed["history"]["interrupted"]
    assert list(whole["model"]) == list(killed["model"])
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, killed["model"][name]), name
    for number, state in whole["optimizer"][0]["state"].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, killed["optimizer"][0]["state"][number][name]), f"{name} of parameter {number}"
    assert found["beside"] == ["a.ckpt", "tmp"]


def test_the_trainings_did_learn_something(trainings):
    """Equal weights would prove little if the steps had not changed them."""
    for found in trainings.values():
        losses = found["whole"]["history"]["values"]["loss"]
        assert len(losses) > 100
        assert losses[-1] < 0.7 * losses[0]
    models = [trainings[precision]["whole"]["model"] for precision in ("32-true", "bf16-mixed")]
    assert not torch.equal(models[0]["layers.0.weight"], models[1]["layers.0.weight"])


@pytest.fixture(scope="module")
def savings(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("savings") / "run", "32-true")
    run.start("save")
    run.finish()
    return json.loads((run.folder / "report").read_text())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_before_every_operation_of_a_saving_leaves_the_old_or_the_new_checkpoint(savings):
    operations, found = savings["operations"], savings["found"]
    print(*zip(operations, found, strict=True), sep="\n")
    assert len(found) >= 3
    assert [kill["status"] for kill in found] == [-signal.SIGKILL] * len(found)
    steps = [kill["step"] for kill in found]
    assert steps == sorted(steps)  # the old one up to some operation, the new one from there on
    assert steps[0] == 1
    assert set(steps) <= {1, 2}
    assert savings["last"] == 2
    assert any(kill["others"] for kill in found)  # some kills did leave something unfinished behind …
    assert all(kill["cleared_before"] for kill in found)  # … which the next saving replaces
    assert not any("unfinished" in name for name in savings["others"])


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_one_before(savings):
    """Else a loss of power right after the renaming could leave an empty file under the good name."""
    operations = savings["operations"]
    assert "fsync" in operations
    assert operations.index("fsync") < operations.index("os.rename a.ckpt")


def test_killed_savings_leave_no_files_in_the_folder_for_temporary_files(savings):
    assert savings["others"] == []
