"""The training loop: what it computes, what it reports, and what happens where something goes wrong.

Everything runs on the CPU, on networks of a few hundred weights. What needs other processes is in ``test_resume.py`` (kills)
and ``test_distributed.py``.
"""

import errno
import io
import json
import math
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from course_lib import checkpoints, clock, devices, progress, project, rng, training
from course_lib.checkpoints import CheckpointError
from course_lib.denoising import dncnn
from course_lib.history import spent
from course_lib.training import Plan, TrainingError, fit, learning_rate

HELPER = Path(__file__).with_name("helpers_training.py")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small do not gain from a second one, and wait for it where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    monkeypatch.setenv("COURSE_PRECISION", "32-true")


# --- small trainings ------------------------------------------------------------------------------------------------------


def settings(**changes) -> dncnn.Settings:
    """The published method at a size that trains in milliseconds."""
    small = {"depth": 3, "width": 8, "patch_size": 16, "scales": (1.0,), "steps": 12, "batch_size": 4, "schedule": "cosine",
             "learning_rate": 1e-3, "final_learning_rate": 0.0, "log_every": 4, "save_every": 100}  # fmt: skip
    return dncnn.Settings(**{**small, **changes})


def pool(plan: dncnn.Settings):
    draws = torch.Generator().manual_seed(5)
    return dncnn.prepare([torch.randint(0, 256, (1, 40, 48), dtype=torch.uint8, generator=draws) for _ in range(3)], plan)


def train(plan: dncnn.Settings, *, method=dncnn, seed: int = 0, **options):
    """A fresh DnCNN trained by ``fit``: (model, history)."""
    model = dncnn.DnCNN(plan, seed=1)
    history = fit(model, pool(plan), method, plan, seed=seed, **{"progress": False, **options})
    return model, history


def bare_loop(plan: dncnn.Settings, steps: int | None = None, seed: int = 0):
    """The same training in PyTorch's own words: (model, optimiser, losses)."""
    model, data = dncnn.DnCNN(plan, seed=1).to(memory_format=torch.channels_last).train(), pool(plan)
    options = {"lr": plan.learning_rate, "weight_decay": plan.weight_decay, "fused": True}
    if plan.optimizer == "adam":
        optimizer = torch.optim.AdamW(model.parameters(), **options)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, **options)
    losses = []
    for step in range(plan.steps if steps is None else steps):
        loss, _ = dncnn.step(model, dncnn.batch(data, rng.Draws(seed, step), plan), plan)
        optimizer.param_groups[0]["lr"] = learning_rate(plan, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, optimizer, losses


def watched(base=dncnn, **calls):
    """``base`` as a method whose steps know their number: ``before(step)``, ``change(step, loss) -> loss``."""
    number = []

    def batch(data, draws, plan):
        number.append(draws.step)
        return base.batch(data, draws, plan)

    def step(model, batch, plan):
        if "before" in calls:
            calls["before"](number[-1])
        loss, values = base.step(model, batch, plan)
        return (calls["change"](number[-1], loss) if "change" in calls else loss), values

    return types.SimpleNamespace(batch=batch, step=step, steps=number)


@dataclass(frozen=True, kw_only=True)
class LineSettings(Plan):
    slope: float = 2.0


class Line(nn.Module):
    """One weight and one bias, started at zero."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.weight * x + self.bias


class Nothing:
    """Data for methods that draw their batches from random numbers alone."""

    device = None

    def to(self, device):
        self.device = device
        return self


def line_batch(data, draws, plan):
    x = torch.randn(plan.batch_size, generator=draws("x"))
    return x, plan.slope * x + 1


def line_step(model, batch, plan):
    x, y = batch
    error = model(x) - y
    return error.square().mean(), {"error": error.detach().abs().mean()}


line = types.SimpleNamespace(batch=line_batch, step=line_step)


def line_plan(**changes) -> LineSettings:
    small = {"steps": 10, "batch_size": 4, "learning_rate": 0.05, "log_every": 5, "save_every": 100}
    return LineSettings(**{**small, **changes})


def same(a, b) -> bool:
    """Equal bit for bit: nested dictionaries and lists of tensors and plain values."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return a == b


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "unfinished" in path.name)


# --- the learning rate ----------------------------------------------------------------------------------------------------


def rates(plan: Plan) -> list[float]:
    return [learning_rate(plan, step) for step in range(plan.steps)]


def test_cosine_learning_rate_is_half_a_cosine():
    plan = Plan(steps=100, batch_size=1, learning_rate=0.4, final_learning_rate=0.2)
    assert learning_rate(plan, 0) == 0.4
    assert learning_rate(plan, 25) == pytest.approx(0.3 + 0.1 * math.cos(math.pi / 4))
    assert learning_rate(plan, 50) == pytest.approx(0.3)
    assert learning_rate(plan, 100) == pytest.approx(0.2)
    assert rates(plan)[-1] == pytest.approx(0.2, rel=1e-3)


def test_exponential_learning_rate_falls_by_one_factor_per_step():
    plan = Plan(steps=50, batch_size=1, schedule="exponential", learning_rate=1e-1, final_learning_rate=1e-3)
    quotients = [after / before for before, after in zip(rates(plan)[:-1], rates(plan)[1:], strict=True)]
    assert learning_rate(plan, 0) == 1e-1
    assert quotients == pytest.approx([0.01 ** (1 / 50)] * 49)
    assert learning_rate(plan, 50) == pytest.approx(1e-3)


def test_drop_learning_rate_has_two_values():
    plan = Plan(steps=50, batch_size=1, schedule="drop", drop_at=(0.6,), learning_rate=1e-3, final_learning_rate=1e-4)
    assert rates(plan) == [1e-3] * 30 + [1e-4] * 20


def test_dncnn_as_published_drops_after_30_of_50_epochs():
    plan = dncnn.Settings()
    epoch = plan.steps // 50
    assert rates(plan)[: 30 * epoch] == [1e-3] * (30 * epoch)
    assert rates(plan)[30 * epoch :] == [1e-4] * (20 * epoch)


@pytest.mark.parametrize("schedule", ["cosine", "exponential", "drop"])
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_learning_rate_rises_in_the_warm_up_and_never_after(schedule, warmup):
    plan = Plan(steps=40, batch_size=1, schedule=schedule, warmup_steps=warmup, learning_rate=0.5, final_learning_rate=0.01)
    rising, falling = rates(plan)[:warmup], rates(plan)[warmup:]
    assert rising == pytest.approx([0.5 * (i + 1) / (warmup + 1) for i in range(warmup)])
    assert falling[0] == 0.5
    assert all(before >= after for before, after in zip(falling[:-1], falling[1:], strict=True))
    assert all(0.01 <= rate <= 0.5 for rate in falling)
    assert falling[-1] < 0.05


@pytest.mark.parametrize("schedule", ["cosine", "exponential", "drop"])
def test_learning_rate_of_one_step_or_a_warm_up_longer_than_the_run(schedule):
    plan = Plan(steps=1, batch_size=1, schedule=schedule, learning_rate=0.5, final_learning_rate=0.1)
    assert rates(plan) == [0.5]
    plan = replace(plan, steps=3, warmup_steps=9)
    assert rates(plan) == pytest.approx([0.05, 0.1, 0.15])


def test_learning_rate_depends_on_nothing_but_plan_and_step():
    plan = settings(warmup_steps=3, final_learning_rate=1e-4)
    forth = rates(plan)
    assert [learning_rate(plan, step) for step in reversed(range(plan.steps))] == forth[::-1]
    assert rates(replace(plan)) == forth


# --- settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"schedule": "linear"}, r'schedule = "linear".*cosine, exponential, drop'),
        ({"optimizer": "adamw"}, r'optimizer = "adamw".*adam, sgd, muon'),
        ({"precision": "16"}, r'precision = "16".*auto, 32-true, bf16-mixed'),
        ({"steps": -1}, r"steps = -1.*at least 0"),
        ({"batch_size": 0}, r"batch_size = 0.*at least 1"),
        ({"log_every": 0}, r"log_every = 0.*at least 1"),
        ({"save_every": 0}, r"save_every = 0.*at least 1"),
        ({"warmup_steps": -1}, r"warmup_steps = -1.*at least 0"),
        ({"schedule": "exponential", "final_learning_rate": 0.0}, r"exponential.*final_learning_rate > 0"),
        ({"schedule": "exponential", "final_learning_rate": float("nan")}, r"exponential.*final_learning_rate > 0"),
    ],
)
@pytest.mark.parametrize("kind", [Plan, dncnn.Settings])
def test_wrong_settings_are_refused_by_name(kind, wrong, told):
    with pytest.raises(ValueError, match=told):
        kind(**{"steps": 1, "batch_size": 1, **wrong})


def test_unknown_settings_are_refused():
    with pytest.raises(TypeError, match="learning_rat"):
        Plan(steps=1, batch_size=1, learning_rat=1)


# --- what is computed -----------------------------------------------------------------------------------------------------


def test_fit_is_exactly_the_bare_loop():
    for plan in (settings(warmup_steps=3, weight_decay=0.1), settings(optimizer="sgd", learning_rate=1e-4, schedule="drop"),
                 settings(batch_norm=False, schedule="exponential", final_learning_rate=1e-5)):  # fmt: skip
        model, history = train(plan, seed=3)
        expected, _, losses = bare_loop(plan, seed=3)
        assert same(model.state_dict(), expected.state_dict())
        assert history.values["loss"][-1] == pytest.approx(sum(losses[8:12]) / 4, rel=1e-6)


def test_another_seed_gives_another_training():
    assert not same(train(settings(), seed=0)[0].state_dict(), train(settings(), seed=1)[0].state_dict())


def test_fit_leaves_the_global_random_state_alone_and_does_not_depend_on_it():
    plan, trained = settings(steps=3, precision="auto"), []
    for seed in (1, 2):
        model = dncnn.DnCNN(plan)
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        fit(model, pool(plan), dncnn, plan, progress=False)
        assert torch.equal(torch.get_rng_state(), state)
        trained.append(model.state_dict())
    assert same(*trained)


def test_checkpoints_logs_and_bars_do_not_change_the_training(tmp_path, capsys):
    plain, _ = train(settings())
    watched_one, _ = train(settings(log_every=1, save_every=2), checkpoint=tmp_path / "a.ckpt", progress=True)
    assert same(plain.state_dict(), watched_one.state_dict())


def test_fit_learns_to_denoise_a_photograph():
    from skimage import data as images

    photo = torch.from_numpy(images.camera()[200:328, 180:308].copy())[None]
    plan = settings(depth=4, steps=150, batch_size=8, log_every=10, learning_rate=3e-3, batch_norm=False)
    model = dncnn.DnCNN(plan, seed=0)
    history = fit(model, dncnn.prepare([photo], plan), dncnn, plan, progress=False)
    assert history.values["loss"][-1] < 0.5 * history.values["loss"][0]
    # the network that always answers 0 has a PSNR of 20 log10(255 / 25) = 20.2 dB
    assert history.values["psnr"][-1] > 20.6 > history.values["psnr"][0]


def test_fit_finds_the_line():
    model = Line()
    fit(model, Nothing(), line, line_plan(steps=300, learning_rate=0.1), progress=False)
    assert (model.weight.item(), model.bias.item()) == pytest.approx((2, 1), abs=0.01)


def test_data_are_moved_and_the_network_ends_in_evaluation_mode():
    modes, data, model = [], Nothing(), Line()
    method = watched(line, before=lambda step: modes.append(model.training))
    model.eval()
    fit(model, data, method, line_plan(steps=3), progress=False)
    assert modes == [True] * 3
    assert not model.training
    assert data.device == torch.device("cpu")


def test_no_steps_train_nothing(tmp_path):
    plan = settings(steps=0)
    model, history = train(plan, checkpoint=tmp_path / "a.ckpt")
    assert same(model.state_dict(), dncnn.DnCNN(plan, seed=1).state_dict())
    assert (history.steps, history.values, history.interrupted) == ([], {}, False)
    assert not model.training
    assert load(tmp_path / "a.ckpt")["step"] == 0


def test_the_loop_is_at_most_a_little_slower_than_the_bare_one():
    """Against the hidden costs of others: a transfer in each step, a second forward pass, a deep stack of callbacks."""
    plan = settings(steps=60, width=32, patch_size=24, log_every=20)
    train(settings(steps=3))  # imports Fabric
    ours, theirs = [], []
    for _ in range(3):  # the fastest of three: the machine may be busy with other things
        began = time.process_time()
        train(plan)
        middle = time.process_time()
        bare_loop(plan)
        ours.append(middle - began)
        theirs.append(time.process_time() - middle)
    assert min(ours) < 1.5 * min(theirs) + 0.1


# --- the history ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "log_every", "save_every", "points"),
    [
        (12, 4, 100, [4, 8, 12]),
        (11, 4, 100, [4, 8, 11]),  # the last entry is of 3 steps
        (3, 50, 500, [3]),
        (11, 4, 6, [4, 6, 8, 11]),  # a checkpoint never holds back what it has seen
        (5, 1, 100, [1, 2, 3, 4, 5]),
    ],
)
def test_history_has_the_means_of_the_steps(tmp_path, steps, log_every, save_every, points):
    losses, errors = [], []

    def step(model, batch, plan):
        loss, values = line_step(model, batch, plan)
        losses.append(loss.item())
        errors.append(values["error"].item())
        return loss, values

    plan = line_plan(steps=steps, log_every=log_every, save_every=save_every)
    method = types.SimpleNamespace(batch=line_batch, step=step)
    history = fit(Line(), Nothing(), method, plan, checkpoint=tmp_path / "a.ckpt", progress=False)
    assert history.steps == points
    assert len(losses) == steps
    for values, name in ((losses, "loss"), (errors, "error")):
        means = [sum(values[a:b]) / (b - a) for a, b in zip([0, *points[:-1]], points, strict=True)]
        assert history.values[name] == pytest.approx(means, rel=1e-5)
    assert list(history.values) == ["loss", "error"]
    assert history.precision == "32-true"
    assert history.device.startswith("CPU")
    assert history.interrupted is False
    assert 0 < history.seconds < 3600
    assert load(tmp_path / "a.ckpt")["history"] == asdict(history)


def test_a_method_may_report_nothing_but_the_loss():
    method = types.SimpleNamespace(batch=line_batch, step=lambda model, batch, plan: (line_step(model, batch, plan)[0], {}))
    history = fit(Line(), Nothing(), method, line_plan(), progress=False)
    assert list(history.values) == ["loss"]
    assert history.steps == [5, 10]


def test_values_are_moved_to_the_host_only_where_they_are_logged(monkeypatch):
    """``.item()`` or ``.cpu()`` in each step makes a GPU wait; the losses go over in one transfer for ``log_every`` steps."""
    moved = []
    for name in ("item", "tolist", "cpu", "__float__", "__bool__", "numpy"):
        original = getattr(torch.Tensor, name)

        def told(self, *args, name=name, original=original, **options):
            if sys._getframe(1).f_globals.get("__name__") in ("course_lib.training", "course_lib.history"):
                moved.append(name)
            return original(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, told)
    counts = []
    for log_every in (5, 20):
        moved.clear()
        fit(Line(), Nothing(), line, line_plan(steps=4 * log_every, log_every=log_every), progress=False)
        counts.append(sorted(moved))
    assert counts[0] == counts[1]  # four times as many steps, and no more transfers
    assert counts[0].count("cpu") == 4


# --- losses that are no numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("bad", [0, 6, 7, 8, 10])
def test_a_loss_that_is_no_number_is_named_with_its_step(tmp_path, bad, value):
    path = tmp_path / "a.ckpt"
    plan = line_plan(steps=11, log_every=4, save_every=6)
    method = watched(line, change=lambda step, loss: loss * value if step == bad else loss)
    with pytest.raises(TrainingError, match=rf"the loss is {value:g} in step {bad} .*learning_rate.*{re.escape(str(path))}"):
        fit(Line(), Nothing(), method, plan, checkpoint=path, progress=False)
    found = load(path)
    assert found["step"] == (0 if bad < 6 else 6)
    assert all(tensor.isfinite().all() for tensor in found["model"].values())
    assert all(math.isfinite(value) for value in found["history"]["values"].get("loss", []))
    assert leftovers(tmp_path) == []


def test_the_first_of_several_bad_losses_is_named():
    method = watched(line, change=lambda step, loss: loss * (float("nan") if step >= 3 else 1))
    with pytest.raises(TrainingError, match="in step 3 "):
        fit(Line(), Nothing(), method, line_plan(), progress=False)


def test_a_run_that_went_wrong_can_go_on_from_the_checkpoint_before(tmp_path):
    plan = settings(save_every=5)
    whole, _ = train(plan)
    method = watched(change=lambda step, loss: loss * float("nan") if step == 7 else loss)
    with pytest.raises(TrainingError, match="in step 7 "):
        train(plan, method=method, checkpoint=tmp_path / "a.ckpt")
    resumed, _ = train(plan, checkpoint=tmp_path / "a.ckpt", resume=True)
    assert same(resumed.state_dict(), whole.state_dict())


def nan_gradient(step, loss, bad):
    """A loss that is a number, with a gradient that is none: the root of zero."""
    return loss + (loss - loss).sqrt() if step == bad else loss


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    method = watched(line, change=lambda step, loss: nan_gradient(step, loss, bad=5))
    with pytest.raises(TrainingError, match="after step 5 weights are no longer numbers"):
        fit(Line(), Nothing(), method, line_plan(save_every=6), checkpoint=tmp_path / "a.ckpt", progress=False)
    assert load(tmp_path / "a.ckpt")["step"] == 0
    assert all(tensor.isfinite().all() for tensor in load(tmp_path / "a.ckpt")["model"].values())


def test_weights_that_are_no_numbers_are_not_returned_as_trained():
    method = watched(line, change=lambda step, loss: nan_gradient(step, loss, bad=9))
    with pytest.raises(TrainingError, match="after step 9 weights are no longer numbers"):
        fit(Line(), Nothing(), method, line_plan(), progress=False)


def test_the_learning_rate_in_the_message_is_that_of_the_bad_step():
    plan = line_plan(steps=10, log_every=10, schedule="drop", drop_at=(0.5,), learning_rate=0.05, final_learning_rate=0.001)
    method = watched(line, change=lambda step, loss: loss * (float("nan") if step == 2 else 1))
    with pytest.raises(TrainingError, match=r"learning rate 5\.0e-02"):
        fit(Line(), Nothing(), method, plan, progress=False)


# --- checkpoints ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_holds_everything_and_opens_without_running_code(tmp_path):
    plan = settings()
    model, history = train(plan, seed=4, checkpoint=tmp_path / "new" / "folder" / "a.ckpt")
    _, optimizer, _ = bare_loop(plan, seed=4)
    found = load(tmp_path / "new" / "folder" / "a.ckpt")
    assert same(found["model"], model.state_dict())
    assert same(found["optimizer"][0]["state"], optimizer.state_dict()["state"])
    assert (found["network"], found["step"], found["seed"], found["precision"]) == ("DnCNN", 12, 4, "32-true")
    assert found["settings"] == asdict(plan)
    assert found["history"] == asdict(history)
    assert re.fullmatch("[0-9a-f]{16}", found["source_hash"])
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["a.ckpt"]


def test_checkpoints_are_written_when_the_plan_says_so(tmp_path, monkeypatch):
    written = []
    original = checkpoints.write

    def write(fabric, path, content, **options):
        written.append(content["step"])
        original(fabric, path, content, **options)

    monkeypatch.setattr(checkpoints, "write", write)
    train(settings(steps=10, save_every=5), checkpoint=tmp_path / "a.ckpt")
    assert written == [0, 5, 10]
    written.clear()
    train(settings(steps=10, save_every=4), checkpoint=str(tmp_path / "b.ckpt"))
    assert written == [0, 4, 8, 10]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_run_equals_one_that_was_not_interrupted(tmp_path, optimizer):
    plan = settings(steps=15, save_every=5, optimizer=optimizer, learning_rate=1e-4, warmup_steps=2)
    whole, history = train(plan, checkpoint=tmp_path / "whole.ckpt")

    def stop(step):
        if step == 3:
            time.sleep(0.5)
        if step == 12:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(plan, method=watched(before=stop), checkpoint=tmp_path / "a.ckpt")
    assert load(tmp_path / "a.ckpt")["step"] == 10
    seconds = load(tmp_path / "a.ckpt")["history"]["seconds"]
    method = watched()
    resumed, again = train(plan, method=method, checkpoint=tmp_path / "a.ckpt", resume=True)
    assert method.steps == [10, 11, 12, 13, 14]
    assert same(resumed.state_dict(), whole.state_dict())
    assert (again.steps, again.values) == (history.steps, history.values)
    assert again.seconds > seconds > 0.5  # of both attempts
    first, second = load(tmp_path / "whole.ckpt"), load(tmp_path / "a.ckpt")
    assert same(first["optimizer"], second["optimizer"])


def test_the_time_of_a_run_is_that_of_its_steps(tmp_path, monkeypatch):
    """Not what comes before them, such as loading Fabric, nor what a resumption of a finished run does."""
    lost, clocked = [0.0], time.perf_counter
    monkeypatch.setattr(clock.time, "perf_counter", lambda: clocked() + lost[0])
    setup = checkpoints.Parts

    def slow(*parts):
        lost[0] += 1000
        return setup(*parts)

    monkeypatch.setattr(checkpoints, "Parts", slow)
    plan, file = settings(steps=4, save_every=2), tmp_path / "a.ckpt"
    _, whole = train(plan, checkpoint=file)
    assert 0 < whole.seconds < 500 and whole.slices[0]["seconds"] == whole.seconds
    content = file.read_bytes()
    monkeypatch.setattr(project, "source_hash", lambda: "of other code")
    resumed, again = train(plan, checkpoint=file, resume=True)
    assert file.read_bytes() == content, "what trained nothing writes nothing"
    assert (again.seconds, again.slices, again.device) == (whole.seconds, whole.slices, whole.device) and not resumed.training


def test_a_slice_of_which_nothing_was_kept_leaves_no_time_behind():
    history = training.History()
    history.begin_slice(0)
    history.keep(5, 2.0)
    history.begin_slice(5)
    history.keep(5, 100.0)
    history.begin_slice(5)
    history.keep(8, 1.0)
    assert history.seconds == 3.0 and [one["seconds"] for one in history.slices] == [2.0, 1.0]
    old = asdict(history) | {"seconds": 103.0}
    old["slices"].insert(1, {"first_step": 5, "last_step": 5, "seconds": 100.0})
    assert spent(old, 8) == 3.0
    assert spent({"seconds": 5.0, "slices": old["slices"][2:]}, 8) == 5.0, "of the first steps nothing is known but the sum"
    assert spent({"seconds": 5.0}, 8) == 5.0


def test_a_history_of_another_version_is_refused(tmp_path):
    train(settings(steps=2), checkpoint=tmp_path / "a.ckpt")
    content = load(tmp_path / "a.ckpt")
    content["history"]["mood"] = "good"
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(checkpoints.CheckpointError, match="its history has mood, of which this version of course_lib knows nothing"):
        train(settings(steps=2), checkpoint=tmp_path / "a.ckpt", resume=True)


def test_resuming_overwrites_whatever_the_new_network_was(tmp_path):
    plan = settings()
    trained, history = train(plan, checkpoint=tmp_path / "a.ckpt")
    other = dncnn.DnCNN(plan, seed=99)
    again = fit(other, pool(plan), dncnn, plan, checkpoint=tmp_path / "a.ckpt", resume=True, progress=False)
    assert same(other.state_dict(), trained.state_dict())
    assert not other.training
    assert (again.steps, again.values) == (history.steps, history.values)


def test_resuming_without_a_checkpoint_starts_one(tmp_path):
    model, _ = train(settings(), checkpoint=tmp_path / "a.ckpt", resume=True)
    assert same(model.state_dict(), train(settings())[0].state_dict())
    assert (tmp_path / "a.ckpt").exists()


def test_an_existing_checkpoint_is_not_trained_over(tmp_path):
    path = tmp_path / "a.ckpt"
    train(settings(), checkpoint=path)
    before, method = path.read_bytes(), watched()
    with pytest.raises(CheckpointError, match=r"a\.ckpt exists already, with \d+ steps: resume"):
        train(settings(), method=method, checkpoint=path)
    assert method.steps == []
    assert path.read_bytes() == before


def test_a_checkpoint_from_before_the_first_step_is_trained_over(tmp_path):
    """As a run leaves it that stopped at once: nothing is lost."""
    path = tmp_path / "a.ckpt"
    train(replace(settings(), steps=0), checkpoint=path)
    train(settings(), checkpoint=path)
    assert checkpoints.open_file(path)["step"] == settings().steps


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no file .*nope\.ckpt"):
        checkpoints.open_file(tmp_path / "nope.ckpt")


def refused(path: Path, told: str, plan=None, **options):
    """Assert that resuming from ``path`` raises ``told`` before any step and leaves the file as it is."""
    before, method = path.read_bytes(), watched()
    with pytest.raises(CheckpointError, match=told):
        train(plan or settings(), method=method, checkpoint=path, resume=True, **options)
    assert method.steps == []
    assert path.read_bytes() == before
    assert leftovers(path.parent) == []


def test_checkpoints_of_other_runs_are_refused_by_name(tmp_path):
    path = tmp_path / "a.ckpt"
    train(settings(), checkpoint=path)
    refused(path, r"another run \(seed: 0 in the checkpoint, 7 now\)", seed=7)
    refused(path, r"another run \(learning_rate: 0\.001 in the checkpoint, 0\.002 now\)", settings(learning_rate=2e-3))
    refused(path, r"depth: 3 in the checkpoint, 4 now", settings(depth=4))
    refused(path, r"steps: 12 in the checkpoint, 13 now", settings(steps=13))
    refused(path, r"scales: .*1\.0.* in the checkpoint, .*0\.5.* now", settings(scales=(1.0, 0.5)))
    refused(path, r"batch_size: 4 .*; .*width: 8 ", settings(batch_size=2, width=4))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"network: 'DnCNN' in the checkpoint, 'Line' now"):
        fit(Line(), Nothing(), line, line_plan(), checkpoint=path, resume=True, progress=False)
    assert path.read_bytes() == before


def test_a_checkpoint_of_another_architecture_under_the_same_settings_is_refused(tmp_path):
    path, plan = tmp_path / "a.ckpt", settings()
    train(plan, checkpoint=path)
    before = path.read_bytes()
    for other in (settings(depth=4), settings(width=4), settings(batch_norm=False)):
        with pytest.raises(CheckpointError, match=r"(?s)another architecture.*layers\.\d"):
            fit(dncnn.DnCNN(other), pool(plan), dncnn, plan, checkpoint=path, resume=True, progress=False)
        assert path.read_bytes() == before


def test_a_truncated_checkpoint_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    train(settings(), checkpoint=path)
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "truncated, altered or not a checkpoint")
    path.write_bytes(whole)
    train(settings(), checkpoint=path, resume=True)  # the whole file is fine


def test_flipped_bytes_in_the_tensors_are_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    train(settings(), checkpoint=path)
    whole, found = path.read_bytes(), load(path)
    tensors = [*found["model"].values(), *(t for state in found["optimizer"][0]["state"].values() for t in state.values())]
    places = [whole.index(bytes(tensor.untyped_storage().tolist())) for tensor in tensors if tensor.numel() >= 8]
    assert len(places) > 10
    for place in [places[0], places[len(places) // 2] + 5, places[-1] + 31, whole.index(b"learning_rate")]:
        changed = bytearray(whole)
        changed[place] ^= 0x40
        path.write_bytes(changed)
        refused(path, "truncated, altered or not a checkpoint")


def test_tensors_that_were_changed_and_saved_again_are_refused(tmp_path):
    """All sums of the file are right then; the checkpoint has one of its own."""
    path = tmp_path / "a.ckpt"
    train(settings(), checkpoint=path)
    for change in (lambda c: c["model"]["layers.0.weight"][0, 0, 0, 0].add_(1e-3),
                   lambda c: c["optimizer"][0]["state"][1]["exp_avg"].zero_(),
                   lambda c: c["model"].popitem()):  # fmt: skip
        content = load(path)
        change(content)
        torch.save(content, other := tmp_path / "other.ckpt")
        refused(other, "truncated, altered or not a checkpoint")


def outcomes(path: Path, plan, places) -> dict[str, list[int]]:
    """For each place the outcome of reading the checkpoint at ``path`` with one bit flipped there, and its places."""
    whole = path.read_bytes()
    identity = {"network": "DnCNN", "settings": asdict(plan), "seed": 0, "about": {}}
    expected = checkpoints.read(path, type(plan), identity, True)
    found: dict[str, list[int]] = {}
    for place in places:
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            outcome = "same" if same(checkpoints.read(path, type(plan), identity, True), expected) else "other"
        except CheckpointError:
            outcome = "refused"
        except Exception as error:
            outcome = type(error).__name__
        found.setdefault(outcome, []).append(place)
    path.write_bytes(whole)
    return found


def test_flipped_bits_before_the_directory_of_the_file_are_refused_or_harmless(tmp_path):
    path, plan = tmp_path / "a.ckpt", settings(steps=2, width=4)
    train(plan, checkpoint=path)
    end = path.read_bytes().index(b"PK\x01\x02") * 8
    found = outcomes(path, plan, random.Random(1).sample(range(end), 300))
    assert set(found) <= {"refused", "same"}, {kind: places[:3] for kind, places in found.items()}
    assert len(found["refused"]) > 100


def test_flipped_bits_in_the_directory_of_the_file_are_refused_or_harmless(tmp_path):
    path, plan = tmp_path / "a.ckpt", settings(steps=2, width=4)
    train(plan, checkpoint=path)
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02") * 8
    names = [(whole.index(b"archive/data.pkl", start // 8) + 2) * 8 + 7]  # a byte that UTF-8 does not have alone
    attributes = [match.start() * 8 + 38 * 8 + 4 for match in re.finditer(b"PK\x01\x02", whole)]  # DOS: "is a directory"
    found = outcomes(path, plan, [*names, *attributes, *random.Random(1).sample(range(start, len(whole) * 8), 200)])
    assert set(found) <= {"refused", "same"}, {kind: places[:3] for kind, places in found.items()}


def test_other_files_are_no_checkpoints(tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_text("my thesis")
    refused(path, "not a checkpoint of the course")
    for content in ({"weights": torch.zeros(3)}, torch.zeros(3), [1, 2], 5):
        torch.save(content, path)
        refused(path, "not a checkpoint of the course")
    torch.save({"step": types.SimpleNamespace()}, path)  # a pickle that would run code
    refused(path, "not a checkpoint of the course")
    with pytest.raises(CheckpointError, match="is a folder, not a file: give the path of a file"):
        train(settings(), checkpoint=tmp_path, resume=True)


# --- disks that are full, places that cannot be written -------------------------------------------------------------------


@contextmanager
def largest_file(size: int):
    """The operating system lets this process write no file longer than ``size`` bytes: a disk as full as can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def limits():
    """Set and lift the limit in the middle of a run; lifted in any case at the end of the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_is_a_warning_and_costs_one_checkpoint(tmp_path, limits):
    path, plan, seen = tmp_path / "a.ckpt", settings(steps=12, save_every=3), {}

    def disk(step):  # checkpoints after 3, 6, 9 steps and at the end: the one after 6 fails
        seen[step] = (load(path)["step"], leftovers(tmp_path))
        if step in (4, 8):
            limits(2000 if step == 4 else None)

    with pytest.warns(UserWarning, match=r"a\.ckpt could not be written .*Training goes on") as told:
        model, _ = train(plan, method=watched(before=disk), checkpoint=path)
    assert len([w for w in told if "could not be written" in str(w.message)]) == 1
    assert seen[5] == (3, [])
    assert seen[6] == seen[8] == (3, [])  # the last good one, and nothing beside it
    assert seen[9] == (9, [])  # the next saving works again
    assert load(path)["step"] == 12
    assert leftovers(tmp_path) == []
    assert same(model.state_dict(), train(plan)[0].state_dict())


def test_a_run_goes_on_from_the_checkpoint_before_the_disk_was_full(tmp_path, limits):
    path, plan = tmp_path / "a.ckpt", settings(steps=12, save_every=3)
    with pytest.warns(UserWarning, match="could not be written"), pytest.raises(CheckpointError, match="could not be written"):
        train(plan, method=watched(before=lambda step: limits(2000) if step == 4 else None), checkpoint=path)
    limits(None)
    assert load(path)["step"] == 3
    assert leftovers(tmp_path) == []
    resumed, _ = train(plan, checkpoint=path, resume=True)
    assert same(resumed.state_dict(), train(plan)[0].state_dict())


def test_a_disk_full_at_the_start_is_an_error_before_any_step(tmp_path):
    method = watched()
    with largest_file(2000), pytest.raises(CheckpointError, match=r"a\.ckpt could not be written"):
        train(settings(), method=method, checkpoint=tmp_path / "a.ckpt")
    assert method.steps == []
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_disk_are_named_in_the_message(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="No space left on device"):
            patch.setattr(os, call, full)
            train(settings(), checkpoint=tmp_path / "a.ckpt")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_a_real_disk_that_fills_up(tmp_path):
    """A file system of 200 kB, in a mount namespace of the child's own, filled up in the midst of a run and then cleared."""
    (disk := tmp_path / "disk").mkdir()
    mount = "mount -t tmpfs -o size=200k tmpfs " + str(disk)
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount file systems, not even in a namespace of their own")
    done = child("full-disk", tmp_path, folder=disk, before=["unshare", "-rm", "sh", "-c", mount + ' && exec "$0" "$@"'])
    assert done["free_when_full"] < 4096
    assert done["steps_on_disk"] == {"5": 3, "6": 3, "8": 3, "9": 9}
    assert done["leftovers"] == []
    assert len(done["warned"]) == 1
    assert "No space left on device" in done["warned"][0]
    assert done["last"] == 12


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_place_that_cannot_be_written_is_an_error_before_any_step():
    method = watched()
    with pytest.raises(CheckpointError, match=r"/proc/nowhere/a\.ckpt could not be written"):
        train(settings(), method=method, checkpoint="/proc/nowhere/a.ckpt")
    assert method.steps == []


@pytest.mark.parametrize("resume", [False, True])
def test_a_place_below_a_file_is_an_error_before_any_step(tmp_path, resume):
    method = watched()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match=r"a\.ckpt could not be written"):
        train(settings(), method=method, checkpoint=tmp_path / "file" / "a.ckpt", resume=resume)
    assert method.steps == []
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error_before_any_step(tmp_path):
    method = watched()
    (folder := tmp_path / "mine").mkdir()
    folder.chmod(0o500)
    with pytest.raises(CheckpointError, match=r"a\.ckpt could not be written"):
        train(settings(), method=method, checkpoint=folder / "a.ckpt")
    folder.chmod(0o700)
    assert method.steps == []


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------------


def interrupt_at(*steps):
    def before(step):
        for _ in range(steps.count(step)):
            signal.raise_signal(signal.SIGINT)

    return watched(before=before)


def test_an_interrupt_ends_after_a_whole_update_and_the_run_can_go_on(tmp_path):
    path, plan = tmp_path / "a.ckpt", settings(steps=12, log_every=4)
    handler = signal.getsignal(signal.SIGINT)
    model, history = train(plan, method=interrupt_at(5), checkpoint=path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert history.interrupted
    assert not model.training
    expected, optimizer, losses = bare_loop(plan, steps=6)
    assert same(model.state_dict(), expected.state_dict())  # six whole updates, all layers
    found = load(path)
    assert (found["step"], found["history"]["interrupted"]) == (6, True)
    assert same(found["model"], expected.state_dict())
    assert same(found["optimizer"][0]["state"], optimizer.state_dict()["state"])
    assert history.steps == [4, 6]
    assert history.values["loss"] == pytest.approx([sum(losses[:4]) / 4, sum(losses[4:]) / 2], rel=1e-5)

    resumed, history = train(plan, checkpoint=path, resume=True)
    assert same(resumed.state_dict(), train(plan)[0].state_dict())
    assert not history.interrupted
    assert not load(path)["history"]["interrupted"]
    assert history.steps == [4, 6, 8, 12]


@pytest.mark.parametrize("step", [0, 3, 11])
def test_an_interrupt_in_the_first_step_at_a_saving_and_in_the_last(tmp_path, step):
    path, plan = tmp_path / "a.ckpt", settings(steps=12, save_every=4)
    _, history = train(plan, method=interrupt_at(step), checkpoint=path)
    assert history.interrupted
    assert load(path)["step"] == step + 1
    resumed, _ = train(plan, checkpoint=path, resume=True)
    assert same(resumed.state_dict(), train(plan)[0].state_dict())


def test_an_interrupted_run_without_a_checkpoint_returns_what_it_has():
    model, history = train(settings(), method=interrupt_at(2))
    assert history.interrupted
    assert same(model.state_dict(), bare_loop(settings(), steps=3)[0].state_dict())


def test_a_second_interrupt_stops_at_once(tmp_path):
    path, handler = tmp_path / "a.ckpt", signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(settings(save_every=4), method=interrupt_at(6, 6), checkpoint=path)
    assert signal.getsignal(signal.SIGINT) is handler
    assert load(path)["step"] == 4


def test_the_handler_is_restored_after_every_end():
    def own(signum, frame):
        pass

    before = signal.signal(signal.SIGINT, own)
    try:
        train(settings(steps=2))
        assert signal.getsignal(signal.SIGINT) is own
        with pytest.raises(TrainingError):
            train(settings(steps=2), method=watched(change=lambda step, loss: loss * float("nan")))
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_fit_works_in_a_thread_that_may_not_set_handlers():
    found, handler = [], signal.getsignal(signal.SIGINT)

    def work():
        torch.set_num_threads(1)  # a thread has a number of its own
        found.append(train(settings(steps=3))[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler
    assert same(found[0].state_dict(), train(settings(steps=3))[0].state_dict())


def child(mode: str, tmp_path: Path, folder: Path | None = None, interrupt=None, before=()):
    """Run the helper in another process and return what it reports; ``interrupt(process)`` is called once it trains."""
    environment = {**os.environ, "COURSE_PRECISION": "32-true", "PYTHONPATH": str(Path(training.__file__).parents[1])}
    ready = tmp_path / "ready"
    command = [*before, sys.executable, str(HELPER), mode, str(folder or tmp_path), str(ready), str(tmp_path / "report.json")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        limit = time.monotonic() + 300
        while interrupt and not ready.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        if interrupt:
            interrupt(process)
        out, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    report = tmp_path / "report.json"
    assert report.exists(), f"exit status {process.returncode}\n{out}\n{errors}"
    return {**json.loads(report.read_text()), "out": out, "errors": errors, "status": process.returncode}


def test_ctrl_c_from_outside(tmp_path):
    """SIGINT to another process at an arbitrary moment; that process then resumes, and trains without interruption."""
    done = child("interrupted", tmp_path, interrupt=lambda process: process.send_signal(signal.SIGINT))
    assert done["status"] == 0
    assert done["interrupted"] is True
    assert 0 < done["stopped_at"] < done["steps"]
    assert done["updates"] == [done["stopped_at"]]  # of each layer
    assert done["resumed_equals_whole"] is True
    assert done["history_without_the_extra_entry_equals"] is True
    lines = done["out"].splitlines()  # three trainings, three finished lines
    assert len(lines) == 3
    assert f" of {done['steps']} steps" in lines[0]
    assert all(f": {done['steps']} of {done['steps']} steps" in line for line in lines[1:])
    assert done["errors"] == ""


def test_ctrl_c_twice_from_outside(tmp_path):
    def twice(process):
        process.send_signal(signal.SIGINT)
        limit = time.monotonic() + 60
        while not (tmp_path / "ready.1").exists() and time.monotonic() < limit:  # the first one has arrived
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)

    done = child("stuck", tmp_path, interrupt=twice)
    assert done["ended_by"] == "KeyboardInterrupt"
    assert done["on_disk"] == 0


# --- progress -------------------------------------------------------------------------------------------------------------


def test_outside_a_terminal_progress_is_one_finished_line(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(settings(), progress=True)
    out, errors = capsys.readouterr()
    number = r"-?\d[\d.e+-]*"
    assert errors == ""
    assert re.fullmatch(
        rf"DnCNN on CPU, \d+ threads, 32-true: 12 of 12 steps in {number} s, {number} steps/s, loss {number}, psnr {number}\n", out
    )


def test_progress_false_prints_nothing(capsys):
    train(settings(), progress=False)
    assert capsys.readouterr() == ("", "")


def test_the_finished_line_tells_how_far_an_interrupted_and_a_failed_run_came(tmp_path, capsys):
    train(settings(), method=interrupt_at(4), checkpoint=tmp_path / "a.ckpt", progress=True)
    out, errors = capsys.readouterr()
    assert errors == ""
    assert out.count("\n") == 1
    with pytest.raises(TrainingError):
        train(settings(), method=watched(change=lambda step, loss: loss * (1 if step < 6 else float("nan"))), progress=True)
    out, errors = capsys.readouterr()
    assert errors == ""
    assert out.count("\n") == 1
    assert ": 4 of 12 steps" in out


def test_the_finished_line_counts_the_steps_since_the_last_log(capsys):
    train(settings(log_every=4), method=interrupt_at(5), progress=True)
    assert ": 6 of 12 steps" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_the_bar_moves_and_then_gives_way_to_the_finished_line(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    train(settings(log_every=1), progress=True, method=watched(before=lambda step: time.sleep(0.02)))
    out = capsys.readouterr().out
    states = terminal.getvalue().split("\r")
    assert any("0/12" in state for state in states)
    assert any(re.search(r"\b[1-9]\d?/12 .*loss", state) for state in states)
    assert states[-1].strip() == ""  # wiped
    assert out.count("\n") == 1
    assert "12 of 12 steps" in out


class Display:
    """What a notebook does with ``IPython.display.display(..., display_id=True)``."""

    def __init__(self):
        self.shown: list[list[str]] = []

    def __call__(self, content, raw=False, display_id=None):
        assert raw and display_id
        states = [content["text/plain"]]
        self.shown.append(states)

        def update(content, raw=False):
            assert raw
            states.append(content["text/plain"])

        return types.SimpleNamespace(update=update)


@pytest.fixture
def notebook(monkeypatch):
    import IPython.display

    display = Display()
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    return display


def test_in_a_notebook_one_display_is_updated_and_ends_as_the_finished_line(notebook, capsys):
    train(settings(log_every=1), progress=True, method=watched(before=lambda step: time.sleep(0.02)))
    assert capsys.readouterr() == ("", "")
    (states,) = notebook.shown
    assert len(states) > 3
    assert any(re.search(r"\b[1-9]\d?/12 .*loss", state) for state in states)
    assert re.fullmatch(r"DnCNN on CPU.*: 12 of 12 steps in .* s, .* steps/s, loss .*, psnr .*", states[-1])
    assert not any("12 of 12" in state for state in states[:-1])
    train(settings(), progress=True)  # a second training has a display of its own
    assert len(notebook.shown) == 2
    assert len(states) == len(notebook.shown[0])


def test_in_a_notebook_a_failed_run_ends_as_a_finished_line_too(notebook, capsys):
    with pytest.raises(TrainingError):
        train(settings(), method=watched(change=lambda step, loss: loss * (1 if step < 6 else float("nan"))), progress=True)
    assert capsys.readouterr() == ("", "")
    assert ": 4 of 12 steps in " in notebook.shown[0][-1]


def test_a_notebook_is_told_from_a_terminal(monkeypatch):
    kernel, shell = types.SimpleNamespace(kernel=1), types.SimpleNamespace()
    for there, answer in ((kernel, True), (shell, False), (None, False)):
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda there=there: there))
        assert progress.in_notebook() is answer
    monkeypatch.delitem(sys.modules, "IPython")
    assert progress.in_notebook() is False


# --- precision ------------------------------------------------------------------------------------------------------------


def test_course_precision_pins_what_auto_means(monkeypatch, tmp_path):
    plain, _ = train(settings())
    monkeypatch.setenv("COURSE_PRECISION", "bf16-mixed")
    mixed, history = train(settings(), checkpoint=tmp_path / "a.ckpt")
    assert history.precision == load(tmp_path / "a.ckpt")["precision"] == "bf16-mixed"
    assert not same(mixed.state_dict(), plain.state_dict())
    for a, b in zip(mixed.parameters(), plain.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert torch.allclose(a, b, atol=0.02)
    again, history = train(settings(precision="32-true"))  # a plan that says which is not overruled
    assert history.precision == "32-true"
    assert same(again.state_dict(), plain.state_dict())


def test_mixed_precision_is_autocast_to_bfloat16():
    seen = []

    class Told(dncnn.DnCNN):
        def forward(self, noisy):
            residual = self.layers(noisy)
            seen.append(residual.dtype)
            return residual.float()

    for precision in ("bf16-mixed", "32-true"):
        plan = settings(steps=1, precision=precision)
        fit(Told(plan), pool(plan), dncnn, plan, progress=False)
    assert seen == [torch.bfloat16, torch.float32]


def test_a_wrong_course_precision_is_an_error_before_anything_is_written(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_PRECISION", "16")
    method = watched()
    with pytest.raises(ValueError, match=r'precision "16" is unknown: use 32-true or bf16-mixed'):
        train(settings(), method=method, checkpoint=tmp_path / "a.ckpt")
    assert method.steps == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("first", "second"), [("bf16-mixed", "32-true"), ("32-true", "bf16-mixed")])
def test_a_resumed_run_keeps_the_precision_that_it_began_with(monkeypatch, tmp_path, first, second):
    monkeypatch.setenv("COURSE_PRECISION", first)
    whole, _ = train(settings())
    train(settings(), method=interrupt_at(5), checkpoint=tmp_path / "a.ckpt")
    monkeypatch.setenv("COURSE_PRECISION", second)
    resumed, history = train(settings(), checkpoint=tmp_path / "a.ckpt", resume=True)
    assert history.precision == load(tmp_path / "a.ckpt")["precision"] == first
    assert same(resumed.state_dict(), whole.state_dict())


@pytest.mark.parametrize("variable", [None, "", "auto"])
def test_auto_takes_what_the_probe_finds(monkeypatch, variable):
    monkeypatch.delenv("COURSE_PRECISION")
    if variable is not None:
        monkeypatch.setenv("COURSE_PRECISION", variable)
    for found in devices.PRECISIONS:
        monkeypatch.setattr(devices, "faster_precision", lambda device, found=found: found)
        assert devices.precision("auto") == found
        assert devices.precision("32-true") == "32-true"


def test_several_processes_agree_without_a_probe(monkeypatch):
    def probe(device):
        raise AssertionError("timings may differ from process to process")

    monkeypatch.delenv("COURSE_PRECISION")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(devices, "faster_precision", probe)
    assert devices.precision("auto") in devices.PRECISIONS


def test_the_probe_answers_quickly_and_always_the_same():
    began = time.process_time()
    first = devices.faster_precision(torch.device("cpu"))
    assert first in devices.PRECISIONS
    assert time.process_time() - began < 10
    assert devices.faster_precision(torch.device("cpu")) == first
    assert devices.faster_precision(torch.device("mps")) == "32-true"


@pytest.mark.parametrize("units", [True, False])
def test_a_gpu_is_asked_and_not_timed(monkeypatch, units):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: units)
    monkeypatch.setattr(devices.F, "conv2d", lambda *args, **options: pytest.fail("beside other work its time is that of waiting"))
    assert devices.faster_precision.__wrapped__(torch.device("cuda")) == ("bf16-mixed" if units else "32-true")


# --- compiling ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch):
    """``torch.compile`` with a backend that traces the network and runs the trace as it is: quick, and the same sums."""
    import lightning_fabric  # noqa: F401  it wraps torch.compile when it is imported

    calls, graphs, original = [], [], torch.compile

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compile_(model, **options):
        calls.append(options)
        return original(model, **{**options, "backend": backend})

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(devices, "no_compiler", lambda kind: "")  # this backend needs none
    torch.compiler.reset()
    yield types.SimpleNamespace(calls=calls, graphs=graphs)
    torch.compiler.reset()


def test_compiling_traces_one_whole_graph_and_changes_nothing(eager, tmp_path):
    plan, path = settings(steps=6, save_every=2), tmp_path / "a.ckpt"
    plain, _ = train(plan)
    assert eager.calls == []  # not on a CPU unless asked for
    plan = replace(plan, compile=True)
    compiled, history = train(plan, checkpoint=path)
    assert eager.calls
    assert all(options["fullgraph"] and options["dynamic"] is False for options in eager.calls)
    assert len(eager.graphs) == 1  # one graph for all steps
    assert same(compiled.state_dict(), plain.state_dict())
    assert list(load(path)["model"]) == list(dncnn.DnCNN(plan).state_dict())
    assert not any("_orig_mod" in key for key in load(path)["model"])
    assert history.steps == [2, 4, 6]


def test_a_compiled_run_resumes(eager, tmp_path):
    plan, path = settings(steps=6, compile=True), tmp_path / "a.ckpt"
    train(plan, method=interrupt_at(2), checkpoint=path)
    resumed, _ = train(plan, checkpoint=path, resume=True)
    assert same(resumed.state_dict(), train(replace(plan, compile=None))[0].state_dict())


def test_a_network_that_cannot_be_one_graph_is_an_error(eager):
    class Broken(Line):
        def forward(self, x):
            torch._dynamo.graph_break()
            return super().forward(x)

    with pytest.raises(torch._dynamo.exc.Unsupported):
        fit(Broken(), Nothing(), line, line_plan(compile=True), progress=False)
