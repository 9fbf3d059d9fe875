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


def test_a_table_for_a_chapter(home):
    text = reproduction.compared({"dncnn_s": "DnCNN-S", "rotnet_conv": "RotNet and a third block"}).data
    record = results.read("dncnn_s")
    assert f"| DnCNN-S | {record['paper']['bsd68']['psnr']['value']:.2f} | {record['metrics']['bsd68']['psnr']:.2f}" in text
    assert "| RotNet and a third block | 91.16 | not run: `course train rotnet_conv --preset paper --record` |" in text
    with pytest.raises(ValueError, match="unknown recipe"):
        reproduction.compared({"rotnet_cnv": "?"})


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
        assert len(lines) == ("per_seed" in record)
        if lines:
            overlap = {"faces": 10 / 30, "digits": 3 / 7}[preset]
            mean, half = results.interval(list(record["per_seed"][preset]["eer_0"].values()), overlap=overlap)
            assert lines[0].endswith(f"| {mean:.1f} ± {half:.1f} |")
    assert shown
