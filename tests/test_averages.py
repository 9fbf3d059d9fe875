"""Averaged weights, Muon, and what a checkpoint is about: all of it survives an interruption bit for bit."""

import copy

import pytest
import torch

from course_lib import checkpoints, devices, rng
from course_lib.checkpoints import CheckpointError
from course_lib.denoising import dncnn
from course_lib.history import History, Report, TrainingError
from course_lib.plan import make_optimizers, update
from course_lib.training import fit


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    monkeypatch.setenv("COURSE_PRECISION", "32-true")


def settings(**changes):
    small = {"depth": 4, "width": 16, "patch_size": 12, "scales": (1.0,), "steps": 8, "batch_size": 3, "schedule": "cosine",
             "learning_rate": 1e-3, "log_every": 2, "save_every": 100}  # fmt: skip
    return dncnn.Settings(**{**small, **changes})


def pool(plan):
    draws = torch.Generator().manual_seed(5)
    return dncnn.prepare([torch.randint(0, 256, (1, 40, 48), dtype=torch.uint8, generator=draws)], plan)


def train(plan, path=None, stop_at=None, **options):
    """A training that a crash may end before step ``stop_at``."""

    class Method:
        step = staticmethod(dncnn.step)

        @staticmethod
        def batch(data, draws, share):
            if draws.step == stop_at:
                raise InterruptedError
            return dncnn.batch(data, draws, share)

    model = dncnn.DnCNN(plan, seed=1)
    fit(model, pool(plan), Method, plan, checkpoint=path, progress=False, **options)
    return model


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


@pytest.mark.parametrize(("steps", "ema", "decay"), [(20_000, 0.999, 0.999), (8, 0.5, 0.5), (100, 0, 0), (0, 0.9, 0.01), (2, 0.9, 0.1)])
def test_a_short_run_averages_over_less(steps, ema, decay):
    """Else the average of 1,000 steps would be the start's weights by a third."""
    plan = settings(steps=steps, ema=ema)
    assert plan.decay == pytest.approx(decay)


def test_the_average_by_a_loop(tmp_path):
    """a₁ = w₁, aₖ = βaₖ₋₁ + (1 − β)wₖ after each update; statistics of batches are the network's own."""
    plan = settings(ema=0.5)
    model, data = dncnn.DnCNN(plan, seed=1).to(memory_format=torch.channels_last).train(), pool(plan)
    optimizers, average = make_optimizers(model, plan), None
    for step in range(plan.steps):
        loss, _ = dncnn.step(model, dncnn.batch(data, rng.Draws(step=step), plan), plan)
        optimizers[0].zero_grad()
        loss.backward()
        update(optimizers, plan, step)
        now = {name: p.detach().clone() for name, p in model.named_parameters()}
        average = now if average is None else {name: 0.5 * average[name] + 0.5 * p for name, p in now.items()}
    trained = train(plan, tmp_path / "a.ckpt")
    for name, parameter in trained.named_parameters():
        assert torch.allclose(parameter, average[name], atol=1e-6), name
        assert not torch.allclose(parameter, now[name], atol=1e-6), "the average is not the last weights"
    assert same(dict(trained.named_buffers()), dict(model.named_buffers()))
    content = checkpoints.open_file(tmp_path / "a.ckpt")
    assert all(torch.equal(content["model"][name], p) for name, p in model.named_parameters()), "training goes on from these"
    loaded = dncnn.DnCNN(plan)
    checkpoints.restore(loaded, content)
    assert same(loaded.state_dict(), trained.state_dict()), "who loads the checkpoint gets the average"


@pytest.mark.parametrize("changes", [{"ema": 0.9}, {"optimizer": "muon"}, {"optimizer": "muon", "ema": 0.5, "weight_decay": 0.1},
                                     {"optimizer": "sgd", "nesterov": True, "learning_rate": 1e-5}], ids=str)  # fmt: skip
def test_an_interruption_changes_nothing(tmp_path, changes):
    plan, path = settings(save_every=3, **changes), tmp_path / "a.ckpt"
    whole = train(plan)
    with pytest.raises(InterruptedError):
        train(plan, path, stop_at=5)
    assert checkpoints.open_file(path)["step"] == 3
    resumed = train(plan, path, resume=True)
    assert same(resumed.state_dict(), whole.state_dict())
    again = train(plan, path, resume=True)  # a finished run
    assert same(again.state_dict(), whole.state_dict())


def test_muon_learns():
    plan = settings(optimizer="muon", steps=60, log_every=10, batch_size=8, learning_rate=2e-3, muon_learning_rate=0.02)
    model = dncnn.DnCNN(plan, seed=0)
    images = [(torch.arange(40)[:, None] * 4 + torch.arange(48) * 2).to(torch.uint8)[None]]
    history = fit(model, dncnn.prepare(images, plan), dncnn, plan, progress=False)
    assert history.values["loss"][-1] < 0.3 * history.values["loss"][0]


def test_an_average_that_was_altered_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    train(settings(ema=0.5), path)
    content = torch.load(path, weights_only=True)
    content["average"]["module.layers.0.bias"].add_(1e-3)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="truncated, altered"):
        checkpoints.open_file(path)


# --- what a checkpoint is about ----------------------------------------------------------------------------------------------

ABOUT = {"recipe": "a", "preset": "quick", "data": {"train": "photos"}, "needs": {"start": {"sha256": "12"}}}
OTHERS = {
    "recipe: 'a' in the checkpoint, 'b' now": {"recipe": "b"},
    "preset: 'quick' in the checkpoint, 'paper' now": {"preset": "paper"},
    r"data\.train: 'photos' in the checkpoint, 'pages' now": {"data": {"train": "pages"}},
    r"needs\.start\.sha256: '12' in the checkpoint, '34' now": {"needs": {"start": {"sha256": "34"}}},
    r"needs\.start\.sha256: '12' in the checkpoint, None now": {"needs": {}},
}


@pytest.mark.parametrize(("told", "change"), OTHERS.items(), ids=OTHERS)
def test_a_checkpoint_about_something_else_is_refused(tmp_path, told, change):
    path, plan = tmp_path / "a.ckpt", settings(steps=2)
    train(plan, path, about=ABOUT)
    assert checkpoints.open_file(path)["about"] == ABOUT
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=told):
        train(plan, path, resume=True, about=ABOUT | change)
    assert path.read_bytes() == before
    train(plan, path, resume=True, about=copy.deepcopy(ABOUT))


def test_a_setting_that_is_newer_than_the_checkpoint_is_no_difference(tmp_path):
    path, plan = tmp_path / "a.ckpt", settings(steps=2)
    trained = train(plan, path)
    content = torch.load(path, weights_only=True)
    del content["settings"]["nesterov"]
    content["settings"]["drop_at"] = 0.6  # as it was when there was one drop only
    torch.save(content, path)
    assert same(train(plan, path, resume=True).state_dict(), trained.state_dict())
    with pytest.raises(CheckpointError, match="nesterov: False in the checkpoint, True now"):
        train(settings(steps=2, nesterov=True), path, resume=True)


# --- the report --------------------------------------------------------------------------------------------------------------


def test_a_report_has_the_means_since_the_one_before():
    history = History()
    report = Report(history, lambda step: "")
    for step, loss in enumerate([1.0, 2.0, 6.0, 4.0, 5.0]):
        report.add(torch.tensor(loss), {"twice": torch.tensor(2 * loss)})
        if step in (2, 4):
            report.close(step + 1)
    assert history.steps == [3, 5] and history.values == {"loss": [3.0, 4.5], "twice": [6.0, 9.0]}
    assert history.last() == {"loss": 4.5, "twice": 9.0} and History().last() == {}
    report.close(6)  # nothing is pending
    assert history.steps == [3, 5]


def test_the_names_that_steps_report_stay_the_same():
    report = Report(History(), lambda step: "")
    report.add(torch.tensor(1.0), {"psnr": torch.tensor(2.0)})
    with pytest.raises(ValueError, match="a step reports loss, level, but the steps before reported loss, psnr"):
        report.add(torch.tensor(1.0), {"level": torch.tensor(2.0)})


def test_a_report_stops_at_the_first_loss_that_is_no_number():
    report = Report(History(), lambda step: f"advice for {step}")
    for loss in (1.0, float("nan"), float("inf")):
        report.add(torch.tensor(loss), {})
    with pytest.raises(TrainingError, match="the loss is nan in step 8 advice for 8"):
        report.close(10)
