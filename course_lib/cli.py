"""The ``course`` command: list, train, evaluate and verify recipes, and measure speed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

METRICS = """metrics of denoising, PSNR in dB:
  psnr, psnr_25    of the restored images; with noise of σ = 25, where there are several σ
  nn3d_25          … with NN3D's filter around the network
  clamped_25       … clamped, and not rounded to 8 bits
  psnr_x3, _q40    … after bicubic reduction by 3; after JPEG of quality 40
  psnr_camera      … of a simulated camera; _jpeg: of one that writes JPEG
  input_…          of the images as the network gets them
metrics of metric learning, in percent:
  eer, auc         equal error rate, and area under the ROC curve, of pairs
  rank1, rank1of5  identified with one template of each person, and with five
  …_0, …_25        queries with noise of σ = 0, 25; …_shot: moved, turned and lit anew"""


def parser() -> argparse.ArgumentParser:
    """The command line; ``course --help`` prints it."""
    top = argparse.ArgumentParser(prog="course", description="Train and evaluate the methods of the course.")
    commands = top.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="the recipes, their presets, and what is recorded of them")

    train = commands.add_parser("train", help="train a recipe", description="Train a recipe and evaluate what came out.")
    train.add_argument("recipe", help="a name that `course list` prints")
    train.add_argument("changes", nargs="*", metavar="SETTING=VALUE", help="settings to change, such as steps=500 sigma_255=0,55")
    train.add_argument("--preset", default="quick", help="quick (embedded data), paper, or what `course list` prints; default quick")
    train.add_argument("--seed", type=int, default=0, help="of every random draw; default 0")
    train.add_argument("--checkpoint", type=Path, help="default runs/RECIPE.PRESET.ckpt")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint, where there is one")
    train.add_argument("--record", action="store_true", help="ship the weights and write data/results/RECIPE.PRESET.json")
    train.add_argument("--seeds", type=int, metavar="N", help="metric learning: N seeds, each with its people; into runs/ unless --record")
    train.add_argument("--note", default="", help="what readers of the record must know, such as why the run was short")

    evaluate = commands.add_parser(
        "evaluate", help="evaluate a trained network", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=METRICS
    )
    evaluate.add_argument("recipe", help="a name that `course list` prints")
    evaluate.add_argument("--preset", help="whose test data are used; default paper, or quick where there is none")
    evaluate.add_argument("--checkpoint", type=Path, help="a checkpoint of `course train`; default: the shipped weights")
    evaluate.add_argument("--data", help="one data set to evaluate on, rather than those of the preset")
    evaluate.add_argument("--extend", action="store_true", help="measure what the record of the shipped network lacks, and add it there")

    verify = commands.add_parser("verify", help="evaluate the shipped networks again and compare with their records")
    verify.add_argument("recipes", nargs="*", help="default: all that are recorded")
    verify.add_argument("--full", action="store_true", help="all images, not the smallest one of each data set")

    bench = commands.add_parser("bench", help="measure speed, as ratios in one run; on a quiet machine")
    bench.add_argument("--seconds", type=float, default=5.0, help="for each turn of a loop; default 5")
    bench.add_argument("--time-to", type=float, metavar="DB", help="also the time to that PSNR on Set12 at σ = 25, such as 28.5")
    bench.add_argument("--record", type=Path, metavar="FILE", help="write the measurements to this JSON file")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an expected error, 130 for an interruption."""
    options, rest = parser().parse_known_args(arguments)
    if rest and (options.command != "train" or any(word.startswith("-") for word in rest)):
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.changes = [*getattr(options, "changes", []), *rest]  # argparse takes settings before the options only
    try:
        return {"list": _list, "train": _train, "evaluate": _evaluate, "verify": _verify, "bench": _bench}[options.command](options)
    except KeyboardInterrupt:
        print("course: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "torchvision", "numpy"):
            raise
        print(f"course: error: {error.name} is not installed here: `make install` installs everything", file=sys.stderr)
        return 1
    except Exception as error:
        if type(error).__module__.startswith("course_lib.") or isinstance(error, ValueError | FileNotFoundError):
            print(f"course: error: {error}", file=sys.stderr)  # an error that was foreseen: its message says what to do
            return 1
        raise


def _list(options) -> int:
    from course_lib import recipes, results

    for name, recipe in recipes.RECIPES.items():
        print(f"{name}: {recipe.title}")
        for preset, chosen in recipe.presets.items():
            settings, tests = chosen.settings, ", ".join(test.data for test in chosen.test)
            images = ", ".join(data for data, _ in (chosen.train, *chosen.more))
            print(f"  {preset:6} {settings.steps:,} steps of {settings.batch_size} on {images}; tested on {tests}")
        for preset in recipe.presets:
            if results.path(name, preset).is_file():
                _compare(results.read(name, preset))
    return 0


def _compare(record: dict, *, everything: bool = False) -> None:
    from course_lib import results

    short = " (a short run)" if record["short"] else ""
    for data, metrics in record.get("per_seed", {}).items():
        for metric, values in metrics.items():
            if not everything and metric not in ("eer_0", "rank1_0"):
                continue
            mean, half = results.interval(list(values.values()))
            print(f"    {record['preset']}: {data} {metric}: {mean:.1f} ± {half:.1f} %, 95 % interval over {len(values)} seeds{short}")
    for row in results.compare(record):
        print(f"    {row.data} {row.metric}: paper {row.paper:.2f}, recorded {row.recorded:.2f}{short}, gap {row.gap:+.2f} dB")


def _print_means(figures) -> None:
    from course_lib import results, runs

    for data, metrics in runs.means(figures).items():
        for metric, value in metrics.items():
            unit, count = results.unit(metric), len(figures[data][metric])
            print(f"{data} {metric}: {value:.2f} {unit}" + (f", mean of {count} images" if unit == "dB" else ""))


def _train(options) -> int:
    from course_lib import recipes, results, runs

    recipes.find(options.recipe, options.preset)
    changes = {}
    for change in options.changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f'"{change}" is not understood: write a setting as NAME=VALUE, such as steps=500.')
        changes[name] = value
    if options.seeds is not None:
        if options.checkpoint or options.resume:
            raise ValueError("--seeds makes several trainings, which write no checkpoint: leave out --checkpoint and --resume.")
        seeds = range(options.seed, options.seed + options.seeds)
        folder = None if options.record else Path("runs")
        written = runs.record_seeds(options.recipe, options.preset, seeds=seeds, changes=changes, note=options.note, folder=folder)
        _compare(written, everything=True)
        where = results.path(options.recipe, options.preset) if options.record else folder / "results"
        print(f"written to {where}")
        return 0
    if options.record and recipes.RECIPES[options.recipe].to_ship is None:
        raise ValueError(f"{options.recipe} is recorded over several seeds: give --seeds 5 as well.")
    checkpoint = options.checkpoint or Path("runs") / f"{options.recipe}.{options.preset}.ckpt"
    model, _, history, _ = runs.train(
        options.recipe, options.preset, changes=changes, seed=options.seed, checkpoint=checkpoint, resume=options.resume
    )
    if history.interrupted:
        print(f"interrupted; {checkpoint} has what was trained, `course train … --resume` goes on")
        return 130
    print(f"trained in {history.seconds:.0f} s on {history.device} in {history.precision}: {checkpoint}")
    if options.record:
        _compare(runs.record(options.recipe, options.preset, checkpoint, note=options.note))
    else:
        _print_means(runs.evaluate(options.recipe, options.preset, model, seed=options.seed))
    return 0


def _evaluate(options) -> int:
    from course_lib import devices, recipes, results, runs

    options.preset = options.preset or ("paper" if "paper" in recipes.named(options.recipe).presets else "quick")
    recipe, preset = recipes.find(options.recipe, options.preset)
    if options.extend:
        if options.checkpoint or options.data:
            raise ValueError("--extend is about the shipped network on all data of its record: leave out --checkpoint and --data.")
        _compare(runs.extend(options.recipe, options.preset))
        return 0
    if options.checkpoint:
        model, content = runs.from_checkpoint(options.recipe, options.preset, options.checkpoint)
        others = [f"{k}={v}" for k, v in content["settings"].items() if v != getattr(preset.settings, k)]
        if others:
            print(f"trained with other settings than {options.recipe}, {options.preset}: {', '.join(others)}")
            if preset.parts:
                print("if that was another preset, people it was trained on may be among those it is tested on")
    else:
        try:
            model = runs.shipped(options.recipe, options.preset)
        except results.RecordError as error:
            raise ValueError(f"no weights of {options.recipe} are shipped ({error}) Train it, and give its --checkpoint.") from error
    device = devices.default()
    print(f"{options.checkpoint or 'shipped weights'} on {devices.describe(device)}, 32-true")
    seed = content["seed"] if options.checkpoint else 0
    _print_means(runs.evaluate(options.recipe, options.preset, model.to(device), only=options.data, seed=seed))
    return 0


def _verify(options) -> int:
    from course_lib import recipes, results, verify

    for name in options.recipes:
        recipes.named(name)
    chosen = [run for run in results.recorded() if not options.recipes or run[0] in options.recipes]
    if not chosen:
        raise ValueError(f"nothing is recorded of {', '.join(options.recipes) or 'any recipe'}; course list shows what is.")
    wrong = 0
    for recipe, preset in chosen:
        rows = verify.verify(recipe, preset, full=options.full)
        if rows:
            print(f"{recipe}, {preset} preset: record and weights have their hashes")
        for row in rows:
            verdict = "agrees" if row.agrees else f"DIFFERS by more than {verify.TOLERANCE_DB} dB"
            wrong += not row.agrees
            print(
                f"  {row.data} {row.metric}, {row.images} images: recorded {row.recorded:.3f}, found {row.found:.3f} "
                f"(at most {row.difference:+.3f} dB): {verdict}"
            )
    print(f"{wrong} figures differ" if wrong else "all figures agree")
    return 1 if wrong else 0


def _bench(options) -> int:
    from course_lib import project

    tools = project.PACKAGE.parent / "tools"
    if not (tools / "bench.py").is_file():
        raise ValueError("course bench is a tool of the repository: run it in a clone, with the library installed by pip install -e .")
    sys.path.insert(0, str(tools))
    import bench

    bench.main(options.seconds, options.time_to, options.record)
    return 0
