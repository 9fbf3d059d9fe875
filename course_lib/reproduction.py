"""Did it work? Every figure of a paper that a recipe can be compared with, beside what was recorded.

The tables and the picture of the page Reproduction; what trains is :mod:`course_lib.reproduce`.
"""

from __future__ import annotations

import html
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from course_lib import clock, plots, project, recipes, reported, results
from course_lib.recipes.base import Recipe

DATA = {"bsd68": "BSD68", "cbsd68": "CBSD68", "set12": "Set12", "set5": "Set5", "cc15": "CC15", "faces": "ORL faces",
        "mnist": "MNIST", "cifar10": "CIFAR-10", "imagenet": "ImageNet"}  # fmt: skip
"""Data sets whose names in print differ from ours."""

LIMITS = {"dB": (0.1, 0.3, 0.8), "%": (0.5, 1.5, 4.0)}
"""Unit -> by how much the paper may be better for the first three colours of the table."""

BANDS = (("#a6dba0", "reached"), ("#e6f5d0", "close"), ("#fee08b", "short of it"), ("#f4a582", "far from it"))
"""Colours of the table, and what they mean."""

NO_AIM = "#e0e0e0"
SEEDS = {
    "eer_0": "EER", "eer_25": "EER, σ = 25", "eer_50": "EER, σ = 50", "eer_shot": "EER, moved and turned",
    "rank1_0": "one template", "rank1of5_0": "five templates",
}  # fmt: skip
"""Metrics of several seeds that the page shows, and what their columns are called."""


def entries(names: list[str] | None = None) -> list[results.Comparison]:
    """Every published figure of the recipes, in their order, beside the best record's; of those named, or of all."""
    done = {recipe: results.read(recipe) for recipe, preset in results.recorded() if preset in results.FOR_THE_PAPER}
    chosen = {name: recipes.named(name) for name in names or recipes.RECIPES}
    return [row for name, recipe in chosen.items() for row in results.comparisons(name, recipe.paper, done.get(name))]


def behind(entry: results.Comparison) -> float | None:
    """By how much the paper is better, in the unit of the figure; None where ours is missing, or where to reach it is no aim."""
    if entry.recorded is None or entry.metric in recipes.named(entry.recipe).fails:
        return None
    return reported.gain(entry.metric, entry.recorded, entry.paper)


def summary(names: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Unit -> ``figures``, and the ``mean``, ``median`` and ``worst`` of what they lack to the paper's; empty without a record."""
    found: dict[str, list[float]] = {}
    for entry in entries(names):
        if (gap := behind(entry)) is not None:
            found.setdefault(entry.unit, []).append(gap)
    return {
        unit: {"figures": len(gaps), "mean": statistics.mean(gaps), "median": statistics.median(gaps), "worst": max(gaps)}
        for unit, gaps in found.items()
    }


# --- the table ------------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """A network on a data set: several recipes where each is trained for a column of its own, as DnCNN-S for one σ."""

    network: str
    chapter: str
    data: str
    cells: dict[str, results.Comparison] = field(default_factory=dict)  # by the condition in words

    @property
    def trained(self) -> str:
        """For how long, and by which preset, such as ``6–9 min (laptop)``."""
        found = {}
        for recipe in dict.fromkeys(entry.recipe for entry in self.cells.values() if entry.recorded is not None):
            record = results.read(recipe)
            found.setdefault(record["about"]["preset"], []).append(record["seconds"])
        return ", ".join(f"{clock.span(seconds)} ({preset})" for preset, seconds in found.items()) or "–"


def condition(entry: results.Comparison) -> str:
    """Under which condition a figure was measured, as the head of a column: ``σ = 25``, ``bicubic reduction by 2``."""
    words = reported.condition(entry.metric)
    if words:
        return words.removeprefix("with noise of ").removeprefix("after ")
    sigma = getattr(recipes.find(entry.recipe, "paper")[1].settings, "sigma_255", ())
    sigmas = set(sigma if isinstance(sigma, tuple) else (sigma,))
    return f"σ = {sigmas.pop():g}" if len(sigmas) == 1 else "all"


def sections(names: list[str] | None = None) -> dict[str, list[Row]]:
    """What was measured, in words -> a row for each network and data set. Metrics and kinds of conditions have sections of their own."""
    found: dict[str, dict[tuple[str, str], Row]] = {}
    for entry in entries(names):
        recipe, head, words = recipes.named(entry.recipe), condition(entry), reported.condition(entry.metric)
        kind = re.sub(r"( by| of quality)? [0-9.]+$", "", words) if words and not head.startswith("σ") else ""
        metric = reported.METRICS[entry.metric.partition("_")[0]]
        rows = found.setdefault(f"{metric.words}{f', {kind}' if kind else ''} ({metric.unit})", {})
        same = rows.get((recipe.name, entry.data))
        name = recipe.name if same is None or head not in same.cells else recipe.title  # another network of that name
        row = rows.setdefault((name, entry.data), Row(name, recipe.chapter, DATA.get(entry.data, entry.data)))
        row.cells[head] = entry
    return {title: list(rows.values()) for title, rows in found.items()}


def _band(entry: results.Comparison) -> tuple[str, str]:
    """Colour and words of a figure's gap."""
    if entry.recorded is None:
        return "transparent", "not run yet"
    gap = behind(entry)
    if gap is None:
        return NO_AIM, "the paper shows here how the network fails"
    return BANDS[sum(gap > limit for limit in LIMITS[entry.unit])]


def _cell(entry: results.Comparison | None) -> str:
    if entry is None:
        return "<td></td>"
    colour, words = _band(entry)
    if entry.recorded is None:
        return f'<td title="{words}">{entry.paper:.2f}&#8239;/&#8239;–</td>'
    told = f'title="{words} ({entry.gap:+.2f} {entry.unit})" style="background:{colour};color:#111"'
    return f"<td {told}>{entry.paper:.2f}&#8239;/&#8239;{entry.recorded:.2f}</td>"


def _section(title: str, rows: Sequence[Row]) -> str:
    heads = sorted({head for row in rows for head in row.cells}, key=lambda head: [float(n) for n in re.findall(r"[0-9.]+", head)])
    top = "".join(f'<th scope="col">{html.escape(head)}</th>' for head in ("network", "data", *heads, "trained"))
    lines = []
    for row in rows:
        link = html.escape(row.network)
        link = f'<a href="{row.chapter}.html">{link}</a>' if row.chapter else link
        cells = "".join(_cell(row.cells.get(head)) for head in heads)
        cells += f'<td style="white-space:nowrap">{row.trained}</td>'
        lines.append(f'<tr><th scope="row">{link}</th><td>{html.escape(row.data)}</td>{cells}</tr>')
    caption = f'<caption style="caption-side:top;text-align:left;font-weight:bold">{html.escape(title)}: paper / ours</caption>'
    return f'<table class="dataframe">{caption}<thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def legend(units: Sequence[str]) -> str:
    """What the colours mean, as HTML."""
    words = []
    for number, (colour, name) in enumerate(BANDS):
        last = number == len(BANDS) - 1
        limit = " or ".join(f"{LIMITS[unit][min(number, 2)]:g} {unit}" for unit in units)
        words.append((colour, f"{name}: {'more than' if last else 'at most'} {limit} below the paper"))
    words.append((NO_AIM, "no aim: the paper shows here how the network fails"))
    patch = '<span style="display:inline-block;width:1em;height:1em;border:1px solid #888;vertical-align:-0.15em;background:{}"></span>'
    return "<p>" + " &emsp; ".join(f"{patch.format(colour)} {text}" for colour, text in words) + "</p>"


class Page:
    """HTML for the end of a cell, with a text for where there is none."""

    def __init__(self, content: str, text: str):
        self.content, self.text = content, text

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.content, "text/plain": self.text}


def overview(names: list[str] | None = None) -> Page:
    """All published figures and ours: a row for each network and data set, the gap as colour, and what was not run with its command."""
    found = entries(names)
    units = list(dict.fromkeys(entry.unit for entry in found))
    missing = dict.fromkeys(entry.recipe for entry in found if entry.recorded is None)
    parts = [legend(units), *(_section(title, rows) for title, rows in sections(names).items())]
    if missing:
        named = "".join(f"<li>{html.escape(recipes.named(recipe).title)}</li>" for recipe in missing)
        parts.append(f'<p>Not run yet:</p><ul style="columns:24em">{named}</ul>')
        parts.append(f"<p><code>course reproduce --what {' '.join(missing)}</code> runs them.</p>")
    return Page("\n".join(parts), f"{len(found)} published figures, {sum(e.recorded is not None for e in found)} beside one of ours.")


def gaps(names: list[str] | None = None) -> plots.Shown:
    """A dot for each figure: by how much ours is above or below the paper's, a line for each network."""
    by_network: dict[str, list[results.Comparison]] = {}
    for entry in entries(names):
        if behind(entry) is not None:
            by_network.setdefault(recipes.named(entry.recipe).name, []).append(entry)
    drawn, axes = plots.figure(7.5, 0.9 + 0.32 * len(by_network))
    data = list(dict.fromkeys(entry.data for found in by_network.values() for entry in found))
    for number, name in enumerate(data):
        points = [(-behind(e), y) for y, found in enumerate(by_network.values()) for e in found if e.data == name]
        axes.plot(*zip(*points, strict=True), "o", color=plots.COLORS[number % len(plots.COLORS)], alpha=0.75, label=DATA.get(name, name))
    axes.axvline(0, color="black", linewidth=1)
    axes.set_yticks(range(len(by_network)), list(by_network))
    axes.invert_yaxis()
    axes.set_xlabel("ours above (right) or below (left) the paper, dB or points of %")
    axes.legend(ncols=len(data), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    told = [f"{name} {-max(map(behind, found)):+.2f} to {-min(map(behind, found)):+.2f}" for name, found in by_network.items()]
    return plots.show(drawn, f"Gaps to the papers' figures by network: {'; '.join(told)}.")


# --- the other tables -----------------------------------------------------------------------------------------------------


def several_seeds(metrics: Mapping[str, str] = SEEDS):
    """The records of several seeds that have these metrics, in percent: mean and 95 % interval of each."""
    rows = []
    for recipe, preset in results.recorded():
        for name, values in results.read(recipe, preset).get("per_seed", {}).items():
            if not set(metrics) <= set(values) or len(values[next(iter(metrics))]) < 2:
                continue
            overlap = recipes.find(recipe, preset)[1].tests[name].overlap
            shown = [results.interval(list(values[metric].values()), overlap=overlap) for metric in metrics]
            rows.append([recipes.named(recipe).title, DATA.get(name, name), *(f"{mean:.1f} ± {half:.1f}" for mean, half in shown)])
    return plots.table(["network", "data", *metrics.values()], rows)


def runs():
    """The recorded runs: how much was trained, for how long, and on what."""
    rows = []
    for recipe, preset in results.recorded():
        record = results.read(recipe, preset)
        settings, found = record["settings"], recipes.named(recipe)
        seeds = len(record["seed"]) if isinstance(record["seed"], list) else 1
        share = record["steps"] * settings["batch_size"] / seeds / recipes.budget(_full(found, preset))
        rows.append([
            found.title, preset, f"{record['steps']:,} × {settings['batch_size']}", f"{share:.1%}", clock.words(record["seconds"]),
            record["device"], record["precision"], record.get("note") or "–",
        ])  # fmt: skip
    return plots.table(["network", "preset", "steps × batch", "of the paper's budget", "time", "device", "precision", "note"], rows)


def _full(recipe: Recipe, preset: str):
    """The settings with the whole budget of a run: the paper's, where there are any."""
    return recipe.presets["paper" if preset in results.FOR_THE_PAPER else preset].settings


def benchmarks() -> dict[str, dict]:
    """What ``course bench --record data/bench/NAME.json`` measured: name of the machine's file -> content."""
    files = sorted((project.home() / "data" / "bench").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def measured(what: str) -> dict[str, float]:
    """Name of the machine's file -> what :func:`benchmarks` has under these words; machines that did not measure it are left out."""
    return {machine: row["value"] for machine, found in benchmarks().items() for row in found["rows"] if row["what"] == what}


def growth(measured: dict) -> dict[int, tuple[float, float]]:
    """Side of the image in pixels -> (milliseconds, megabytes) of DnCNN-S, from one file of :func:`benchmarks`."""
    found: dict[int, dict[str, float]] = {}
    for row in measured["rows"]:
        if named := re.fullmatch(r"DnCNN-S, (\d+)×\1: (inference|peak memory)", row["what"]):
            found.setdefault(int(named[1]), {})[named[2]] = row["value"]
    return {side: (values["inference"], values["peak memory"]) for side, values in sorted(found.items())}


def beside(
    rows: Mapping[str, str], metrics: Mapping[str, str], data: Sequence[str], presets: Sequence[str] = ("paper",), *, digits: int = 1
):  # fmt: skip
    """A table for a chapter: in each cell the paper's figure and ours, and in the last column the run or the command that makes it.

    Ours is the mean, with its 95 % interval where there are several seeds. Where no paper has a figure, ours stands alone. Rows that
    have neither are named together in the last one.

    Args:
        rows: what a row is called -> recipe.
        metrics: what a column is called -> metric.
        data: data sets of the figures, the paper's first.
        presets: of the runs to look for; the first that is recorded counts, and is named.
        digits: behind the decimal point.

    Raises:
        ValueError: for a recipe that there is not.
    """
    published = {words: next((paper[d] for d in data if d in paper), {}) for words, paper in
                 ((words, recipes.named(recipe).paper) for words, recipe in rows.items())}  # fmt: skip
    theirs = any(metric in figures for figures in published.values() for metric in metrics.values())
    lines, lacking = [], {}
    for words, recipe in rows.items():
        preset, how = next((p for p in presets if (recipe, p) in results.recorded()), None), recipes.command(recipe, presets[0])
        if not preset and not any(metric in published[words] for metric in metrics.values()):
            lacking[words] = how
            continue
        record = results.read(recipe, preset) if preset else {}
        papers = [f"{published[words][m]['value']:.{digits}f}" if m in published[words] else "–" for m in metrics.values()]
        ours = [_ours(record, data, metric, digits) for metric in metrics.values()]
        cells = [f"{one} / {other}" for one, other in zip(papers, ours, strict=True)] if theirs else ours
        run = f"{preset}{', short' if record['short'] else ''}{_seeds(record)}" if preset else f"not run: `{how}`"
        lines.append([words, *cells, run])
    if lacking:  # rows without any figure are one
        run = f"not run: `{next(iter(lacking.values()))}`" + ", and so on" * (len(lacking) > 1)
        lines.append(["; ".join(lacking), *("–" for _ in metrics), run])
    return plots.table(["paper / ours" if theirs else "", *metrics, "our run"], lines)


def _seeds(record: Mapping) -> str:
    """Over how many seeds a record is, for the end of a line; empty for one."""
    return f", {len(record['seed'])} seeds" if isinstance(record["seed"], list) else ""


def _ours(record: Mapping, data: Sequence[str], metric: str, digits: int) -> str:
    """The recorded figure of a metric on the first of the data sets that has it, a dash for none."""
    values = next((found for d in data if (found := results.of_seeds(record, d, metric))), [])
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "–"
    mean, half = results.interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"
