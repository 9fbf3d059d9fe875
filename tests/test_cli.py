"""The ``course`` command: what it prints, its exit codes, and one clear line for what can be foreseen to go wrong."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import checkpoints, cli, data, recipes, results, runs
from course_lib.denoising import dncnn

REPOSITORY = Path(course_lib.__file__).resolve().parents[1]
TINY = ["depth=2", "width=4", "batch_size=2", "steps=4"]
LOAD = data.load


@pytest.fixture(autouse=True)
def home(home, monkeypatch):
    """Everything is written below a folder of its own, and two small images stand for every data set."""
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setattr(data, "load", two_images)
    monkeypatch.chdir(home)
    return home


def two_images(name, split=None, *, color=False):
    images = torch.randint(0, 256, (2, 1, 96, 88), dtype=torch.uint8, generator=torch.Generator().manual_seed(len(name)))
    return data.Dataset(name, images, f"drawn for {name}", ("one", "two"))


@pytest.fixture
def checkpoint(home, capsys):
    """A finished run of four steps."""
    assert cli.main(["train", "dncnn_s", *TINY, "--checkpoint", "a.ckpt"]) == 0
    capsys.readouterr()
    return home / "a.ckpt"


@pytest.fixture
def unfinished(home, monkeypatch):
    """A run that a crash ended after two of its four steps."""

    def crash(pool, draws, settings):
        if draws.step == 2:
            raise SystemError
        return draw(pool, draws, settings)

    draw = dncnn.batch
    with monkeypatch.context() as patched:
        patched.setattr(dncnn, "batch", crash)
        with pytest.raises(SystemError):
            cli.main(["train", "dncnn_s", *TINY, "save_every=1", "--checkpoint", "b.ckpt"])
    return home / "b.ckpt"


def refused(arguments, capsys) -> str:
    """The one line on stderr with which a command ends."""
    assert cli.main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("course: error: ") and "Traceback" not in lines[0]
    return lines[0]


# --- list -----------------------------------------------------------------------------------------------------------------


def test_list_names_all_recipes_and_presets(capsys):
    assert cli.main(["list"]) == 0
    told = capsys.readouterr().out
    for name, recipe in recipes.RECIPES.items():
        assert f"{name}: {recipe.title}" in told
        assert all(re.search(rf"  {preset} +{chosen.settings.steps:,} steps of ", told) for preset, chosen in recipe.presets.items())
    assert "  quick  1,000 steps of 8 on photos; tested on photos" in told
    assert "  faces  400 steps of 64 on faces; tested on faces" in told
    assert "  paper  82,800 steps of 128 on bsd400; tested on bsd68, set12" in told
    assert "recorded" not in told


def test_list_shows_what_is_recorded(capsys):
    assert cli.main(["train", "dncnn_s", *TINY, "--preset", "paper", "--record", "--note", "a test"]) == 0
    told = capsys.readouterr().out
    recorded = results.read("dncnn_s")
    assert recorded["note"] == "a test" and recorded["short"]
    psnr = recorded["metrics"]["bsd68"]["psnr"]
    line = f"    bsd68 psnr: paper 29.23, recorded {psnr:.2f} (a short run), gap {psnr - 29.23:+.2f} dB"
    assert line in told.splitlines()
    assert cli.main(["list"]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert cli.main(["evaluate", "dncnn_s"]) == 0
    told = capsys.readouterr().out
    assert "shipped weights on " in told and f"bsd68 psnr: {psnr:.2f} dB, mean of 2 images" in told


def test_a_record_without_published_figures_prints_its_means(capsys):
    assert cli.main(["train", "dncnn_s", *TINY, "--preset", "quick", "--record"]) == 0
    psnr = results.read("dncnn_s", "quick")["metrics"]["photos"]["psnr"]
    assert f"photos psnr: {psnr:.2f} dB, mean of 2 images" in capsys.readouterr().out.splitlines()


# --- train ----------------------------------------------------------------------------------------------------------------


def test_train_writes_the_checkpoint_and_prints_the_mean(home, capsys):
    assert cli.main(["train", "dncnn_s", *TINY, "--seed", "3"]) == 0
    found = checkpoints.open_file(home / "runs" / "dncnn_s.quick.ckpt")
    assert (found["step"], found["seed"], found["settings"]["depth"]) == (4, 3, 2)
    told = capsys.readouterr()
    assert re.search(r"^photos psnr: \d+\.\d\d dB, mean of 2 images$", told.out, re.MULTILINE) and told.err == ""
    assert "in 32-true: runs/dncnn_s.quick.ckpt" in told.out
    assert not (home / "data" / "results").exists(), "without --record nothing is recorded"


def test_settings_may_stand_on_both_sides_of_the_options(home):
    assert cli.main(["train", "dncnn_s", TINY[0], "--preset", "quick", *TINY[1:], "--seed", "1"]) == 0
    assert checkpoints.open_file(home / "runs" / "dncnn_s.quick.ckpt")["settings"]["width"] == 4


def test_the_installed_command_on_the_embedded_photos(home):
    script = Path(sys.executable).with_name("course")
    done = subprocess.run([script, "train", "dncnn_s", *TINY], cwd=home, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mean of 4 images" in done.stdout and (home / "runs" / "dncnn_s.quick.ckpt").is_file()


def test_an_existing_checkpoint_is_refused_and_left_alone(checkpoint, capsys):
    before = checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns
    line = refused(["train", "dncnn_s", *TINY, "--checkpoint", "a.ckpt"], capsys)
    assert "a.ckpt exists already, with 4 steps: resume from it if the run was interrupted (--resume), give another file" in line
    assert (checkpoint.read_bytes(), checkpoint.stat().st_mtime_ns) == before


def test_an_existing_checkpoint_is_refused_before_anything_is_loaded(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("the images were loaded"))
    assert "a.ckpt exists already" in refused(["train", "dncnn_s", *TINY, "--checkpoint", "a.ckpt"], capsys)


def test_without_torch_the_command_says_how_to_get_it(monkeypatch, capsys):
    for name in [n for n in sys.modules if n.startswith("course_lib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    assert "torch is not installed here: `make install`" in refused(["list"], capsys)


def test_resume_goes_on(unfinished, checkpoint):
    assert checkpoints.open_file(unfinished)["step"] == 2
    assert cli.main(["train", "dncnn_s", *TINY, "save_every=1", "--checkpoint", "b.ckpt", "--resume"]) == 0
    resumed, whole = checkpoints.open_file(unfinished), checkpoints.open_file(checkpoint)
    assert resumed["step"] == 4
    assert all(torch.equal(t, resumed["model"][name]) for name, t in whole["model"].items())


def test_resume_with_other_settings_is_refused(unfinished, capsys):
    others = [one for one in TINY if one != "width=4"]
    line = refused(["train", "dncnn_s", "width=5", *others, "save_every=1", "--checkpoint", "b.ckpt", "--resume"], capsys)
    assert "width: 4 in the checkpoint, 5 now" in line


# --- evaluate -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "names"), [([], ["bsd68", "set12", "photos"]), (["--preset", "quick"], ["photos"]),
                                               (["--data", "set12"], ["set12"])])  # fmt: skip
def test_evaluate_a_checkpoint(checkpoint, capsys, option, names):
    assert cli.main(["evaluate", "dncnn_s", "--checkpoint", "a.ckpt", *option]) == 0
    told = capsys.readouterr().out.splitlines()
    model, _ = runs.from_checkpoint("dncnn_s", "paper", checkpoint)
    means = {name: sum(dncnn.evaluate(model, two_images(name).images, 25.0)) / 2 for name in names}
    assert told[0].startswith("trained with other settings than dncnn_s, ") and "depth=2" in told[0]
    if option[:1] != ["--preset"]:  # the paper's, but the checkpoint is of the other one
        assert told.pop(1) == "trained with the preset quick: what is tested on here may be among the data it was trained on"
    assert told[2:] == [f"{name} psnr: {mean:.2f} dB, mean of 2 images" for name, mean in means.items()]
    assert told[1].startswith("a.ckpt on ")


# --- what goes wrong ------------------------------------------------------------------------------------------------------

MISTAKES = {
    "recipe": (["train", "dncn_s"], 'unknown recipe "dncn_s" (did you mean dncnn_s?)'),
    "recipe to evaluate": (["evaluate", "dncn_s"], "did you mean dncnn_s?"),
    "preset": (["train", "dncnn_s", "--preset", "papr"], 'unknown preset "papr" (did you mean paper?)'),
    "preset to evaluate": (["evaluate", "dncnn_s", "--preset", "papr", "--checkpoint", "x"], "did you mean paper?"),
    "setting": (["train", "dncnn_s", "dept=8"], 'unknown setting "dept" (did you mean depth?)'),
    "malformed setting": (["train", "dncnn_s", "depth"], '"depth" is not understood: write a setting as NAME=VALUE'),
    "type of a value": (["train", "dncnn_s", "depth=deep"], 'depth = "deep" is not understood'),
    "value": (["train", "dncnn_s", "depth=1"], "depth = 1"),
    "a setting twice": (["train", "dncnn_s", "steps=2", "steps=3"], "steps is given twice, as 2 and as 3"),
    "a note without a record": (["train", "dncnn_s", "--note", "short"], "--note is for readers of a record: give --record"),
    "too few seeds": (["train", "siamese", "--seeds", "0"], "there are 0 seeds, but an interval needs at least two"),
    "a file for a recipe": (["train", "runs/a.ckpt"], '"runs/a.ckpt" looks like a file: give the name of its recipe'),
    "a file to evaluate": (["evaluate", "a.ckpt"], "and a checkpoint by --checkpoint"),
    "choice": (["train", "dncnn_s", "schedule=linear"], "must be one of cosine, exponential, drop"),
    "scales": (["train", "dncnn_s", "scales=1,0"], "scales = (1.0, 0.0)"),
    "channels": (["train", "dncnn_s", "channels=3"], "channels = 3, but the training images have 1"),
    "patch size": (["train", "dncnn_s", "patch_size=500"], "patch_size = 500, but the smallest image side is"),
    "checkpoint": (["evaluate", "dncnn_s", "--checkpoint", "nowhere.ckpt"], "nowhere.ckpt"),
    "extension of a part": (["evaluate", "dncnn_s", "--extend", "--data", "photos"], "leave out --checkpoint and --data"),
    "extension of nothing": (["evaluate", "dncnn_s", "--extend"], 'no run "dncnn_s" with preset "paper" is recorded'),
    "shipped weights": (["evaluate", "dncnn_s"], 'no run "dncnn_s" with preset "paper" is recorded; there is no record at all'),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_clear_line(home, capsys, arguments, words):
    assert words in refused(arguments, capsys)
    assert not (home / "runs").exists(), "nothing was begun"


@pytest.mark.parametrize("root", ["no COURSE_DATA", "an empty folder", "no folder"])
def test_a_missing_data_set(home, monkeypatch, capsys, root):
    monkeypatch.setattr(data, "load", LOAD)
    if root == "an empty folder":
        (home / "empty").mkdir()
    if root != "no COURSE_DATA":
        monkeypatch.setenv("COURSE_DATA", str(home / "empty"))
    line = refused(["train", "dncnn_s", "--preset", "paper"], capsys)
    folder = home / "data" / "downloads" if root == "no COURSE_DATA" else home / "empty"
    assert f"BSD400: 400 of 400 files are missing in {folder}" in line and "data/README.md" in line


def test_an_unknown_data_set(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(data, "load", LOAD)
    line = refused(["evaluate", "dncnn_s", "--checkpoint", "a.ckpt", "--data", "set21"], capsys)
    assert 'unknown data set "set21" (did you mean set12?); there are photos, digits' in line
    line = refused(["evaluate", "dncnn_s", "--checkpoint", "a.ckpt", "--data", "BSD68"], capsys)
    assert 'unknown data set "BSD68" (did you mean bsd68?)' in line


def test_usage_names_what_is_required_and_no_more(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("required: recipe")


@pytest.fixture
def two_records(home, capsys):
    """Of one recipe, of which that of the preset quick is damaged."""
    for preset in ("quick", "paper"):
        assert cli.main(["train", "dncnn_s", *TINY, "--preset", preset, "--record", "--checkpoint", f"{preset}.ckpt"]) == 0
    file = results.path("dncnn_s", "quick")
    file.write_text(file.read_text(encoding="utf-8").replace('"seed": 0', '"seed": 1'), encoding="utf-8")
    capsys.readouterr()


def test_one_damaged_record_does_not_hide_the_others(two_records, capsys):
    assert cli.main(["list"]) == 1
    told = capsys.readouterr()
    assert "quick.json was altered after its run" in told.out and "bsd68 psnr: paper 29.23, recorded" in told.out
    assert "triplet: " in told.out and told.err == "course: error: not all records can be read (1 cannot), see above\n"
    assert cli.main(["verify"]) == 1
    told = capsys.readouterr()
    assert "dncnn_s, quick preset: DAMAGED: " in told.out and "figures of 1 records were compared; all of them agree" in told.out
    assert "1 of 2 records, their weights or images are damaged" in told.err


def test_a_damaged_record_is_not_said_to_be_missing(two_records, capsys):
    assert cli.main(["evaluate", "dncnn_s", "--checkpoint", "quick.ckpt", "--data", "photos"]) == 0, "a checkpoint needs no record"
    capsys.readouterr()
    line = refused(["evaluate", "dncnn_s", "--preset", "quick"], capsys)
    assert "altered after its run" in line and "are shipped" not in line


@pytest.mark.parametrize("error", [RuntimeError, TypeError, KeyError, AssertionError, ZeroDivisionError])
def test_what_was_not_foreseen_is_not_swallowed(monkeypatch, error):
    def broken(*arguments, **options):
        raise error("a bug")

    monkeypatch.setattr(runs, "train", broken)
    with pytest.raises(error, match="a bug"):
        cli.main(["train", "dncnn_s"])


WRONG_USAGE = [[], ["trian"], ["train"], ["train", "dncnn_s", "--seed", "one"], ["train", "dncnn_s", "--presett", "paper"],
               ["list", "steps=3"], ["evaluate", "dncnn_s", "steps=3"]]  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG_USAGE)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2 and "usage: course" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [([], "list train evaluate"), (["train"], "SETTING=VALUE --preset --resume"), (["evaluate"], "--checkpoint --data")],
)
def test_help(command, words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert all(word in told for word in words.split())


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------------


def test_interruption_outside_the_loop(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "train", interrupted)
    assert cli.main(["train", "dncnn_s"]) == 130
    assert capsys.readouterr().err == "course: interrupted\n"


SLOWLY = """
import sys, time, pathlib, torch
from course_lib import cli, data
from course_lib.denoising import dncnn
draw = dncnn.batch
def slowly(pool, draws, settings):
    if draws.step == 3:
        pathlib.Path("ready").touch()
    time.sleep(0.5 if draws.step >= 3 else 0)
    return draw(pool, draws, settings)
dncnn.batch = slowly
images = torch.arange(2 * 96 * 88).view(2, 1, 96, 88).to(torch.uint8)
data.load = lambda name, *rest, **options: data.Dataset(name, images, f"drawn for {name}", ("one", "two"))
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
def test_ctrl_c_keeps_what_was_trained(home):
    command = ["train", "dncnn_s", *TINY[:-1], "steps=60", "--checkpoint", "c.ckpt"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *command], cwd=home, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    limit = time.monotonic() + 300
    while process.poll() is None and not (home / "ready").exists() and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "interrupted; c.ckpt has what was trained" in told and "--resume" in told and "Traceback" not in errors
    step = checkpoints.open_file(home / "c.ckpt")["step"]
    assert 4 <= step < 60
    assert cli.main([*command, "--resume"]) == 0
    assert checkpoints.open_file(home / "c.ckpt")["step"] == 60
