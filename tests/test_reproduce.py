"""``course reproduce``: what it trains first, that it can be ended at any moment, and that no record is lost or replaced by a worse one."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import course_lib
from course_lib import checkpoints, cli, clock, data, devices, files, jobs, recipes, recording, reproduce, results, runs, terminal, weights
from course_lib.denoising import dncnn
from course_lib.recipes import laptop

REPOSITORY = Path(course_lib.__file__).resolve().parents[1]
TINY = dict(depth=2, width=4, batch_size=2, patch_size=16, scales=(1.0,), save_every=2, log_every=2, warmup_steps=0, optimizer="adam")


def two_images(name, split=None, *, color=False):
    images = torch.randint(0, 256, (2, 1, 48, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(len(name)))
    return data.Dataset(name, images, f"drawn for {name}", ("one", "two"))


def tiny(steps: int = 6) -> dict[str, recipes.Recipe]:
    """Four recipes of the course with two layers, without NN3D, which takes long; the last goes on from the third."""
    found = {}
    for name in ("dncnn_s", "dncnn_b", "gradual", "gradual_text"):
        recipe, presets = recipes.named(name), {}
        for preset in results.FOR_THE_PAPER:
            chosen = recipe.presets[preset]
            tests = {
                images: replace(test, metrics={metric: measure for metric, measure in test.metrics.items() if "nn3d" not in metric})
                for images, test in chosen.tests.items()
            }
            settings = replace(chosen.settings, **TINY, steps=steps + 9 * (preset == "paper"))
            presets[preset] = replace(chosen, settings=settings, tests=tests)
        found[name] = replace(recipe, presets=presets)
    return found


@pytest.fixture
def home(home, monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(data, "load", two_images)
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    monkeypatch.setattr(recipes, "RECIPES", tiny())
    monkeypatch.chdir(home)
    return home


def record_with(recipe: str, preset: str, *, better_by: float, steps: int = 1) -> dict:
    """A short run, recorded as if its figures were better than the paper's by so much (dB)."""
    file = Path(f"{recipe}.{preset}.{better_by}.ckpt")
    runs.train(recipe, preset, changes={"steps": str(steps)}, checkpoint=file)
    entry = recording.record(recipe, preset, file, force=True)
    for name, figures in entry["metrics"].items():
        for metric in figures:
            value = entry["paper"].get(name, {}).get(metric, {"value": 30.0})["value"] + better_by
            figures[metric] = value
            entry["per_image"][name][metric] = dict.fromkeys(entry["per_image"][name][metric], value)
    del entry["sha256"]
    results.write(entry)
    return results.read(recipe, preset)


def names(found) -> list[str]:
    return [job.recipe for job in found]


# --- durations ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("150m", 9000), ("2h30m", 9000), ("2.5h", 9000), ("90s", 90), ("1h 5s", 3605)])
def test_durations(text, seconds):
    assert clock.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "150", "m", "0m", "-5m", "2d", "h2", "5m later", "1e3s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="such as"):
        clock.seconds(text)


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (700, "12 min"), (9000, "2 h 30 min"), (3599, "1 h 00 min")])
def test_durations_in_words(seconds, text):
    assert clock.words(seconds) == text


@pytest.mark.parametrize(
    ("durations", "text"),
    [
        ([400], "7 min"), ([361, 359], "6 min"), ([540, 360, 400], "6–9 min"), ([50, 59], "50–59 s"), ([50, 90], "50 s – 2 min"),
        ([3000, 4200], "50 min – 1 h 10 min"), ([4200, 7800], "1 h 10 min – 2 h 10 min"),
    ],
)  # fmt: skip
def test_a_span_of_durations_in_words(durations, text):
    assert clock.span(durations) == text


HELD = """
import os, signal, sys, time
from course_lib.clock import Stopwatch
began = time.perf_counter()
with Stopwatch() as outer, Stopwatch() as watch:
    outer.tick()
    watch.tick()
    os.kill(os.getpid(), signal.SIGSTOP)
    watch.tick()
print(time.perf_counter() - began, watch.seconds, outer.seconds)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_stopwatch_stands_while_the_process_is_held():
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True, env=environment)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    time.sleep(3)
    process.send_signal(signal.SIGCONT)
    passed, inner, outer = map(float, process.communicate(timeout=60)[0].split())
    assert passed >= 3 and max(inner, outer) < passed - 2.5
    with clock.Stopwatch() as watch:
        time.sleep(0.01)
    ended = watch.seconds
    assert ended >= 0.01 and ended == watch.seconds


# --- what comes first -----------------------------------------------------------------------------------------------------


def test_the_largest_gap_comes_first(home):
    assert names(jobs.jobs()) == ["dncnn_s", "dncnn_b", "gradual", "gradual_text"], "without any record in the order of the recipes"
    record_with("dncnn_s", "paper", better_by=-0.5)
    assert names(jobs.jobs()) == ["dncnn_b", "dncnn_s", "gradual", "gradual_text"], "what has no record yet comes first"
    record_with("dncnn_b", "paper", better_by=-0.1)
    record_with("gradual", "paper", better_by=-9)
    found = jobs.jobs()
    assert names(found) == ["dncnn_s", "dncnn_b", "gradual_text", "gradual"], "no figure of the last two is published"
    assert [job.preset for job in found] == ["laptop"] * 4
    assert [job.gap() for job in found] == [pytest.approx(0.5), pytest.approx(0.1), None, None]


def test_figures_that_show_a_failure_are_no_gap_and_make_no_run_worse(home):
    record_with("dncnn_b", "paper", better_by=-0.1)
    record = results.read("dncnn_b", "paper")
    worse = json.loads(json.dumps(record))
    for metric in ("clamped_70", "clamped_100"):
        worse["metrics"]["bsd68"][metric] -= 50
        worse["per_image"]["bsd68"][metric] = {name: value - 50 for name, value in worse["per_image"]["bsd68"][metric].items()}
    results.write({key: value for key, value in worse.items() if key != "sha256"})
    [job] = jobs.jobs(["dncnn_b"])
    assert job.gap() == pytest.approx(0.1)
    assert results.gain(record, worse)[0] == pytest.approx(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--what", "dncn_s"], 'unknown recipe "dncn_s" (did you mean dncnn_s?)'),
        (["--what", "triplet"], "triplet has no run that the queue could make"),
        (["--budget", "150"], '"150" is no duration'),
        (["--budget", "0m"], '"0m" is no time to work in'),
        (["--slice", "long"], '"long" is no duration'),
    ],
)
def test_bad_input_is_told_before_the_first_step(home, monkeypatch, capsys, arguments, message):
    triplet = recipes.Recipe(title="", method=None, network=None, presets={}, seeds=5)
    monkeypatch.setattr(recipes, "RECIPES", {**tiny(), "triplet": triplet})
    monkeypatch.setattr(reproduce, "lower_priority", lambda: True)
    assert cli.main(["reproduce", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"course: error: {message}")
    assert not (home / "runs").exists() or not list((home / "runs").rglob("*.ckpt"))


def test_missing_images_are_told_before_the_first_step(home, monkeypatch, capsys):
    def load(name, split=None, *, color=False):
        if name == missing:
            raise data.DataError(f"{name} is missing: see data/README.md")
        return two_images(name)

    missing = "set12"
    monkeypatch.setattr(data, "load", load)
    with pytest.raises(data.DataError, match="set12 is missing"):
        reproduce.work(["gradual_text", "dncnn_s"])
    with pytest.raises(data.DataError, match="set12 is missing"):  # that all of them need
        reproduce.work()
    assert not list(home.rglob("*.ckpt"))
    missing = "portraits"
    said = []
    reproduce.work(seconds=1e-9, say=said.append)
    assert said[0].startswith("left out: gradual, laptop preset; gradual_text, laptop preset. portraits is missing")


def test_times_that_make_no_sense(home):
    with pytest.raises(ValueError, match="seconds = 0"):
        reproduce.work(seconds=0)


# --- from slices to records -----------------------------------------------------------------------------------------------


def test_a_run_in_slices_is_the_run_in_one_go_and_says_who_computed_what(home):
    said = []
    reproduce.work(["dncnn_s"], slice_seconds=1e-9, say=said.append)
    assert said[0].startswith("dncnn_s, laptop preset: step 1 of 6, ") and said[-1] == "Everything is trained and recorded."
    record, [job] = results.read("dncnn_s"), jobs.jobs(["dncnn_s"])
    runs.train("dncnn_s", "laptop", checkpoint=home / "whole.ckpt")
    assert checkpoints.open_file(home / "whole.ckpt")["sha256"] == checkpoints.open_file(job.checkpoint)["sha256"]
    assert record["about"]["preset"] == "laptop" and not record["short"] and record["steps"] == 6
    assert record["about"]["data"]["train"].startswith("bsd400: 2 images") and record["about"]["needs"] == {}
    assert [(one["first_step"], one["last_step"]) for one in record["slices"]] == [(i, i + 1) for i in range(6)]
    [who] = record["computed_by"]
    assert who["commit"] and "torch" in who["versions"] and who["device"].startswith("CPU")
    assert {one["computed_by"] for one in record["slices"]} == {0}
    assert sum(one["seconds"] for one in record["slices"]) == pytest.approx(record["seconds"], abs=0.4)
    assert [entry["step"] for entry in job.kept()["validation"]] == [1, 2, 3, 4, 5, 6]
    assert job.validation == "photos"
    said.clear()
    reproduce.work(["dncnn_s"], say=said.append)
    assert said == ["Everything is trained and recorded."], "nothing is done twice"


def test_the_budget_ends_it_and_the_next_day_goes_on(home):
    said = []
    reproduce.work(["dncnn_s", "dncnn_b"], seconds=1e-6, say=said.append)
    assert said == ["The time is over; 2 runs are not finished."]
    reproduce.work(["dncnn_s", "dncnn_b"], say=said.append)
    assert results.recorded() == [("dncnn_b", "laptop"), ("dncnn_s", "laptop")]


def test_what_goes_on_from_weights_waits_for_them(home):
    reproduce.work(["gradual_text", "gradual"])
    start = results.read("gradual", "laptop")["weights"]["sha256"]
    assert results.read("gradual_text")["about"]["needs"]["start"] == {
        "recipe": "gradual", "preset": "laptop", "part": "", "sha256": start,
    }  # fmt: skip


def test_what_has_nothing_to_go_on_from_is_told(home):
    with pytest.raises(reproduce.ReproduceError, match="gradual_text, laptop preset .it starts from the weights of gradual, laptop preset"):
        reproduce.work(["gradual_text"])


def test_one_failure_leaves_the_others_to_go_on(home):
    [job] = jobs.jobs(["dncnn_s"])
    runs.train("dncnn_s", "laptop", changes={"steps": "5"}, checkpoint=job.checkpoint)  # of other settings
    before, said = job.checkpoint.read_bytes(), []
    with pytest.raises(reproduce.ReproduceError, match="1 runs failed: dncnn_s, laptop preset .*steps: 5 in the checkpoint, 6 now"):
        reproduce.work(["dncnn_s", "dncnn_b"], say=said.append)
    assert results.recorded() == [("dncnn_b", "laptop")] and job.checkpoint.read_bytes() == before
    job.checkpoint.write_bytes(before[:1000])
    with pytest.raises(reproduce.ReproduceError, match="truncated"):
        reproduce.work(["dncnn_s"], say=said.append)
    assert "checkpoint damaged" in jobs.table(jobs.status(["dncnn_s"]))


def test_a_run_that_is_no_better_is_not_recorded_and_not_measured_twice(home, monkeypatch):
    record_with("dncnn_s", "paper", better_by=50)
    files_before = {path: path.read_bytes() for path in (home / "data").rglob("*.*")}
    said = []
    reproduce.work(["dncnn_s"], say=said.append)
    assert "dncnn_s, laptop preset: the record of dncnn_s, paper preset, stays as it is: its figures are better by " in said[-2]
    assert {path: path.read_bytes() for path in (home / "data").rglob("*.*")} == files_before
    [standing] = jobs.status(["dncnn_s"])
    assert (standing.state, standing.step, standing.seconds_to_go) == ("no better than the record", 6, 0.0)

    monkeypatch.setattr(recording, "record", None)  # would fail
    reproduce.work(["dncnn_s"], say=said.append)
    assert said[-1] == "Everything is trained and recorded."
    monkeypatch.undo()


def test_the_best_record_stands_beside_the_paper(home):
    record_with("dncnn_s", "paper", better_by=-90)
    assert results.best("dncnn_s") == "paper"
    record_with("dncnn_s", "laptop", better_by=-1, steps=3)
    assert results.best("dncnn_s") == results.read("dncnn_s")["about"]["preset"] == "laptop"
    sizes = {preset: [p.abs().sum() for p in runs.shipped("dncnn_s", preset).parameters()] for preset in ("paper", "laptop", None)}
    assert sizes["laptop"] == sizes[None] != sizes["paper"]
    [row, _] = results.compare(results.read("dncnn_s"))
    assert (row.preset, row.paper, row.gap) == ("laptop", 29.23, pytest.approx(-1))
    with pytest.raises(recording.WorseError, match="the record of dncnn_s, laptop preset, stays"):
        recording.record("dncnn_s", "paper", poor_run(home))
    record_with("dncnn_s", "paper", better_by=0)
    assert results.best("dncnn_s") == "paper" and recording.superseded() == []


def poor_run(home: Path) -> Path:
    """A finished run of the paper's preset that learnt nothing."""
    runs.train("dncnn_s", "paper", changes={"steps": "0"}, checkpoint=home / "poor.ckpt")
    return home / "poor.ckpt"


def test_a_worse_record_makes_way_and_is_kept_elsewhere(home):
    record_with("dncnn_s", "paper", better_by=-90)
    before = {file.name: file.read_bytes() for file in (results.path("dncnn_s", "paper"), weights.path("dncnn_s", "paper"))}
    said = []
    reproduce.work(["dncnn_s"], say=said.append)
    assert results.recorded() == [("dncnn_s", "laptop")]
    assert {file.name: file.read_bytes() for file in (home / jobs.FOLDER / "retired").iterdir()} == before
    assert not weights.path("dncnn_s", "paper").exists() and runs.shipped("dncnn_s")
    assert sum("made way for the better record" in line for line in said) == 2


@pytest.mark.parametrize("why", ["whole", "needed"])
def test_a_record_that_is_whole_or_that_others_go_on_from_stays(home, why):
    recipe = {"whole": "dncnn_s", "needed": "gradual"}[why]
    record_with(recipe, "paper", better_by=-90, steps=15 if why == "whole" else 1)
    if why == "needed":
        record_with("gradual_text", "paper", better_by=-90)
    reproduce.work([recipe])
    assert results.best(recipe) == "laptop" and (recipe, "paper") in results.recorded()
    if why == "needed":
        reproduce.work(["gradual_text"])
        assert results.recorded() == [("gradual", "laptop"), ("gradual_text", "laptop")], "nobody needs it any more"


# --- ended at any moment --------------------------------------------------------------------------------------------------

PROGRAM = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import test_reproduce as test
from course_lib import cli, data, recipes
from course_lib.denoising import dncnn
draw = dncnn.batch
def slowly(pool, draws, settings):
    if draws.step == 5:
        pathlib.Path("ready").touch()
    if draws.step >= 5:
        time.sleep(0.05)
    return draw(pool, draws, settings)
dncnn.batch = slowly
data.load = test.two_images
recipes.RECIPES = test.tiny(steps=2000)
sys.exit(cli.main(["reproduce", "--what", "dncnn_s", *sys.argv[2:]]))
"""


def queue(home: Path, *arguments: str) -> subprocess.Popen:
    """``course reproduce`` in a process of its own, which is slow from step 5 on."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COURSE_PRECISION": "32-true", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), *arguments]
    process = subprocess.Popen(command, cwd=home, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    limit = time.monotonic() + 300
    while not (home / "ready").exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_queue_that_is_ended_loses_a_slice_at_most_and_no_record(home, monkeypatch, name):
    record_with("dncnn_s", "paper", better_by=-90)
    before = {path: path.read_bytes() for path in (home / "data").rglob("*.*")}
    [job] = jobs.jobs(["dncnn_s"])
    process = queue(home)
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=300)
    assert process.returncode == {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}[name], errors
    assert "Traceback" not in errors
    assert checkpoints.open_file(job.checkpoint)["step"] >= (4 if name == "SIGKILL" else 5)
    assert {path: path.read_bytes() for path in (home / "data").rglob("*.*")} == before

    monkeypatch.setattr(recipes, "RECIPES", tiny(steps=2000))
    drawn, draw = [], dncnn.batch

    def counted(pool, draws, settings):
        drawn.append(draws.step)
        if len(drawn) == 3:
            signal.raise_signal(signal.SIGINT)
        return draw(pool, draws, settings)

    monkeypatch.setattr(dncnn, "batch", counted)
    with pytest.raises(terminal.Stopped):
        reproduce.work(["dncnn_s"])
    first, second = checkpoints.open_file(job.checkpoint)["history"]["slices"]
    assert drawn == [first["last_step"] + i for i in range(3)], "it goes on where it stopped"
    assert (second["first_step"], second["last_step"]) == (drawn[0], drawn[0] + 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("told", [True, False], ids=["held, and told by SIGCONT", "at work for all that time"])
def test_time_in_which_a_queue_is_held_does_not_count(home, monkeypatch, told):
    """A clock that jumps by an hour stands for the hour; the test of the stopwatch above has a process that is really held."""
    draw, now, jumped = dncnn.batch, time.perf_counter, []

    def held(pool, draws, settings):
        if draws.step == 3:
            jumped.append(3600.0)
            if told:
                signal.raise_signal(signal.SIGCONT)
        return draw(pool, draws, settings)

    monkeypatch.setattr(dncnn, "batch", held)
    monkeypatch.setattr(clock.time, "perf_counter", lambda: now() + sum(jumped))
    said = []
    reproduce.work(["dncnn_s"], seconds=1800, say=said.append)
    assert said[-1] == ("Everything is trained and recorded." if told else "The time is over; 1 runs are not finished.")
    if told:
        assert results.read("dncnn_s")["seconds"] < 1800


def test_a_second_queue_is_refused_and_the_status_is_shown_beside_one(home, capsys, monkeypatch):
    monkeypatch.setattr(reproduce, "lower_priority", lambda: True)
    with files.lock(jobs.FOLDER / "queue"):
        assert cli.main(["reproduce"]) == 1
        assert f"another queue works here (runs/reproduce/queue is being written by process {os.getpid()} on" in capsys.readouterr().err
        assert cli.main(["reproduce", "--status"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:3] for line in out.splitlines()[1:5]] == [
        [name, "laptop", "0%"] for name in ("dncnn_s", "dncnn_b", "gradual", "gradual_text")
    ]


def test_the_status_of_all_that_is_recorded(tmp_path):
    rows = jobs.status(folder=tmp_path)
    assert {row.job.recipe for row in rows} == {
        name
        for name, recipe in recipes.RECIPES.items()
        if recipe.ships and recipe.seeds == 1 and set(recipe.presets) & set(results.FOR_THE_PAPER)
    }
    assert len(jobs.table(rows).splitlines()) == len(rows) + 4
    short = next(row for row in rows if row.job.recipe == "rotnet")  # whole images, not patches
    short = (
        replace(short.job, folder=tmp_path),
        {"steps": 10, "seconds": 20.0, "settings": {"batch_size": 2 * short.job.found[1].settings.batch_size}},
    )
    assert jobs._to_go(short[0], 0, None, short[1]) == pytest.approx(short[0].steps * 2.0 / 2)


def test_what_is_recorded_over_several_seeds_is_not_for_the_queue():
    with pytest.raises(ValueError, match="course train cifar_noise_pivot --seeds 3"):
        jobs.jobs(["cifar_noise_pivot"])


def test_the_status_of_a_run(home):
    record_with("dncnn_s", "paper", better_by=-0.5)
    [job] = jobs.jobs(["dncnn_s"])
    [before] = jobs.status(["dncnn_s"])
    record = results.read("dncnn_s")
    assert before.seconds_to_go == pytest.approx(6 * record["seconds"] / record["steps"]), "by the pace of the record"
    assert (before.state, before.step, before.value, before.value_recorded) == ("not begun", 0, None, pytest.approx(29.5))
    runs.train("dncnn_s", "laptop", checkpoint=job.checkpoint, pause=lambda: True)
    value = job.measure()
    [begun] = jobs.status(["dncnn_s"])
    model = runs.from_checkpoint("dncnn_s", "laptop", job.checkpoint)[0]
    assert value == pytest.approx(sum(dncnn.evaluate(model, two_images("photos").images, 25.0)) / 2, abs=1e-3)
    assert (begun.state, begun.step, begun.value, begun.gap) == ("begun", 1, value, pytest.approx(0.5))
    history = checkpoints.open_file(job.checkpoint)["history"]
    assert begun.seconds_to_go == pytest.approx(5 * history["seconds"])
    job.notes.write_text("{")  # can be made again
    assert jobs.status(["dncnn_s"])[0].value is None
    assert "17%" in jobs.table([begun]) and "0.50 dB" in jobs.table([begun])


def test_the_figure_on_the_way_is_of_what_the_network_does():
    figures = {"psnr_15": {"a": 30.0, "b": 32.0}, "input_x2": {"a": 1.0, "b": 1.0}, "psnr_25": {"a": 20.0, "b": 24.0}}
    assert jobs.mean(figures) == 26.5 and jobs.mean(figures, ["a"]) == 25.0
    assert jobs.mean({}) is None and jobs.mean(figures, ["a", "c"]) is None


# --- the preset laptop ----------------------------------------------------------------------------------------------------

LEARNS_SOONER = {  # all that the preset may change: neither what the network computes at the end, nor its loss, nor its data
    "steps", "batch_size", "patch_size", "optimizer", "muon_learning_rate", "learning_rate", "final_learning_rate", "schedule",
    "warmup_steps", "ema", "save_every", "batch_norm", "centred", "orthogonal",
}  # fmt: skip


@pytest.mark.parametrize("name", laptop.CHANGES)
def test_a_laptop_trains_the_papers_network_on_its_data(name):
    paper, ours = (recipes.find(name, preset)[1] for preset in results.FOR_THE_PAPER)
    changed = {key for key, value in vars(ours.settings).items() if value != vars(paper.settings)[key]}
    smaller = {"width"} if name == "cbdnet" else set()  # its weights would take a sixth of the repository
    assert changed <= LEARNS_SOONER | smaller and changed <= set(laptop.CHANGES[name])
    assert ours.tests == paper.tests
    if name in laptop.MORE_IMAGES:  # their authors had ten times as many as BSD400 has
        assert (paper.data(0).words, ours.data(0).words) == ("bsd400", "bsd432")
    else:
        assert ours.data == paper.data
    assert recipes.budget(ours.settings) < recipes.budget(paper.settings)
    assert {key: source.recipe for key, source in ours.needs.items()} == {key: source.recipe for key, source in paper.needs.items()}
    assert all(source.preset == "laptop" and source.recipe in laptop.CHANGES for source in ours.needs.values())


def test_metrics_beyond_the_range_of_the_training():
    assert recipes.named("dncnn_30").fails == ("clamped_50", "clamped_70", "clamped_100") and recipes.named("bfcnn_30").fails == ()
    assert set(recipes.named("dncnn_b").fails) == {"clamped_70", "clamped_100"}


def test_gain_without_what_both_were_not_trained_for():
    record = {"settings": {"sigma_255": [0.0, 30.0]}, "metrics": {"a": {"clamped_10": 30.0, "clamped_50": 20.0}}}
    after = {**record, "metrics": {"a": {"clamped_10": 30.5, "clamped_50": 10.0}}}
    assert results.gain(record, after) == (pytest.approx(0.5), 1)
    assert results.gain(record, {**after, "settings": {"sigma_255": [0.0, 50.0]}}) == (pytest.approx(-4.75), 2)
    assert not math.isnan(results.gain({"metrics": record["metrics"]}, after)[0])
    assert weights.path("dncnn_s", "laptop").name == "dncnn_s.laptop.safetensors"


def test_a_record_names_the_devices_that_computed_its_steps():
    steps = ((0, 2, "CPU, 2 threads"), (2, 9, "a GPU"), (9, 9, "who only looked"))
    slices = [{"first_step": first, "last_step": last, "device": device} for first, last, device in steps]
    assert recording._trained_on([{"device": "who only looked", "slices": slices}]) == "a GPU; CPU, 2 threads"
    assert recording._trained_on([{"device": "CPU, 1 threads"}]) == "CPU, 1 threads"
