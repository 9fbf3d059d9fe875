"""The reproduction page lists every published figure once: as recorded, or as not run, with the command that runs it."""

import json
import shutil
from pathlib import Path

import pytest

import bench
import course_lib
from course_lib import clock, recipes, reproduction, results

REPOSITORY = Path(course_lib.__file__).resolve().parents[1]


@pytest.fixture
def home(home):
    """A home with the committed record of DnCNN-S, or one of them, and no other."""
    (home / "data" / "results").mkdir()
    shutil.copy(min((REPOSITORY / "data" / "results").glob("dncnn_s.*.json")), home / "data" / "results")
    return home


def test_every_published_figure_is_listed_once(home):
    published = {(name, d, m) for name, r in recipes.RECIPES.items() for d, metrics in r.paper.items() for m in metrics}
    listed = [(e.recipe, e.data, e.metric) for e in reproduction.entries()]
    assert len(listed) == len(set(listed)) and set(listed) == published


def test_recorded_figures_are_those_of_the_record(home):
    record = results.read("dncnn_s")
    recorded = {(e.data, e.metric): e.recorded for e in reproduction.entries() if e.recorded is not None}
    assert recorded == {(d, "psnr"): record["metrics"][d]["psnr"] for d in ("bsd68", "set12")}


def test_the_command_of_a_run_has_its_seeds():
    assert recipes.command("rotnet", "jpeg") == "course train rotnet --preset jpeg --record"
    assert recipes.command("few20_tuned", "paper") == "course train few20_tuned --preset paper --seeds 5 --record"
    with pytest.raises(ValueError, match="few21_tuned"):
        recipes.command("few21_tuned", "paper")


def test_a_table_for_a_chapter(home):
    rows = {"DnCNN-S": "dncnn_s", "RotNet and a third block": "rotnet_conv"}
    text = reproduction.beside(rows, {"σ = 25": "psnr", "accuracy": "accuracy"}, ("bsd68", "cifar10"), ("paper", "laptop"), digits=2).data
    record = results.read("dncnn_s")
    paper, ours = record["paper"]["bsd68"]["psnr"]["value"], record["metrics"]["bsd68"]["psnr"]
    assert f"| DnCNN-S | {paper:.2f} / {ours:.2f} | – / – | {record['about']['preset']}{', short' if record['short'] else ''} |" in text
    assert "| – / – | 91.16 / – | not run: `course train rotnet_conv --preset paper --record` |" in text
    alone = reproduction.beside({"N2N": "n2v_as_n2n"}, {"σ = 25": "psnr_25"}, ("bsd68",)).data
    assert "| N2N | – | not run: `course train n2v_as_n2n --preset paper --record` |" in alone, "no paper has a figure"
    with pytest.raises(ValueError, match="unknown recipe"):
        reproduction.beside({"?": "rotnet_cnv"}, {"accuracy": "accuracy"}, ("cifar10",))


def test_every_published_figure_has_one_cell_of_the_table(home):
    rows = [row for section in reproduction.sections().values() for row in section]
    shown = [(entry.recipe, entry.data, entry.metric) for row in rows for entry in row.cells.values()]
    assert len(shown) == len(set(shown)) and set(shown) == {(e.recipe, e.data, e.metric) for e in reproduction.entries()}
    content = reproduction.overview().content
    assert content.count("&#8239;/&#8239;") == len(shown)
    assert content.count("/&#8239;–") == sum(e.recorded is None for e in reproduction.entries())


def test_networks_of_one_sigma_each_share_a_row(home):
    sections = reproduction.sections(["dncnn_s15", "dncnn_s", "dncnn_s50", "dncnn_3"])
    assert list(sections) == ["PSNR of the restored images (dB)", "PSNR of the restored images, after bicubic reduction (dB)"]
    first, *others = sections["PSNR of the restored images (dB)"]
    assert (first.network, first.chapter, first.data) == ("DnCNN-S", "08_dncnn", "BSD68")
    assert list(first.cells) == ["σ = 15", "σ = 25", "σ = 50"] and first.cells["σ = 25"].recipe == "dncnn_s"
    assert [(row.network, row.data) for row in others] == [("DnCNN-S", "Set12"), ("DnCNN-3", "BSD68")]
    record = results.read("dncnn_s")
    assert first.trained == f"{clock.words(record['seconds'])} ({record['about']['preset']})", "of the only one that is recorded"


def test_the_table_is_for_a_person(home):
    page = reproduction.overview()._repr_mimebundle_()["text/html"]
    table = page[: page.index("Not run yet")]  # behind it stands the command, which needs the keys
    assert '<a href="08_dncnn.html">DnCNN-S</a>' in table and table.count("background:#") > 6
    raw = {*recipes.RECIPES, *(m for r in recipes.RECIPES.values() for d in r.paper.values() for m in d)} - {"psnr", "ffdnet"}
    assert not [key for key in raw if f">{key}<" in table or f"{key} " in table]
    for text in (reproduction.runs().data, reproduction.several_seeds().data):
        assert "`" not in text and "_" not in text.replace("_shot", "") or "CPU" in text


def test_what_was_not_run_is_a_list(home):
    content = reproduction.overview().content
    missing = {e.recipe for e in reproduction.entries() if e.recorded is None}
    _, _, end = content.partition("Not run yet")
    assert end.count("<li>") == len(missing) > 40 and "<li>MNIST, noisy images only</li>" in end


@pytest.mark.parametrize(
    ("gap", "words"), [(-0.5, "reached"), (0.05, "reached"), (0.2, "close"), (0.5, "short of it"), (2.0, "far from it")]
)
def test_colours_of_gaps(gap, words):
    entry = results.Comparison("dncnn_s", "bsd68", "psnr", 30.0, "quantised", 30.0 - gap)
    assert reproduction._band(entry)[1] == words
    assert f"{words} ({-gap:+.2f} dB)" in reproduction._cell(entry)


def test_what_is_missing_and_what_is_no_aim_have_no_gap(home):
    [entry] = [e for e in reproduction.entries(["dncnn_3"]) if (e.data, e.metric) == ("set5", "psnr_x3")]
    assert (entry.paper, entry.recorded, reproduction.behind(entry)) == (33.75, None, None)
    assert reproduction._band(entry)[1] == "not run yet" and "33.75" in reproduction._cell(entry)
    fails = results.Comparison("dncnn_30", "bsd68", "clamped_70", 15.21, "clamped", 17.0)
    assert reproduction.behind(fails) is None and reproduction._band(fails)[0] == reproduction.NO_AIM
    page = reproduction.overview(["dncnn_3"])
    assert "<code>course reproduce --what dncnn_3</code>" in page.content
    assert page.text == "6 published figures, 0 beside one of ours."


def test_the_summary_and_the_picture_are_of_the_same_gaps(home):
    record = results.read("dncnn_s")["metrics"]
    lacking = [29.23 - record["bsd68"]["psnr"], 30.436 - record["set12"]["psnr"]]
    [(unit, found)] = reproduction.summary().items()
    assert unit == "dB" and found["figures"] == 2
    assert found["mean"] == found["median"] == pytest.approx(sum(lacking) / 2) and found["worst"] == pytest.approx(max(lacking))
    shown = reproduction.gaps()
    assert shown.alt == f"Gaps to the papers' figures by network: DnCNN-S {-max(lacking):+.2f} to {-min(lacking):+.2f}."
    assert shown.content[:4] == b"RIFF"


def test_runs(home):
    record = results.read("dncnn_s")
    text = reproduction.runs().data
    assert "DnCNN-S: 17 layers" in text and record["device"] in text and record["note"] in text
    assert f"{record['steps']:,} × {record['settings']['batch_size']}" in text


def test_an_altered_record_is_not_shown(home):
    file = results.path("dncnn_s", results.best("dncnn_s"))
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
    rows = [{"what": "a step", "value": 2.5, "unit": "ms"}]
    (home / "data" / "bench" / "server.json").write_text(json.dumps({"device": "GPU", "rows": rows}))
    assert reproduction.measured("a step") == {"server": 2.5} and reproduction.measured("a leap") == {}


def test_growth_reads_what_bench_writes():
    rows = [
        {"what": f"DnCNN-S, {side}×{side}: {what}", "value": value, "unit": "?"}
        for side in bench.SIZES
        for what, value in (("inference", side / 10), ("peak memory", side / 2))
    ]
    others = [{"what": "DnCNN-S, 17×64: training", "value": 1.0, "unit": "?"}]
    assert reproduction.growth({"rows": others + rows}) == {side: (side / 10, side / 2) for side in bench.SIZES}


def test_records_of_several_seeds_are_shown_with_their_intervals():
    shown = reproduction.several_seeds({"eer_0": "EER"}).data.splitlines()[2:]
    for recipe, preset in results.recorded():
        record = results.read(recipe, preset)
        lines = [line for line in shown if line.startswith(f"| {recipes.named(recipe).title} | {reproduction.DATA.get(preset, preset)} |")]
        assert len(lines) == any(len(metrics.get("eer_0", {})) > 1 for metrics in record.get("per_seed", {}).values())
        if lines:
            overlap = {"faces": 10 / 30, "digits": 3 / 7}[preset]
            mean, half = results.interval(list(record["per_seed"][preset]["eer_0"].values()), overlap=overlap)
            assert lines[0].endswith(f"| {mean:.1f} ± {half:.1f} |")
    assert shown


def test_a_paper_beside_runs_of_several_seeds(home):
    def written(accuracy):
        name = "cifar10_jpeg"
        entry = results.read("dncnn_s")
        values = {f"seed {seed}": value for seed, value in enumerate(accuracy)}
        about = {**entry["about"], "recipe": "cifar_noise_pivot", "preset": "jpeg"}
        entry |= {"about": about, "seed": list(range(len(accuracy))), "paper": {}, "short": True}
        del entry["per_image"]
        mean = sum(accuracy) / len(accuracy)
        entry["per_seed"], entry["metrics"] = {name: {"accuracy_38.25": values}}, {name: {"accuracy_38.25": mean}}
        entry["measured"] = [{**entry["measured"][0], "data": name, "metrics": ["accuracy_38.25"]}]
        results.write(entry)

    rows = {"pivot loss": "cifar_noise_pivot", "clean only": "cifar_clean"}
    metrics, sets = {"clean": "accuracy", "σ = 0.15": "accuracy_38.25"}, ("cifar10", "cifar10_jpeg")
    written((80.0, 82.0))
    text = reproduction.beside(rows, metrics, sets, ("paper", "jpeg")).data
    assert "| pivot loss | 90.8 / – | 81.7 / 81.0 ± 12.7 | jpeg, short, 2 seeds |" in text, "t = 12.7 with one degree of freedom, s = √2"
    assert "| clean only | 91.6 / – | 16.6 / – | not run: `course train cifar_clean --preset paper --seeds 3 --record` |" in text
    assert "| 16.6 / – |" in reproduction.beside(rows, metrics, sets, ("quick",)).data
    several = {**rows, "soft": "student_of_logits", "alone": "student_alone"}
    assert "| soft; alone | – | – | not run: `course train student_of_logits --preset paper --seeds 3 --record`, and so on |" in (
        reproduction.beside(several, metrics, sets, ("paper",)).data
    )
    assert "| soft | – | – | not run: `course train student_of_logits --preset quick --seeds 3 --record` |" in (
        reproduction.beside({"pivot": "cifar_noise_pivot", "soft": "student_of_logits"}, metrics, sets, ("quick",)).data
    )
    assert "| 49.0 / – | not run: `course train imagenet_pivot --preset paper --record` |" in reproduction.beside(
        {"pivot": "imagenet_pivot"}, {"low": "accuracy_x4nearest"}, ("imagenet",)
    ).data
