"""The reproduction page lists every published figure once: as recorded, or as not run, with the command that runs it."""

import json
import shutil
from pathlib import Path

import pytest

import bench
import course_lib
from course_lib import recipes, reproduction, results

REPOSITORY = Path(course_lib.__file__).resolve().parents[1]


@pytest.fixture
def home(home):
    """A home with the committed record of DnCNN-S and no other."""
    (home / "data" / "results").mkdir()
    shutil.copy(REPOSITORY / "data" / "results" / "dncnn_s.paper.json", home / "data" / "results")
    return home


def test_every_published_figure_is_listed_once(home):
    published = {(name, d, m) for name, r in recipes.RECIPES.items() for d, metrics in r.paper.items() for m in metrics}
    listed = [(e.recipe, e.data, e.metric) for e in reproduction.entries()]
    assert len(listed) == len(set(listed)) and set(listed) == published


def test_recorded_figures_are_those_of_the_record(home):
    record = results.read("dncnn_s")
    recorded = {(e.data, e.metric): e.recorded for e in reproduction.entries() if e.recorded is not None}
    assert recorded == {(d, "psnr"): record["metrics"][d]["psnr"] for d in ("bsd68", "set12")}


def test_a_run_that_was_not_made_has_its_command(home):
    [entry] = [e for e in reproduction.entries(["dncnn_3"]) if (e.data, e.metric) == ("set5", "psnr_x3")]
    assert (entry.paper, entry.recorded, entry.command) == (33.75, None, "course train dncnn_3 --preset paper --record")
    text = reproduction.table(["dncnn_3"]).data
    assert text.count("not run") == 6 and text.count("`course train dncnn_3 --preset paper --record`") == 1


def test_the_table_says_which_runs_are_short(home):
    text = reproduction.table(["dncnn_s"]).data
    record = results.read("dncnn_s")
    assert f"| `dncnn_s` | bsd68 | psnr | dB | 29.23 | {record['metrics']['bsd68']['psnr']:.2f} |" in text
    assert text.count("short run") == (2 if record["short"] else 0)


def test_runs(home):
    record = results.read("dncnn_s")
    text = reproduction.runs().data
    assert "`dncnn_s`" in text and record["device"] in text and record["note"] in text
    assert f"{record['steps']:,} × {record['settings']['batch_size']}" in text


def test_an_altered_record_is_not_shown(home):
    file = results.path("dncnn_s", "paper")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["metrics"]["bsd68"]["psnr"] = 29.2
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(results.RecordError):
        reproduction.entries()


def test_benchmarks(home):
    assert reproduction.benchmarks() == {}
    (home / "data" / "bench").mkdir()
    (home / "data" / "bench" / "laptop.json").write_text('{"device": "CPU", "rows": []}')
    assert reproduction.benchmarks() == {"laptop": {"device": "CPU", "rows": []}}


def test_growth_reads_what_bench_writes():
    rows = [
        {"what": f"DnCNN-S, {side}×{side}: {what}", "value": value, "unit": "?"}
        for side in bench.SIZES
        for what, value in (("inference", side / 10), ("peak memory", side / 2))
    ]
    others = [{"what": "DnCNN-S, 17×64: training", "value": 1.0, "unit": "?"}]
    assert reproduction.growth({"rows": others + rows}) == {side: (side / 10, side / 2) for side in bench.SIZES}


def test_records_of_several_seeds_are_shown_with_their_intervals():
    shown = reproduction.several_seeds(("eer_0",)).data.splitlines()[2:]
    for recipe, preset in results.recorded():
        record = results.read(recipe, preset)
        lines = [line for line in shown if line.startswith(f"| `{recipe}` | {preset} |")]
        assert len(lines) == any("eer_0" in metrics for metrics in record.get("per_seed", {}).values())
        if lines:
            overlap = {"faces": 10 / 30, "digits": 3 / 7}[preset]
            mean, half = results.interval(list(record["per_seed"][preset]["eer_0"].values()), overlap=overlap)
            assert lines[0].endswith(f"| {mean:.1f} ± {half:.1f} |")
    assert shown


def test_a_paper_beside_runs_of_several_seeds(home):
    def written(accuracy):
        name = "cifar10_jpeg"
        entry = json.loads((home / "data" / "results" / "dncnn_s.paper.json").read_text(encoding="utf-8"))
        values = {f"seed {seed}": value for seed, value in enumerate(accuracy)}
        about = {**entry["about"], "recipe": "cifar_noise_pivot", "preset": "jpeg"}
        entry |= {"about": about, "seed": list(range(len(accuracy))), "paper": {}}
        del entry["per_image"]
        mean = sum(accuracy) / len(accuracy)
        entry["per_seed"], entry["metrics"] = {name: {"accuracy_38.25": values}}, {name: {"accuracy_38.25": mean}}
        entry["measured"] = [{**entry["measured"][0], "data": name, "metrics": ["accuracy_38.25"]}]
        results.write(entry)

    rows = {"pivot loss": "cifar_noise_pivot", "clean only": "cifar_clean"}
    metrics, sets = {"clean": "accuracy", "σ = 0.15": "accuracy_38.25"}, ("cifar10", "cifar10_jpeg")
    written((80.0, 82.0))
    text = reproduction.beside(rows, metrics, sets).data
    assert "| pivot loss | 90.8 / – | 81.7 / 81.0 ± 12.7 | jpeg |" in text, "t = 12.7 with one degree of freedom, s = √2"
    assert "| clean only | 91.6 / – | 16.6 / – | not run: `course train cifar_clean --preset paper --seeds 3 --record` |" in text
    assert "| 16.6 / – |" in reproduction.beside(rows, metrics, sets, ("quick",)).data
    assert "| 49.0 / – | not run: `course train imagenet_pivot --preset paper --record` |" in reproduction.beside(
        {"pivot": "imagenet_pivot"}, {"low": "accuracy_x4nearest"}, ("imagenet",)
    ).data
