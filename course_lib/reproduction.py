"""Did it work? Every figure of a paper that a recipe can be compared with, beside what was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from course_lib import plots, project, recipes, results


def entries(names: list[str] | None = None) -> list[results.Comparison]:
    """Every published figure of the recipes, in their order; of those named, or of all."""
    done = {recipe: results.read(recipe, preset) for recipe, preset in results.recorded() if preset == "paper"}
    chosen = {name: recipes.named(name) for name in names or recipes.RECIPES}
    return [row for name, recipe in chosen.items() for row in results.comparisons(name, recipe.paper, done.get(name))]


def table(names: list[str] | None = None):
    """The table "paper / recorded / gap", with the command of every run that is missing, once for each."""
    rows, named = [], set()
    for e in entries(names):
        if e.recorded is None:
            ours = ["–", "–", "not run" if e.recipe in named else f"not run: `{e.command}`"]
            named.add(e.recipe)
        else:
            ours = [f"{e.recorded:.2f}", f"{e.gap:+.2f}", "short run" if e.short else "full run"]
        rows.append([f"`{e.recipe}`", e.data, e.metric, e.unit, f"{e.paper:.2f}", *ours])
    return plots.table(["recipe", "data", "metric", "unit", "paper", "recorded", "gap", ""], rows)


def several_seeds(metrics: tuple[str, ...] = ("eer_0", "eer_25", "eer_50", "eer_shot", "rank1_0", "rank1of5_0")):
    """The records of several seeds that have these metrics, in percent: mean and 95 % interval of each."""
    rows = []
    for recipe, preset in results.recorded():
        for name, values in results.read(recipe, preset).get("per_seed", {}).items():
            if not set(metrics) <= set(values) or len(values[metrics[0]]) < 2:
                continue
            overlap = recipes.find(recipe, preset)[1].tests[name].overlap
            shown = [results.interval(list(values[metric].values()), overlap=overlap) for metric in metrics]
            rows.append([f"`{recipe}`", name, *(f"{mean:.1f} ± {half:.1f}" for mean, half in shown)])
    return plots.table(["recipe", "data", *metrics], rows)


def runs():
    """The recorded runs: how much was trained, for how long, and on what."""
    rows = []
    for recipe, preset in results.recorded():
        record = results.read(recipe, preset)
        settings, plan = record["settings"], recipes.find(recipe, preset)[1].settings
        seeds = len(record["seed"]) if isinstance(record["seed"], list) else 1
        share = record["steps"] * settings["batch_size"] / seeds / recipes.budget(plan)
        rows.append([
            f"`{recipe}`, {preset}", f"{record['steps']:,} × {settings['batch_size']}", f"{share:.1%}", f"{record['seconds'] / 3600:.2f}",
            record["device"], record["precision"], record.get("note") or "–",
        ])  # fmt: skip
    return plots.table(["recipe", "steps × batch", "of the preset's budget", "hours", "device", "precision", "note"], rows)


def benchmarks() -> dict[str, dict]:
    """What ``course bench --record data/bench/NAME.json`` measured: name of the machine's file -> content."""
    files = sorted((project.home() / "data" / "bench").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def growth(measured: dict) -> dict[int, tuple[float, float]]:
    """Side of the image in pixels -> (milliseconds, megabytes) of DnCNN-S, from one file of :func:`benchmarks`."""
    found: dict[int, dict[str, float]] = {}
    for row in measured["rows"]:
        named = re.fullmatch(r"DnCNN-S, (\d+)×\1: (inference|peak memory)", row["what"])
        if named:
            found.setdefault(int(named[1]), {})[named[2]] = row["value"]
    return {side: (values["inference"], values["peak memory"]) for side, values in sorted(found.items())}


def beside(rows: Mapping[str, str], metrics: Mapping[str, str], data: Sequence[str], presets: Sequence[str] = ("paper", "jpeg")):
    """A table of a paper beside the recorded runs: in each cell the paper's figure, and ours with its 95 % interval.

    Args:
        rows: what a row is called -> recipe.
        metrics: what a column is called -> metric.
        data: data sets of the figures, the paper's first.
        presets: of the runs to look for; the first that is recorded counts, and is named.
    """
    lines = []
    for words, recipe in rows.items():
        found = recipes.named(recipe)
        preset = next((p for p in presets if (recipe, p) in results.recorded()), None)
        singles = results.singles(results.read(recipe, preset)) if preset else {}
        values = next((singles[name] for name in data if name in singles), {})
        published = next((found.paper[name] for name in data if name in found.paper), {})
        cells = []
        for metric in metrics.values():
            theirs = f"{published[metric]['value']:.1f}" if metric in published else "–"
            cells.append(f"{theirs} / {_mean(list(values.get(metric, {}).values()))}")
        seeds = f" --seeds {found.seeds}" if found.seeds > 1 else ""
        lines.append([words, *cells, preset or f"not run: `course train {recipe} --preset {presets[0]}{seeds} --record`"])
    return plots.table(["paper / ours", *metrics, "our run"], lines)


def _mean(values: list[float]) -> str:
    """Mean and 95 % interval of several values, a single one as it is, a dash for none."""
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else "–"
    mean, half = results.interval(values)
    return f"{mean:.1f} ± {half:.1f}"
