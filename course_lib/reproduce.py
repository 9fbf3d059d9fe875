"""The roof: ``course reproduce``, the queue that turns idle time into figures.

It trains what has no record yet, or that of a short run, the largest gap to the paper first, in slices of some minutes. After each one
the checkpoint below ``runs/reproduce`` is as far as the slice came, and the network is measured on images that it was not trained on
and that no published figure is of. So the queue may be ended at any moment, by any signal or a power cut, and started again: it loses
at most the current slice. A run that is finished is evaluated, shipped and recorded where it is better than the record that stands,
which makes way for it.

(:mod:`course_lib.reproduction` makes the tables of what is recorded; nothing is trained there.)
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import checkpoints, clock, data, devices, files, history, project, recording, results, runs, weights
from course_lib.jobs import FOLDER, Job, jobs, status, table
from course_lib.terminal import Stopped

SLICE = 600.0
"""Seconds of training between two checkpoints with a figure."""

FAILURES = (
    checkpoints.CheckpointError, history.TrainingError, devices.OutOfMemoryError, results.RecordError, weights.WeightsError,
    data.DataError, ValueError,
)  # fmt: skip
"""What stops one run and lets the others go on."""


NOTE = {"paper": "Trained in slices by course reproduce.", "laptop": "The preset for a laptop, trained in slices by course reproduce."}


class ReproduceError(RuntimeError):
    """Another queue works already, or runs failed; the message says what to do."""


def work(
    what: Sequence[str] = (), *, seconds: float = math.inf, slice_seconds: float = SLICE, folder: Path = FOLDER,
    say: Callable[[str], None] = print,
) -> None:  # fmt: skip
    """Train, evaluate and record what is missing or short until it is all done, or the time is over.

    Args:
        what: names of recipes; all that the queue is for if empty.
        seconds: to work; what was begun in them, such as the evaluation of a finished run, is ended. SIGSTOP stops this clock too.
        slice_seconds: of training between two checkpoints with a figure.
        folder: of checkpoints and notes.
        say: what tells a person how it goes.

    Raises:
        ValueError: for names as in :func:`course_lib.jobs.jobs`, or a time that is not positive.
        data.DataError: where images of a named recipe are missing, or of all; other recipes without images are left out, with a line.
        ReproduceError: where another queue works in this folder, or runs failed, when the others are done.
        terminal.Stopped: a ``KeyboardInterrupt``, where a signal ended it. All that was trained is kept.
    """
    if not (seconds > 0 and slice_seconds > 0):
        raise ValueError(f"seconds = {seconds}, slice_seconds = {slice_seconds}: both must be above 0.")
    project.loaded_commit()  # before anybody checks out another one
    failed: dict[Job, str] = {}
    try:
        with files.lock(folder / "queue"), clock.Stopwatch() as watch:
            waiting = [job for job in jobs(what, folder) if not job.recorded() and not _turned_down(job)]
            waiting = _with_data(waiting, named=bool(what), say=say)
            _retire(folder, say)
            while watch.seconds < seconds:
                job = _next(waiting, failed)
                if job is None:
                    break
                try:
                    if _step(job) < job.steps:
                        _train(job, watch, min(watch.seconds + slice_seconds, seconds), say)
                    else:
                        _finish(job, say)
                        waiting.remove(job)
                        _retire(folder, say)
                except FAILURES as error:
                    failed[job] = str(error)
                    say(f"{job}: {error} The queue goes on with the others.")
                watch.tick()
    except files.BusyError as error:
        raise ReproduceError(f"another queue works here ({error.args[0].split(':')[0]}): let it, or end it first.") from error
    if failed:
        raise ReproduceError(f"{len(failed)} runs failed: " + "; ".join(f"{job} ({why})" for job, why in failed.items()))
    say("Everything is trained and recorded." if not waiting else f"The time is over; {len(waiting)} runs are not finished.")


def _with_data(waiting: list[Job], *, named: bool, say: Callable[[str], None]) -> list[Job]:
    """The runs whose images are here, all of them loaded once, so that no missing file ends a run after hours."""
    lacking: dict[tuple, str] = {}  # the same images for many runs are looked for once
    for job in waiting:
        images, split = _images(job), job.found[1].data(0)
        if images in lacking:
            continue
        lacking[images] = ""
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # a line for each data set is too many here
                split.train()
                for name in job.found[1].tests:
                    split.test(name)
        except data.DataError as error:
            if named:
                raise
            lacking[images] = str(error)
    for why in dict.fromkeys(filter(None, lacking.values())):
        say(f"left out: {'; '.join(str(job) for job in waiting if lacking[_images(job)] == why)}. {why}")
    found = [job for job in waiting if not lacking[_images(job)]]
    if waiting and not found:
        raise data.DataError(next(iter(lacking.values())))
    return found


def _images(job: Job) -> tuple:
    """What tells the images of runs apart: names of the data sets, and whether they are in colour."""
    chosen = job.found[1]
    return chosen.data(0).words, tuple(chosen.tests), getattr(chosen.settings, "channels", None)


def _next(waiting: Sequence[Job], failed: dict[Job, str]) -> Job | None:
    """The first run that can go on; what waits for weights that no other one will make has failed."""
    left = [job for job in waiting if job not in failed]
    for job in left:
        if not job.lacks():
            return job
    failed |= {job: f"it starts from the weights of {job.lacks()}, which are not shipped: reproduce that one too." for job in left}
    return None


def _step(job: Job) -> int:
    """Steps in the checkpoint; 0 without one."""
    return checkpoints.open_file(job.checkpoint)["step"] if job.checkpoint.exists() else 0


def _train(job: Job, watch: clock.Stopwatch, until: float, say: Callable[[str], None]) -> None:
    """One slice: train until a time, and measure what came out."""

    def over() -> bool:
        watch.tick()
        return watch.seconds >= until

    _, _, trained, _ = runs.train(job.recipe, job.preset, checkpoint=job.checkpoint, resume=True, pause=over)
    if trained.signal:
        raise Stopped(trained.signal)
    value = job.measure()
    say(f"{job}: step {_step(job):,} of {job.steps:,}, {value:.2f} {job.unit} on {job.validation}")


def _turned_down(job: Job) -> bool:
    """Is the run finished, and no better than what is recorded? A damaged checkpoint is told of when its turn comes."""
    try:
        return job.turned_down()
    except checkpoints.CheckpointError:
        return False


def _finish(job: Job, say: Callable[[str], None]) -> None:
    """Evaluate a finished run, and ship and record it where it is better than what stands; else note that it is not."""
    say(f"{job}: finished; its figures are measured")
    try:
        entry = recording.record(job.recipe, job.preset, job.checkpoint, note=NOTE[job.preset])
    except recording.WorseError as error:
        job.turn_down()
        say(f"{job}: {str(error).split(' The run is kept in ')[0]}")
        return
    gaps = [f"{row.data} {row.metric} {row.recorded:.2f} (paper {row.paper:.2f})" for row in results.compare(entry)]
    say(f"{job}: recorded. {', '.join(gaps)}")


def _retire(folder: Path, say: Callable[[str], None]) -> None:
    """Move what a better record stands in for out of ``data/``, so that the repository does not grow with each of them."""
    while found := recording.superseded():  # with one that was taught by another that one may go, too
        for file in found:
            files.write(folder / "retired" / file.name, file.read_bytes())
            file.unlink()
            say(f"{file.name} made way for the better record of the preset laptop; it is kept in {folder / 'retired'}")


def lower_priority() -> bool:
    """Leave the processor to everybody else (``nice`` 19), also in the threads that begin from now on; False where that is not possible."""
    try:
        os.nice(19 - os.nice(0))
    except (AttributeError, OSError):  # Windows
        return False
    return True


def command(what: Sequence[str], budget: str | None, slice_length: str, *, show: bool) -> int:
    """``course reproduce``: what the words of its options ask for; returns the exit code."""
    seconds, length = clock.seconds(budget) if budget else math.inf, clock.seconds(slice_length)
    if not show:
        lower_priority()
        work(what, seconds=seconds, slice_seconds=length)
    print(table(status(what)))
    return 0
