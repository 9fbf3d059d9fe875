"""The one training loop of the course.

A method brings ``batch`` and ``step``; :func:`fit` does the rest, on Lightning Fabric, so that a laptop, one GPU and
many GPUs (``fabric run``, ``torchrun``) run the same lines. Every draw is a function of (seed, step, rank, purpose), so a
checkpoint needs no random state and a resumed run repeats the interrupted one bit for bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_lib import checkpoints, devices, project, results
from course_lib.clock import Stopwatch
from course_lib.history import History, Report, TrainingError
from course_lib.plan import Plan, learning_rate, make_optimizers, update
from course_lib.progress import Progress
from course_lib.rng import Draws
from course_lib.settings import integer, plain_entries
from course_lib.terminal import interruption

__all__ = ["History", "Method", "Plan", "TrainingError", "fit", "learning_rate"]


class Method(Protocol):
    """What a method's module has. Two more are optional, and only they may change the network: ``before_training(model, pool, settings)``,
    which gives it what it takes over from the data, such as their mean; and ``before_step(model, step, settings)``.
    """

    def prepare(self, data, settings: Plan, seed: int = 0):
        """The pool that batches are drawn from, made of a data set; it has a method ``to(device)``."""

    def batch(self, pool, draws: Draws, settings: Plan):
        """The inputs of one step, on the device, drawn from named streams; ``batch_size`` is the share of this process."""

    def step(self, model: nn.Module, batch, settings: Plan) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and detached scalars to report, always under the same names. No weight is changed."""


def fit(
    model: nn.Module, data, method: Method, plan: Plan, *, seed: int = 0, checkpoint: str | Path | None = None, resume: bool = False,
    progress: bool = True, about: Mapping[str, Any] | None = None, pause: Callable[[], bool] = lambda: False,
) -> History:  # fmt: skip
    """Train ``model`` in place and return what was reported on the way.

    Args:
        model: the network, left in evaluation mode; with the averaged weights where the plan averages.
        data: the pool that ``method.prepare`` made.
        method: a module with ``batch`` and ``step``, see :class:`Method`.
        plan: the settings of the method.
        seed: first argument of every draw.
        checkpoint: file to write every ``plan.save_every`` steps, at the end, and when interrupted.
        resume: go on from ``checkpoint`` where it exists, if it is of this run. Without, an existing one is an error.
        progress: show a progress bar?
        about: what the run is of (recipe, preset, data, hashes of weights it starts from), kept in the checkpoint.
        pause: asked after every step whether the training is to be interrupted there, to be gone on with later.

    Returns:
        The history; ``interrupted`` where Ctrl-C, the stop button, SIGTERM, SIGHUP or ``pause`` ended it: the model then is that so
        far. ``seconds`` are those of the steps alone, without those in which SIGSTOP or Ctrl-Z held the process. A run that was finished
        before is returned as it was, and its checkpoint is not written again.

    Raises:
        ValueError: for a seed or an entry of ``about`` that a file cannot keep.
        TrainingError, devices.OutOfMemoryError: for a loss that is NaN or infinite, or too little memory; the checkpoint is from before.
        checkpoints.CheckpointError: for one that is damaged, of another run, in use by another process, or that cannot be written
            at the start or the end. Where it cannot be written in between a warning tells.
    """
    seed, about = integer("seed", seed), plain_entries(about or {}, "about")
    identity = {"network": type(model).__name__, "settings": asdict(plan), "seed": seed, "about": about}
    with checkpoints.held(checkpoint):
        saved = checkpoints.read(checkpoint, type(plan), identity, resume)
        precision = saved["precision"] if saved else devices.precision(plan.precision)
        fabric = devices.fabric(precision)
        share = replace(plan, batch_size=devices.share(plan.batch_size, fabric.world_size))
        history = History(**saved["history"] if saved else {})
        getattr(method, "before_training", lambda model, pool, settings: None)(model, data, plan)
        model.to(memory_format=devices.memory_format(fabric.device)).train()
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(plan.decay)) if plan.ema else None
        network, *optimizers = fabric.setup(devices.compiled(model, plan.compile, fabric.device), *make_optimizers(model, plan))
        parts = checkpoints.Parts(model, optimizers, average.to(fabric.device) if average else None)
        start = done = parts.restore(saved)
        if saved and start >= plan.steps:  # it is finished: its checkpoint stays as it is
            parts.finish()
            return history.begin(history.device, history.precision)
        data.to(fabric.device)
        history.begin(devices.describe(fabric.device), precision)
        watch = Stopwatch()  # of the steps, not of what comes before them at every resumption
        report = Report(history, lambda at: advice(plan, at, precision, checkpoint))
        before_step = getattr(method, "before_step", lambda model, step, settings: None)
        history.begin_slice(start, commit=project.loaded_commit(), versions=results.versions(), device=history.device)

        def save(step: int, *, must: bool = True) -> None:
            report.close(step)
            history.keep(step, watch.seconds)
            parts.require_numbers(step)
            if checkpoint:
                checkpoints.write(fabric, checkpoint, parts.content(step, identity, history), must=must)

        if not saved:
            save(0)  # a folder that cannot be written to is known before the first step, not after the last
        bar = Progress(plan.steps, start, f"{type(model).__name__} on {history.device}, {precision}", progress and fabric.is_global_zero)
        with interruption() as asked, bar, devices.enough_memory(smaller(plan, checkpoint)), watch:
            for step in range(start, plan.steps):
                batch = method.batch(data, Draws(seed, step, fabric.global_rank, fabric.device), share)
                before_step(model, step, share)
                loss, values = method.step(network, batch, share)
                for optimizer in optimizers:
                    optimizer.zero_grad(set_to_none=True)
                fabric.backward(loss)
                update(optimizers, plan, step)
                if average:
                    average.update_parameters(model)
                report.add(loss, values)
                done = step + 1
                watch.tick()
                if done % plan.log_every == 0 or done == plan.steps:
                    report.close(done)
                    bar.show(done, history.last())
                if devices.agreed(fabric, asked.is_set() or pause(), ask=done % plan.log_every == 0):
                    history.interrupted, history.signal = True, asked.heed()
                    bar.show(done, bar.values)
                    break
                if done % plan.save_every == 0 and done < plan.steps:
                    save(done, must=False)
            devices.same_buffers(fabric, model)
            save(done)  # before the bar prints its last line, which may fail
        parts.finish()
        return history


def smaller(plan: Plan, checkpoint: str | Path | None) -> str:
    """What a message about too little memory advises."""
    kept = f" {checkpoint} has what was saved before." if checkpoint else ""
    return f"try a smaller batch_size (it is {plan.batch_size}) or a smaller network.{kept}"


def advice(plan: Plan, step: int, precision: str, checkpoint: str | Path | None) -> str:
    """What a message about a loss that is no number says of the step, and what to try."""
    tried = f"(learning rate {learning_rate(plan, step):.1e}, precision {precision})"
    kept = f"; {checkpoint} is from before." if checkpoint else "."
    return f"{tried}. Try a smaller learning_rate, some warmup_steps, or precision 32-true{kept}"
