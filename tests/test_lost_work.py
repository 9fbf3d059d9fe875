"""Nothing that was trained is lost: not to a print that fails, a signal, a second training, a full disk, or a worse run.

Each kind has a table, so that the next case is a line. What needs real processes is run in some.
"""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import checkpoints, cli, data, devices, files, recording, reported, results, terminal, training, weights
from course_lib.denoising import dncnn

REPOSITORY = Path(course_lib.__file__).resolve().parents[1]
TINY = ["depth=2", "width=4", "batch_size=2", "steps=4"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and devices of POSIX")


def two_images(name, split=None, *, color=False):
    images = torch.randint(0, 256, (2, 1, 96, 88), dtype=torch.uint8, generator=torch.Generator().manual_seed(len(name)))
    return data.Dataset(name, images, f"drawn for {name}", ("one", "two"))


@pytest.fixture
def home(home, monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(data, "load", two_images)
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    monkeypatch.chdir(home)
    return home


PROGRAM = """
import pathlib, sys, time, torch
from course_lib import cli, data
from course_lib.denoising import dncnn
draw = dncnn.batch
def slowly(pool, draws, settings):
    if draws.step == 3:
        pathlib.Path("ready").touch()
        time.sleep(float(sys.argv[1]))
    return draw(pool, draws, settings)
dncnn.batch = slowly
images = torch.arange(2 * 96 * 88).view(2, 1, 96, 88).to(torch.uint8)
data.load = lambda name, *rest, **options: data.Dataset(name, images, f"drawn for {name}", ("one", "two"))
sys.exit(cli.main(sys.argv[2:]))
"""


def command(home: Path, *arguments: str, seconds: float = 0.0, **options) -> subprocess.Popen:
    """``course`` on two drawn images in a process of its own, that sleeps in step 3."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COURSE_PRECISION": "32-true", "CUDA_VISIBLE_DEVICES": ""}
    standard = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(seconds), *arguments], cwd=home, env=environment, text=True, **standard)


def wait_for(condition, process, seconds: float = 200.0) -> None:
    limit = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)


# --- prints that fail -----------------------------------------------------------------------------------------------------


class Broken(io.StringIO):
    """A stream that takes so many writes, then fails."""

    def __init__(self, error: Exception, after: int = 0):
        super().__init__()
        self.error, self.after = error, after

    def write(self, text):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return super().write(text)

    flush_fails = False

    def flush(self):
        if self.flush_fails:
            raise self.error


FAILING_PRINTS = {
    # error, how many writes succeed before -> exit code, what is said on standard error
    "a closed pipe": (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, 0, ""),
    "a closed pipe, as head -1 does": (BrokenPipeError(errno.EPIPE, "Broken pipe"), 2, 0, ""),
    "a full log disk": (OSError(errno.ENOSPC, "No space left on device"), 1, 1, "course: error: output was lost (disk full:"),
    "a terminal that is gone": (OSError(errno.EIO, "Input/output error"), 0, 0, ""),
    "a stream that was closed": (ValueError("I/O operation on closed file"), 0, 1, "course: error: output was lost"),
}


@pytest.mark.parametrize(("error", "after", "code", "told"), FAILING_PRINTS.values(), ids=FAILING_PRINTS)
def test_a_failing_print_loses_nothing(home, monkeypatch, capsys, error, after, code, told):
    monkeypatch.setattr(sys, "stdout", Broken(error, after))
    assert cli.main(["train", "dncnn_s", *TINY, "--record"]) == code
    assert capsys.readouterr().err.startswith(told)
    assert checkpoints.open_file(home / "runs" / "dncnn_s.quick.ckpt")["step"] == 4
    assert results.read("dncnn_s", "quick")["steps"] == 4


@pytest.mark.parametrize("error", [case[0] for case in FAILING_PRINTS.values()], ids=FAILING_PRINTS)
def test_fit_outlives_a_failing_print(monkeypatch, error):
    """Also without a checkpoint, in somebody's own script, where the network would be lost."""
    plan = dncnn.Settings(depth=2, width=4, patch_size=16, scales=(1.0,), batch_size=2, steps=3, precision="32-true")
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", Broken(error))
    pool = dncnn.prepare(two_images("x").images, plan)
    assert training.fit(dncnn.DnCNN(plan), pool, dncnn, plan).steps == [3]


def test_the_checkpoint_is_saved_before_the_last_line_is_printed(home, monkeypatch):
    seen = []

    class Looking(io.StringIO):
        def write(self, text):
            if " of 4 steps in " in text:
                seen.append(checkpoints.open_file(home / "runs" / "dncnn_s.quick.ckpt")["step"])
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Looking())
    assert cli.main(["train", "dncnn_s", *TINY]) == 0
    assert seen == [4]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_real_full_disk_and_a_real_closed_pipe(home):
    with open("/dev/full", "w") as full:
        process = command(home, "train", "dncnn_s", *TINY, stdout=full)
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors.count("\n")) == (1, 1) and "disk full" in errors
    reader, writer = os.pipe()
    os.close(reader)
    process = command(home, "train", "dncnn_s", *TINY, "--checkpoint", "b.ckpt", stdout=writer)
    os.close(writer)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    for name in ("runs/dncnn_s.quick.ckpt", "b.ckpt"):
        assert checkpoints.open_file(home / name)["step"] == 4


# --- signals --------------------------------------------------------------------------------------------------------------

SIGNALS = {"SIGINT": (130, "interrupted; "), "SIGTERM": (143, "interrupted by SIGTERM; "), "SIGHUP": (129, "interrupted by SIGHUP; ")}


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_to_end_keeps_what_was_trained(home, name):
    code, told = SIGNALS[name]
    process = command(home, "train", "dncnn_s", *TINY[:-1], "steps=50000", "--checkpoint", "c.ckpt", seconds=1)
    wait_for((home / "ready").exists, process)
    process.send_signal(getattr(signal, name))
    if name != "SIGINT":
        process.send_signal(getattr(signal, name))  # systems send them more than once
    out, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    assert out.splitlines()[-1].startswith(f"{told}c.ckpt has what was trained") and errors == ""
    assert 4 <= checkpoints.open_file(home / "c.ckpt")["step"] < 50000


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_outside_the_loop_ends_in_one_line(home, monkeypatch, capsys, name):
    def evaluate(*arguments, **options):
        signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr("course_lib.runs.evaluate", evaluate)
    before = signal.getsignal(getattr(signal, name))
    assert cli.main(["train", "dncnn_s", *TINY]) == 128 + getattr(signal, name)
    assert capsys.readouterr().err == f"course: interrupted by {name}\n"
    assert signal.getsignal(getattr(signal, name)) is before
    assert checkpoints.open_file(home / "runs" / "dncnn_s.quick.ckpt")["step"] == 4


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminal.interruption() as asked, terminal.stopping():
            signal.raise_signal(signal.SIGHUP)
        assert not asked.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_came_too_late_for_the_loop_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt), terminal.interruption():
        signal.raise_signal(signal.SIGINT)
    with terminal.interruption() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked.heed() == signal.SIGINT


# --- two trainings on one path --------------------------------------------------------------------------------------------


def test_a_second_training_on_the_same_checkpoint_is_refused(home, capsys):
    """Real processes: the first one sleeps in step 3, is named by the second one, and killed; its lock is no obstacle then."""
    first = command(home, "train", "dncnn_s", *TINY, "save_every=1", "--checkpoint", "a.ckpt", seconds=500)
    try:
        wait_for((home / "ready").exists, first)
        before = (home / "a.ckpt").read_bytes()
        assert cli.main(["train", "dncnn_s", *TINY, "save_every=1", "--checkpoint", "a.ckpt", "--resume"]) == 1
        assert f"a.ckpt is being written by process {first.pid} on " in capsys.readouterr().err
        assert (home / "a.ckpt").read_bytes() == before
    finally:
        first.kill()
        first.communicate()
    assert (home / "a.ckpt.lock").exists(), "a killed process leaves it"
    assert cli.main(["train", "dncnn_s", *TINY, "save_every=1", "--checkpoint", "a.ckpt", "--resume"]) == 0
    assert checkpoints.open_file(home / "a.ckpt")["step"] == 4
    assert sorted(path.name for path in home.glob("a.ckpt*")) == ["a.ckpt"]


def test_a_lock_holds_within_a_process_too_and_ends_with_its_block(tmp_path):
    with files.lock(tmp_path / "a"), pytest.raises(files.BusyError, match=f"process {os.getpid()} on "), files.lock(tmp_path / "a"):
        pass
    with files.lock(tmp_path / "a"):
        assert (tmp_path / "a.lock").exists()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with files.lock(tmp_path / "a"), pytest.raises(files.BusyError), files.lock(tmp_path / "link"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_unfinished_files_have_names_of_their_own_and_those_of_killed_processes_are_cleared(tmp_path, monkeypatch):
    (left := tmp_path / "a.0123abcd.unfinished").write_text("of a killed process")
    with open(tmp_path / "a.4567cdef.unfinished", "w") as other:
        assert files._locked(other.fileno())  # of a process that is writing it
        files.write(tmp_path / "a", b"whole")
    assert not left.exists() and (tmp_path / "a.4567cdef.unfinished").exists()
    assert (tmp_path / "a").read_bytes() == b"whole"
    names = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: names.append({path.name for path in tmp_path.glob("b.*")}))
    for _ in range(2):
        files.write(tmp_path / "b", b"")
    assert len(set.union(*names)) == 2


# --- both files or neither ------------------------------------------------------------------------------------------------


def test_several_files_are_written_together_or_none(tmp_path, monkeypatch):
    one, two, new = tmp_path / "one", tmp_path / "two", tmp_path / "new"
    one.write_bytes(b"1"), two.write_bytes(b"2")
    replace = os.replace

    def fails_at_two(source, target):
        if Path(target) == two:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched, pytest.raises(files.WriteError, match="could not be written .disk full"):
        patched.setattr(os, "replace", fails_at_two)
        files.write_together({one: b"I", new: b"N", two: b"II"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"1", "two": b"2"}
    files.write_together({one: b"I", new: b"N", two: b"II"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"I", "two": b"II", "new": b"N"}


def a_folder_in_its_place(home):
    results.path("dncnn_s", "quick").mkdir(parents=True)


def a_file_for_a_folder(home):
    (home / "data" / "weights").write_text("no folder")


def an_unreadable_record(home):
    results.path("dncnn_s", "quick").parent.mkdir(parents=True)
    results.path("dncnn_s", "quick").write_text("{")


def no_test_set(home):
    def load(name, split=None, **options):
        if split == "test":
            raise data.DataError("photos: 4 of 4 files are missing")
        return two_images(name)

    data.load = load


BEFORE_THE_FIRST_STEP = {
    "a folder in the place of the record": (a_folder_in_its_place, "dncnn_s.quick.json is a folder, not a file"),
    "no folder for the weights": (a_file_for_a_folder, "dncnn_s.quick.safetensors could not be written"),
    "a record that nobody can read": (an_unreadable_record, "is not a readable record"),
    "a test set that is missing": (no_test_set, "4 of 4 files are missing"),
}


@pytest.mark.parametrize(("spoil", "told"), BEFORE_THE_FIRST_STEP.values(), ids=BEFORE_THE_FIRST_STEP)
def test_what_can_be_known_is_known_before_the_first_step(home, monkeypatch, capsys, spoil, told):
    spoil(home)
    monkeypatch.setattr(dncnn, "batch", lambda *_: pytest.fail("a step was made"))
    assert cli.main(["train", "dncnn_s", *TINY, "--record"]) == 1
    assert told in capsys.readouterr().err
    assert not (home / "runs").exists()


def test_a_record_that_cannot_be_written_leaves_the_weights_as_they_were(home, monkeypatch, capsys):
    assert cli.main(["train", "dncnn_s", *TINY, "--record"]) == 0
    before = {path: path.read_bytes() for path in (results.path("dncnn_s", "quick"), weights.path("dncnn_s", "quick"))}
    replace = os.replace

    def full(source, target):
        if str(target).endswith(".json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        assert cli.main(["train", "dncnn_s", *TINY, "--seed", "1", "--checkpoint", "b", "--record", "--force"]) == 1
    assert "disk full" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert cli.main(["train", "dncnn_s", *TINY, "--seed", "1", "--checkpoint", "b", "--record", "--force", "--resume"]) == 0
    assert results.read("dncnn_s", "quick")["seed"] == 1


# --- what is better stays -------------------------------------------------------------------------------------------------

BETTER = {
    # metrics before, metrics after -> gain, figures shared
    "higher dB": ({"a": {"psnr": 29.0}}, {"a": {"psnr": 29.5}}, 0.5, 1),
    "lower error rate": ({"a": {"eer_0": 5.0}}, {"a": {"eer_0": 3.0}}, 2.0, 1),
    "the mean counts": ({"a": {"psnr_15": 30.0, "psnr_25": 28.0}}, {"a": {"psnr_15": 30.4, "psnr_25": 27.0}}, -0.3, 2),
    "only what both have": ({"a": {"psnr": 29.0}, "b": {"psnr": 1.0}}, {"a": {"psnr": 28.0}, "c": {"psnr": 99.0}}, -1.0, 1),
}


@pytest.mark.parametrize(("before", "after", "gain", "figures"), BETTER.values(), ids=BETTER)
def test_what_is_better(before, after, gain, figures):
    assert results.gain({"metrics": before}, {"metrics": after}) == (pytest.approx(gain), figures)
    for data_set in before:
        assert all(reported.gain(metric, value, value) == 0 for metric, value in before[data_set].items())


def test_a_worse_run_does_not_replace_a_record_unless_forced(home, capsys):
    good = ["train", "dncnn_s", *TINY[:-1], "steps=60", "learning_rate=0.01", "--record"]
    poor = ["train", "dncnn_s", *TINY[:-1], "steps=1", "--record", "--checkpoint", "poor.ckpt"]
    assert cli.main(good) == 0
    before = {path: path.read_bytes() for path in (results.path("dncnn_s", "quick"), weights.path("dncnn_s", "quick"))}
    capsys.readouterr()
    assert cli.main(poor) == 1
    told = capsys.readouterr().err
    assert "the record of dncnn_s, quick preset, stays as it is: its figures are better by " in told
    assert "the mean over the 1 that both have (such as photos psnr: " in told and "--resume --force" in told
    assert {path: path.read_bytes() for path in before} == before
    assert cli.main([*poor, "--resume", "--force"]) == 0, "the advice of the message"
    assert results.read("dncnn_s", "quick")["steps"] == 1
    assert cli.main([*good[:-1], "--checkpoint", "again.ckpt", "--record"]) == 0, "a better one replaces it without"
    assert results.read("dncnn_s", "quick")["steps"] == 60


def test_records_that_share_no_figure_are_not_better(home):
    assert cli.main(["train", "dncnn_s", *TINY, "--record"]) == 0
    entry = json.loads(results.path("dncnn_s", "quick").read_text())
    with pytest.raises(recording.WorseError, match="shares no figure with this run"):
        recording._require_no_worse({**entry, "metrics": {"other": {"psnr": 99.0}}}, entry, [Path("a.ckpt")])
    recording._require_no_worse(entry, None, [])  # nothing to replace
