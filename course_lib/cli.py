"""The ``course`` command: list, train, evaluate and verify recipes, and measure speed."""

from __future__ import annotations

import argparse
import errno
import signal
import sys
from pathlib import Path

from course_lib import files, reported, terminal


def parser() -> argparse.ArgumentParser:
    """The command line; ``course --help`` prints it."""
    top = argparse.ArgumentParser(prog="course", description="Train and evaluate the methods of the course.")
    commands = top.add_subparsers(dest="command", required=True)

    commands.add_parser("list", help="the recipes, their presets, and what is recorded of them")

    train = commands.add_parser("train", help="train a recipe", description="Train a recipe and evaluate what came out.")
    train.add_argument("recipe", help="a name that `course list` prints")
    train.add_argument(
        "changes", nargs="*", default=[], metavar="SETTING=VALUE", help="settings to change, such as steps=500 sigma_255=0,55"
    )
    train.add_argument("--preset", default="quick", help="quick (embedded data), paper, or what `course list` prints; default quick")
    train.add_argument("--seed", type=int, default=0, help="of every random draw; default 0")
    train.add_argument("--checkpoint", type=Path, help="default runs/RECIPE.PRESET.ckpt")
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint, where there is one")
    train.add_argument("--record", action="store_true", help="ship the weights and write data/results/RECIPE.PRESET.json")
    train.add_argument("--force", action="store_true", help="with --record: replace a record even where its figures are better")
    train.add_argument("--seeds", type=int, metavar="N", help="N trainings, with as many seeds; the record goes into runs/ unless --record")
    train.add_argument("--note", default="", help="what readers of the record must know, such as why the run was short")

    evaluate = commands.add_parser(
        "evaluate", help="evaluate a trained network", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=reported.explained()
    )
    evaluate.add_argument("recipe", help="a name that `course list` prints")
    evaluate.add_argument("--preset", help="whose test data are used; default paper, or quick where there is none")
    evaluate.add_argument("--checkpoint", type=Path, help="a checkpoint of `course train`; default: the shipped weights")
    evaluate.add_argument("--data", help="one data set to evaluate on, rather than those of the preset")
    evaluate.add_argument("--extend", action="store_true", help="measure what the record of the shipped network lacks, and add it there")

    queue = commands.add_parser(
        "reproduce", help="train in the background what is missing or short of the paper's figures",
        description="Train what has no record, or that of a short run, the largest gap to the paper first, at the lowest priority, until "
        "all is done or the time is over. Ended at any moment, it goes on from there the next time; SIGSTOP and SIGCONT pause it.",
    )  # fmt: skip
    queue.add_argument("--what", nargs="+", default=[], metavar="NAME", help="recipes; default: all")
    queue.add_argument("--budget", metavar="TIME", help="how long to work, such as 150m or 2h30m; default: until all is done")
    queue.add_argument("--slice", default="10m", metavar="TIME", help="of training between two checkpoints with a figure; default 10m")
    queue.add_argument("--status", action="store_true", help="only show how far each run is; also while a queue works")

    verify = commands.add_parser("verify", help="evaluate the shipped networks again and compare with their records")
    verify.add_argument("recipes", nargs="*", help="default: all that are recorded")
    verify.add_argument("--full", action="store_true", help="all images, not the four smallest of each data set")

    bench = commands.add_parser("bench", help="measure speed, as ratios in one run; on a quiet machine")
    bench.add_argument("--only", nargs="+", default=(), metavar="PART", help="such as training or inference; default all")
    bench.add_argument("--seconds", type=float, default=5.0, help="for each turn of a loop; default 5")
    bench.add_argument("--time-to", type=float, metavar="DB", help="also the time to that PSNR on Set12 at σ = 25, such as 28.5")
    bench.add_argument("--record", type=Path, metavar="FILE", help="write the measurements to this JSON file")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for an expected error, 128 + its number for a signal to end, such as 130 for Ctrl-C.

    Output that cannot be written ends nothing: a closed pipe is a reader who has seen enough, a full disk is said at the end.
    """
    with terminal.careful_output() as output, terminal.stopping():
        code = _run(arguments)
        output.flush()
        lost = output.lost
        if lost is not None and not (isinstance(lost, OSError) and lost.errno in (errno.EPIPE, errno.EIO, errno.EINVAL)):
            print(f"course: error: output was lost ({files.why(lost)}); what was computed is kept as usual", file=sys.stderr)
            code = code or 1
    return code


def _run(arguments: list[str] | None) -> int:
    options, rest = parser().parse_known_args(arguments)
    if rest and (options.command != "train" or any(word.startswith("-") for word in rest)):
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    options.changes = [*getattr(options, "changes", []), *rest]  # argparse takes settings before the options only
    try:
        command = {
            "list": _list, "train": _train, "evaluate": _evaluate, "reproduce": _reproduce, "verify": _verify, "bench": _bench,
        }[options.command]  # fmt: skip
        return command(options)
    except terminal.Stopped as stopped:
        print(f"course: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("course: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "torchvision", "numpy"):
            raise
        print(f"course: error: {error.name} is not installed here: `make install` installs everything", file=sys.stderr)
        return 1
    except Exception as error:
        foreseen = _foreseen(error)
        if not foreseen:
            raise
        print(f"course: error: {foreseen}", file=sys.stderr)
        return 1


def _foreseen(error: Exception) -> str:
    """What to say of an error that does not come from a mistake in the program; empty for one that does."""
    if type(error).__module__.startswith("course_lib.") or isinstance(error, ValueError):
        return str(error)  # its message says what to do
    if isinstance(error, OSError):
        return files.why(error)
    if "torch" in sys.modules:
        from course_lib import devices

        if devices.out_of_memory(error):
            return "out of memory: use a machine or a GPU with more of it, or one that does less beside"
    return ""


def _list(options) -> int:
    from course_lib import recipes, results

    wrong = 0
    for name, recipe in recipes.RECIPES.items():
        print(f"{name}: {recipe.title}")
        for preset, chosen in recipe.presets.items():
            settings, tests, images = chosen.settings, ", ".join(chosen.tests), chosen.data(0).words
            print(f"  {preset:6} {settings.steps:,} steps of {settings.batch_size} on {images}; tested on {tests}")
        for preset in recipe.presets:
            if results.path(name, preset).is_file():
                try:
                    _compare(results.read(name, preset))
                except results.RecordError as error:  # the others are no worse for it
                    print(f"    {preset}: {error}")
                    wrong += 1
    if wrong:
        print(f"course: error: not all records can be read ({wrong} cannot), see above", file=sys.stderr)
    return 1 if wrong else 0


def _compare(record: dict, *, everything: bool = False) -> None:
    from course_lib import recipes, reported, results

    short = " (a short run)" if record["short"] else ""
    for data, metrics in record.get("per_seed", {}).items():
        for metric, values in metrics.items():
            if len(values) < 2 or not everything and metric not in ("eer_0", "rank1_0"):
                continue
            _, chosen = recipes.find(record["about"]["recipe"], record["about"]["preset"])
            mean, half = results.interval(list(values.values()), overlap=chosen.tests[data].overlap)
            unit, seeds = reported.named(metric).unit, f"95 % interval over {len(values)} seeds"
            print(f"    {record['about']['preset']}: {data} {metric}: {mean:.1f} ± {half:.1f} {unit}, {seeds}{short}")
    for row in results.compare(record):
        print(f"    {row.data} {row.metric}: paper {row.paper:.2f}, recorded {row.recorded:.2f}{short}, gap {row.gap:+.2f} {row.unit}")


def _print_means(figures) -> None:
    from course_lib import reported, runs

    for data, metrics in runs.means(figures).items():
        for metric, value in metrics.items():
            singles = figures[data][metric]
            of_images = "" if any(name.startswith("seed ") for name in singles) else f", mean of {len(singles)} images"
            print(f"{data} {metric}: {value:.2f} {reported.named(metric).unit}{of_images}")


def _train(options) -> int:
    from course_lib import devices, recipes, recording, results, runs

    if options.force and not options.record:
        raise ValueError("--force is about the record that --record replaces: give both.")
    if options.note and not options.record and options.seeds is None:
        raise ValueError("--note is for readers of a record: give --record as well.")
    recipes.find(options.recipe, options.preset)
    changes = {}
    for change in options.changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise ValueError(f'"{change}" is not understood: write a setting as NAME=VALUE, such as steps=500.')
        if name in changes:
            raise ValueError(f"{name} is given twice, as {changes[name]} and as {value}: give it once.")
        changes[name] = value
    runs_folder = Path("runs")
    if options.seeds is not None:
        if options.checkpoint:
            raise ValueError("--seeds makes several trainings, each with a checkpoint below runs/: leave out --checkpoint.")
        runs.require_several(options.seeds)
        seeds = range(options.seed, options.seed + options.seeds)
        folder = None if options.record else runs_folder
        recording.require_place(options.recipe, options.preset, folder=folder, force=options.force)
        made = runs.train_seeds(
            options.recipe, options.preset, seeds, changes=changes, resume=options.resume, folder=runs_folder, tested=True
        )
        if devices.rank() > 0:  # of several processes one evaluates
            return 0
        written = recording.record(options.recipe, options.preset, made, note=options.note, folder=folder, force=options.force)
        _compare(written, everything=True)
        print(f"written to {results.path(options.recipe, options.preset) if options.record else folder / 'results'}")
        return 0
    if options.record and recipes.RECIPES[options.recipe].seeds > 1:
        raise ValueError(f"{options.recipe} is recorded over several seeds: `{recipes.command(options.recipe, options.preset)}`.")
    if options.record:
        recording.require_place(options.recipe, options.preset, force=options.force)
    checkpoint = options.checkpoint or runs_folder / f"{options.recipe}.{options.preset}.ckpt"
    model, _, history, _ = runs.train(
        options.recipe, options.preset, changes=changes, seed=options.seed, checkpoint=checkpoint, resume=options.resume,
        tested=True,
    )  # fmt: skip
    stopped = history.signal or signal.SIGINT
    if history.interrupted and devices.rank() == 0:
        by = "" if stopped == signal.SIGINT else f" by {signal.Signals(stopped).name}"
        print(f"interrupted{by}; {checkpoint} has what was trained, `course train … --resume` goes on")
    if history.interrupted or devices.rank() > 0:
        return 128 + stopped if history.interrupted else 0
    print(f"trained in {history.seconds:.0f} s on {history.device} in {history.precision}: {checkpoint}")
    if options.record:
        written = recording.record(options.recipe, options.preset, checkpoint, note=options.note, force=options.force)
        _compare(written) if written["paper"] else _print_means(results.singles(written))
    else:
        _print_means(runs.evaluate(options.recipe, options.preset, model, seed=options.seed))
    return 0


def _evaluate(options) -> int:
    from course_lib import devices, recipes, recording, results, runs

    if not options.preset and "paper" not in recipes.named(options.recipe).presets:
        options.preset = "quick"
    elif not options.preset:  # a checkpoint needs no record, which may be damaged
        options.preset = "paper" if options.checkpoint else results.best(options.recipe)
    _, preset = recipes.find(options.recipe, options.preset)
    if options.extend:
        if options.checkpoint or options.data:
            raise ValueError("--extend is about the shipped network on all data of its record: leave out --checkpoint and --data.")
        _compare(recording.extend(options.recipe, options.preset))
        return 0
    if options.checkpoint:
        model, content = runs.from_checkpoint(options.recipe, options.preset, options.checkpoint)
        others = [f"{k}={v}" for k, v in content["settings"].items() if v != getattr(preset.settings, k)]
        if others:
            print(f"trained with other settings than {options.recipe}, {options.preset}: {', '.join(others)}")
        by = content["about"].get("recipe", options.recipe)
        if by != options.recipe:
            print(f"trained by the recipe {by}, and evaluated as {options.recipe} is")
        was = content["about"].get("preset", options.preset)
        if was != options.preset:
            print(f"trained with the preset {was}: what is tested on here may be among the data it was trained on")
    else:
        try:
            model = runs.shipped(options.recipe, options.preset)
        except results.RecordError as error:
            if results.path(options.recipe, options.preset).is_file():  # it is damaged, which the message says what to do about
                raise
            raise ValueError(f"no weights of {options.recipe} are shipped ({error}) Train it, and give its --checkpoint.") from error
    device = devices.default()
    print(f"{options.checkpoint or 'shipped weights'} on {devices.describe(device)}, 32-true")
    seed = content["seed"] if options.checkpoint else 0
    _print_means(runs.evaluate(options.recipe, options.preset, model.to(device), only=options.data, seed=seed))
    return 0


def _reproduce(options) -> int:
    from course_lib import reproduce

    return reproduce.command(options.what, options.budget, options.slice, show=options.status)


def _verify(options) -> int:
    from course_lib import data, recipes, reported, results, verify, weights

    for name in options.recipes:
        recipes.named(name)
    chosen = [run for run in results.recorded() if not options.recipes or run[0] in options.recipes]
    if not chosen:
        raise ValueError(f"nothing is recorded of {', '.join(options.recipes) or 'any recipe'}; course list shows what is.")
    wrong = compared = damaged = 0
    for recipe, preset in chosen:
        try:
            rows = verify.verify(recipe, preset, full=options.full)
        except (results.RecordError, weights.WeightsError, data.AlteredError, ValueError) as error:  # the others are compared all the same
            print(f"{recipe}, {preset} preset: DAMAGED: {error}")
            damaged += 1
            continue
        compared += len(rows)
        if rows:
            print(f"{recipe}, {preset} preset: record and weights have their hashes")
            others = verify.left_out(recipe, preset, rows)
            if others:
                print(f"  not compared: {', '.join(others)}")
        for row in rows:
            metric = reported.named(row.metric)
            verdict = "agrees" if row.agrees else f"DIFFERS by more than {metric.tolerance} {metric.unit}"
            wrong += not row.agrees
            print(
                f"  {row}: recorded {row.recorded:.3f}, found {row.found:.3f} "
                f"(at most {row.difference:+.3f} {metric.unit}): {verdict}"
            )
    agree = f"{wrong} of them differ" if wrong else "all of them agree"
    of = len(chosen) - damaged
    print(f"{compared} figures of {of} records were compared; {agree}" if compared else "no figure was compared")
    if damaged:
        print(f"course: error: {damaged} of {len(chosen)} records, their weights or images are damaged, see above", file=sys.stderr)
    return 1 if wrong or damaged else 0


def _bench(options) -> int:
    from course_lib import project

    tools = project.PACKAGE.parent / "tools"
    if not (tools / "bench.py").is_file():
        raise ValueError("course bench is a tool of the repository: run it in a clone, with the library installed by pip install -e .")
    sys.path.insert(0, str(tools))
    import bench

    bench.main(options.seconds, options.time_to, options.record, options.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
