"""Records are written whole, read back unchanged, and refused where they are damaged or contradict themselves."""

import copy
import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path

import pytest

import course_lib
from course_lib import project, recipes, results

ROOT = Path(course_lib.__file__).resolve().parents[1]
COMMITTED = sorted((ROOT / "data" / "results").glob("*.json"))
LARGEST_WEIGHTS = 9_000_000  # bytes

RECORD = {
    "about": {"recipe": "toy", "preset": "paper", "data": {"train": "σ = 25"}, "needs": {}},
    "settings": {"steps": 3, "batch_size": 2, "sigma_255": [0.0, 55.0]},
    "seed": 0, "device": "CPU", "precision": "32-true", "versions": {}, "commit": "abc", "source_hash": "0",
    "seconds": 1.5, "steps": 3, "throughput": {}, "metrics": {"bsd68": {"psnr": 29.0, "input": 20.5}, "set12": {"psnr": 31.0}},
    "per_image": {"bsd68": {"psnr": {"a": 28.0, "b": 30.0}, "input": {"a": 20.5}}, "set12": {"psnr": {"c": 31.0}}},
    "measured": [{"data": "bsd68", "source": "drawn", "metrics": ["psnr", "input"], "device": "CPU", "versions": {}, "commit": "abc"},
                 {"data": "set12", "source": "drawn", "metrics": ["psnr"], "device": "CPU", "versions": {}, "commit": "abd"}],
    "paper": {"bsd68": {"psnr": {"value": 29.23, "protocol": "quantised"}},
              "set12": {"psnr": {"value": 30.5, "protocol": "clamped"}, "unknown": {"value": 1.0, "protocol": "raw"}},
              "cbsd68": {"psnr": {"value": 30.0, "protocol": "quantised"}}},
    "short": True,
}  # fmt: skip
WRITTEN = {"schema": 2, **RECORD, "sha256": results.digest({"schema": 2, **RECORD})}


def record(**changes) -> dict:
    return {**copy.deepcopy(RECORD), **changes}


def named(recipe: str, preset: str) -> dict:
    return record(about={**RECORD["about"], "recipe": recipe, "preset": preset})


def stored(home: Path, content: str | bytes) -> Path:
    """``content`` in the place of the record of toy.paper."""
    file = home / "data" / "results" / "toy.paper.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# --- writing and reading --------------------------------------------------------------------------------------------------


def test_round_trip(home):
    file = results.write(record())
    assert file == results.path("toy", "paper") == home / "data" / "results" / "toy.paper.json"
    assert results.read("toy") == results.read("toy", "paper") == WRITTEN
    assert "σ" in file.read_text(encoding="utf-8"), "words are to be read in the file itself"


def test_write_to_another_file(home, tmp_path):
    file = tmp_path / "deeper" / "still" / "a.json"
    assert results.write(record(), file) == file
    assert results.open_file(file) == WRITTEN
    assert not results.path("toy", "paper").exists()


def test_path_is_in_course_home_else_in_the_repository(home, monkeypatch):
    assert results.path("a", "b") == home / "data" / "results" / "a.b.json"
    monkeypatch.delenv("COURSE_HOME")
    assert results.path("a", "b") == ROOT / "data" / "results" / "a.b.json"


@pytest.mark.parametrize("moment", ["while writing", "before renaming"])
def test_interrupted_writing_leaves_the_old_record(home, monkeypatch, moment):
    results.write(record())

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync" if moment == "while writing" else "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            results.write(record(seed=1))
    assert results.read("toy") == WRITTEN
    results.write(record(seed=1))  # what the interruption left is no obstacle
    assert results.read("toy")["seed"] == 1


def test_versions_are_those_installed():
    import torch

    found = results.versions()
    assert torch.__version__.startswith(found["torch"]) and found["python"].startswith("3.")
    assert {"numpy", "lightning-fabric", "scikit-image", "torchvision"} <= set(found)


# --- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", results.REQUIRED)
def test_a_missing_key_is_named(home, key):
    incomplete = record()
    del incomplete[key]
    if key != "about":
        results.write(record())
        with pytest.raises(results.RecordError, match=rf"toy lacks {key}\."):
            results.write(incomplete)
        assert results.read("toy") == WRITTEN, "a record that is refused must not replace the one there was"
    stored(home, json.dumps(incomplete))
    with pytest.raises(results.RecordError, match=rf"lacks {key}\."):
        results.read("toy")


INCONSISTENT = {
    "another mean": record(metrics={"bsd68": {"psnr": 29.01}}),
    "the PSNR of one image": record(metrics={"bsd68": {"psnr": 28.0}}),
    "no values": record(per_image={"bsd68": {"psnr": {}, "input": {"a": 20.5}}, "set12": {"psnr": {"c": 31.0}}}),
    "no metric": record(per_image={"bsd68": {"input": {"a": 20.5}}, "set12": {"psnr": {"c": 31.0}}}),
    "no data set": record(per_image={"set12": {"psnr": {"c": 31.0}}}),
    "not a number": record(metrics={"bsd68": {"psnr": math.nan}}, per_image={"bsd68": {"psnr": {"a": math.nan}}}),
}


@pytest.mark.parametrize("wrong", INCONSISTENT.values(), ids=INCONSISTENT)
def test_a_metric_that_is_not_the_mean_of_its_images(home, wrong):
    with pytest.raises(results.RecordError, match=r"toy: bsd68\.psnr = \S+ is not the mean"):
        results.write(wrong)
    stored(home, json.dumps(wrong))
    with pytest.raises(results.RecordError, match="not the mean"):
        results.read("toy")


def test_rounding_is_no_contradiction():
    results.check(record(metrics={"bsd68": {"psnr": 29.0004}}))


BROKEN = {"empty": "", "truncated": json.dumps(RECORD)[:200], "not text": b"\xff\xfe\x00{}", "words": "see the wiki",
          "a list for a dictionary": json.dumps(record(metrics=[29.0]))}  # fmt: skip


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_damaged_record_is_refused(home, content):
    file = stored(home, content)
    with pytest.raises(results.RecordError, match=r"toy\.paper\.json is not a readable record .*restore it"):
        results.read("toy")
    assert file.exists()


@pytest.mark.parametrize("content", ["[1]", "null", "3"])
def test_json_that_is_no_record_is_refused(home, content):
    stored(home, content)
    with pytest.raises(results.RecordError, match=r"toy\.paper\.json: a record is a JSON object, but this is .*mistake, restore"):
        results.read("toy")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measured": [{}]}, "toy lacks data, metrics in an entry of measured"),
        ({"settings": {"x": 1}}, r"toy has settings\.batch_size = None, but a number is expected"),
        ({"settings": {"batch_size": "a"}}, r"toy has settings\.batch_size = 'a', but a number"),
        ({"seconds": None}, "toy has seconds = None, but a number"),
    ],
)
def test_an_entry_that_is_not_whole(home, changes, words):
    stored(home, json.dumps(record(**changes)))
    with pytest.raises(results.RecordError, match=rf"toy\.paper\.json: .*{words}"):
        results.read("toy")


def test_an_unknown_run_names_those_there_are(home):
    with pytest.raises(results.RecordError, match='"toy" with preset "quick" is recorded; there is no record at all'):
        results.read("toy", "quick")
    results.write(record())
    results.write(named("another", "quick"))
    results.path("c", "d").with_name("c.d.json.unfinished").touch()
    with pytest.raises(results.RecordError, match=r'"toy" with preset "quick" is recorded; recorded presets of it: paper\.$'):
        results.read("toy", "quick")
    with pytest.raises(results.RecordError, match=r'"anoter" .* recorded; no record is called so \(did you mean another\?\)\.$'):
        results.read("anoter", "quick")


# --- comparison -----------------------------------------------------------------------------------------------------------


def test_compare_has_what_both_report():
    rows = results.compare(record())
    assert [(r.data, r.metric, r.paper, r.recorded, r.protocol) for r in rows] == [
        ("bsd68", "psnr", 29.23, 29.0, "quantised"),
        ("set12", "psnr", 30.5, 31.0, "clamped"),
    ]
    assert [r.gap for r in rows] == [pytest.approx(-0.23), pytest.approx(0.5)]  # recorded - paper: below it is negative


def test_compare_of_a_run_without_figures_in_the_paper():
    assert results.compare(record(paper={})) == []


# --- the records of the repository ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_committed_record(file, monkeypatch):
    monkeypatch.delenv("COURSE_HOME", raising=False)
    recipe, preset = file.stem.split(".")
    found = results.read(recipe, preset)
    assert (found["about"]["recipe"], found["about"]["preset"]) == (recipe, preset)
    method, _ = recipes.find(recipe, preset)
    assert found["paper"] == (method.paper if preset in results.FOR_THE_PAPER else {}), "the paper's figures are those of the recipe"

    kinds = {field.name for field in dataclasses.fields(method.presets[preset].settings)}
    assert set(found["settings"]) <= kinds, "every setting of the record is one of the method's"
    assert ("weights" in found) == (method.ships and method.presets[preset].ships)
    if "weights" in found:
        weights = project.home() / "data" / "weights" / found["weights"]["file"]
        content = weights.read_bytes()
        assert hashlib.sha256(content).hexdigest() == found["weights"]["sha256"]
        assert len(content) <= LARGEST_WEIGHTS
    elif isinstance(found["seed"], int):  # of one training, whose weights nothing needs
        assert found["steps"] == found["settings"]["steps"] and set(results.singles(found)) <= set(found["metrics"])
    else:  # of several trainings
        assert found["steps"] == found["settings"]["steps"] * len(found["seed"]) and len(found["seed"]) >= 3
        assert all(len(values) == len(found["seed"]) for metrics in found["per_seed"].values() for values in metrics.values())
    shown = found["settings"]["steps"] * found["settings"]["batch_size"]
    assert found["short"] == (shown < recipes.budget(method.presets[preset].settings))
    assert found["note"] or not found["short"], "a short run says why it was short"


# --- altered records ------------------------------------------------------------------------------------------------------

ALTERATIONS = {
    "a setting": lambda r: r["settings"].update(steps=4),
    "the data": lambda r: r["about"]["data"].update(train="other photos"),
    "a figure and its images": lambda r: (r["metrics"]["set12"].update(psnr=32.0), r["per_image"]["set12"].update(psnr={"c": 32.0})),
    "the paper's figure": lambda r: r["paper"]["bsd68"]["psnr"].update(value=29.0),
    "short": lambda r: r.update(short=False),
}


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_the_time_of_a_run_is_that_of_its_steps(file):
    """What a process does before its first step, at every resumption, is no part of it."""
    found = results.open_file(file)
    for one in found.get("slices", []):
        assert one["last_step"] > one["first_step"] and one["computed_by"] < len(found["computed_by"])
    if found.get("slices"):
        assert found["steps"] == sum(one["last_step"] - one["first_step"] for one in found["slices"])
        seconds = sum(one["seconds"] for one in found["slices"])  # each rounded
        assert found["seconds"] == pytest.approx(seconds, abs=0.06 * (1 + len(found["slices"])))


@pytest.mark.parametrize("alter", ALTERATIONS.values(), ids=ALTERATIONS)
def test_an_altered_record_is_refused(home, alter):
    file = results.write(record())
    content = json.loads(file.read_text(encoding="utf-8"))
    alter(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(results.RecordError, match="altered after its run"):
        results.read("toy")


def test_a_record_without_a_hash_is_refused(home):
    stored(home, json.dumps(record()))
    with pytest.raises(results.RecordError, match="altered after its run"):
        results.read("toy")


def test_a_record_of_another_schema_is_refused(home):
    file = results.write(record())
    content = json.loads(file.read_text(encoding="utf-8")) | {"schema": 1}
    file.write_text(json.dumps({**content, "sha256": results.digest(content)}), encoding="utf-8")
    with pytest.raises(results.RecordError, match="has schema 1, but this version of course_lib reads schema 2.*convert_records"):
        results.read("toy")


def test_recorded_runs_are_listed(home):
    assert results.recorded() == []
    results.write(record())
    results.write(named("another", "quick"))
    assert results.recorded() == [("another", "quick"), ("toy", "paper")]


@pytest.mark.parametrize("file", sorted((project.PACKAGE.parent / "data" / "results").glob("*.json")), ids=lambda file: file.stem)
def test_every_record_of_the_repository_can_be_compared(file):
    """As it is where its run is made again; whatever σ its settings name, one or a lowest and a highest."""
    entry = results.open_file(file)
    better, figures = results.gain(entry, entry)
    assert better == 0 and figures >= 1
    noisy = [m for metrics in entry["metrics"].values() for m in metrics if m.startswith(("eer", "rank1", "auc", "accuracy"))]
    assert figures >= len(noisy), "what is no PSNR counts at every noise"


# --- several seeds --------------------------------------------------------------------------------------------------------


def test_interval_against_scipy():
    from scipy import stats

    values = [3.1, 4.0, 2.2, 3.7, 3.3]
    low, high = stats.t.interval(0.95, 4, loc=sum(values) / 5, scale=stats.sem(values))
    mean, half = results.interval(values)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert results.interval(values, 0.5)[1] < half and results.interval([2.0, 2.0]) == (2.0, 0.0)
    # Nadeau and Bengio: ten of forty tested on, so that the variance of the mean is s² (1/5 + 10/30) in place of s² / 5
    corrected = results.interval(values, overlap=10 / 30)
    assert corrected == (mean, pytest.approx(half * ((1 / 5 + 1 / 3) / (1 / 5)) ** 0.5))
    with pytest.raises(ValueError, match="an overlap of at least 0"):
        results.interval(values, overlap=-0.1)


@pytest.mark.parametrize(("values", "confidence"), [([1.0], 0.95), ([1.0, 2.0], 0.0), ([1.0, 2.0], 1.0)])
def test_interval_of_too_little(values, confidence):
    with pytest.raises(ValueError, match=f"{len(values)} values at a confidence of {confidence}"):
        results.interval(values, confidence)


def test_paired_differences():
    """What a seed does to both is no part of the difference; a seed that only one has does not count."""

    def of(*values, first=0):
        return {"per_seed": {"digits": {"accuracy": {f"seed {i + first}": value for i, value in enumerate(values)}}}}

    ours, rival = of(80.0, 90.0, 70.0, 10.0), of(79.0, 88.0, 69.5)
    assert results.paired(ours, rival, "digits", "accuracy") == results.interval([1.0, 2.0, 0.5])
    assert results.paired(rival, ours, "digits", "accuracy", 0.5)[0] == pytest.approx(-3.5 / 3)
    for other in (of(80.0, first=3), {"metrics": {}}):
        with pytest.raises(ValueError, match=r"digits\.accuracy: the two records share [01] seeds, but an interval needs at least two"):
            results.paired(ours, other, "digits", "accuracy")


def test_a_figure_of_every_seed():
    several = {"metrics": {"digits": {"accuracy": 2.0, "other": 5.0}}, "per_seed": {"digits": {"accuracy": {"seed 0": 1.0, "seed 1": 3.0}}}}
    assert results.of_seeds(several, "digits", "accuracy") == [1.0, 3.0] and results.of_seeds(several, "digits", "other") == [5.0]
    lacking = [(several, "mnist", "accuracy"), (several, "digits", "psnr"), ({}, "digits", "psnr")]
    assert all(results.of_seeds(*asked) == [] for asked in lacking)


# --- what schema 2 adds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["recipe", "preset", "data", "needs"])
def test_what_a_record_is_about_is_complete(home, key):
    about = {name: value for name, value in RECORD["about"].items() if name != key}
    with pytest.raises(results.RecordError, match=rf"lacks about\.{key}\."):
        results.write(record(about=about))


def test_every_figure_says_what_measured_it(home):
    with pytest.raises(results.RecordError, match=r"nothing in measured says what set12\.psnr was measured on"):
        results.write(record(measured=RECORD["measured"][:1]))


def test_a_figure_of_an_unknown_metric_is_refused(home):
    figures = {"metrics": {"bsd68": {"sharpness": 1.0}}, "per_image": {"bsd68": {"sharpness": {"a": 1.0}}}}
    with pytest.raises(ValueError, match='there is no metric "sharpness"'):
        results.write(record(**figures))


def test_as_many_values_as_seeds(home):
    seeds = {"metrics": {"set12": {"psnr": 31.0}}, "per_seed": {"set12": {"psnr": {"seed 0": 31.0}}}, "per_image": {}}
    results.write(record(**seeds))  # one training, of whose many images only the mean is kept
    with pytest.raises(results.RecordError, match=r"set12\.psnr has 1 values, but there were 2 seeds"):
        results.write(record(**seeds, seed=[0, 1]))
