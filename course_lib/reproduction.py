"""Did it work? Every figure of a paper that a recipe can be compared with, beside what was recorded.

The tables of the page Reproduction; what trains is :mod:`course_lib.reproduce`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from course_lib import plots, project, recipes, results


def entries(names: list[str] | None = None) -> list[results.Comparison]:
    """Every published figure of the recipes, in their order; of those named, or of all."""
    done = {recipe: results.read(recipe) for recipe, preset in results.recorded() if preset in results.FOR_THE_PAPER}
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


def compared(named: Mapping[str, str]):
    """A table for a chapter: of each recipe its words, the paper's figures, and ours, or the command that makes the run.

    Args:
        named: recipe -> what it is, in words.

    Raises:
        ValueError: for a recipe that there is not.
    """
    rows = []
    for recipe, words in named.items():
        for e in entries([recipe]):
            ours = f"not run: `{e.command}`" if e.recorded is None else f"{e.recorded:.2f}{' (short run)' if e.short else ''}"
            rows.append([words, f"{e.paper:.2f}", ours])
    return plots.table(["", "paper", "recorded"], rows)


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
