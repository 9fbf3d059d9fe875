"""Several drops, Nesterov's momentum, and which settings of an optimiser make no sense."""

import pytest
import torch

from course_lib import muon
from course_lib.denoising import dncnn
from course_lib.plan import Plan, learning_rate, make_optimizers, update


def test_several_drops_by_one_factor_each():
    """RotNet: three drops, each to a fifth."""
    drops = {"schedule": "drop", "drop_at": (0.3, 0.6, 0.8), "learning_rate": 0.125, "final_learning_rate": 0.001}
    plan = Plan(steps=100, batch_size=1, **drops)
    rate, expected = 0.125, []
    for step in range(100):
        if step in (30, 60, 80):
            rate /= 5
        expected.append(rate)
    assert [learning_rate(plan, step) for step in range(100)] == pytest.approx(expected)
    assert learning_rate(plan, 99) == 0.001


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"drop_at": (0.6, 0.3)}, r"drop_at = \(0\.6, 0\.3\).*rising fractions"),
        ({"drop_at": ()}, "drop_at"),
        ({"drop_at": 0.6}, "drop_at"),
        ({"drop_at": (0.5, 1.5)}, "drop_at"),
        ({"schedule": "drop", "drop_at": (0.3, 0.6)}, "several drops.*final_learning_rate > 0"),
        ({"ema": 1.0}, "ema = 1.0"),
        ({"momentum": -0.1}, "momentum = -0.1"),
        ({"optimizer": "muon", "learning_rate": 0.0}, "Muon needs learning_rate > 0"),
    ],
)
def test_settings_that_make_no_sense(wrong, told):
    with pytest.raises(ValueError, match=told):
        Plan(**{"steps": 1, "batch_size": 1, **wrong})


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_by_hand(nesterov):
    """v ← μv + g; w ← w − γ(g + μv) with Nesterov, w − γv without."""
    model = torch.nn.Linear(3, 1, bias=False).double()
    plan = Plan(steps=4, batch_size=1, optimizer="sgd", learning_rate=0.1, momentum=0.7, nesterov=nesterov, schedule="cosine")
    (optimizer,) = make_optimizers(model, plan)
    weight, velocity = model.weight.detach().clone(), torch.zeros(1, 3, dtype=torch.double)
    for step in range(4):
        x = torch.arange(3.0).double() + step
        optimizer.zero_grad()
        model(x).square().sum().backward()
        gradient = 2 * (weight @ x) * x[None]
        velocity = 0.7 * velocity + gradient
        weight = weight - learning_rate(plan, step) * (gradient + 0.7 * velocity if nesterov else velocity)
        update([optimizer], plan, step)
        assert torch.allclose(model.weight.detach(), weight, rtol=1e-9)


def test_muon_has_the_hidden_kernels_and_adam_the_rest():
    model = dncnn.DnCNN(dncnn.Settings(depth=4, width=16))
    plan = Plan(steps=4, batch_size=1, optimizer="muon", learning_rate=1e-3, muon_learning_rate=0.02, schedule="cosine", warmup_steps=1)
    optimizers = make_optimizers(model, plan)
    assert [type(optimizer) for optimizer in optimizers] == [muon.Muon, torch.optim.AdamW]
    held = [{id(p) for group in optimizer.param_groups for p in group["params"]} for optimizer in optimizers]
    assert held[0] == {id(layer.weight) for layer in model.modules() if isinstance(layer, torch.nn.Conv2d) and layer.in_channels == 16
                       and layer.out_channels == 16}  # fmt: skip
    assert len(held[0]) == 2 and held[0].isdisjoint(held[1]) and len(held[0] | held[1]) == len(list(model.parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for step in range(4):
        update(optimizers, plan, step)
        rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
        assert rates == pytest.approx([20 * learning_rate(plan, step), learning_rate(plan, step)]), "one falls as the other does"


def test_muon_needs_hidden_kernels():
    with pytest.raises(ValueError, match='hidden convolutions, of which this network has none: use "adam"'):
        make_optimizers(torch.nn.Linear(3, 3), Plan(steps=1, batch_size=1, optimizer="muon"))


def test_adam_forgets_as_slowly_as_it_is_told():
    plan = Plan(steps=1, batch_size=1, beta2=0.9)
    [adam] = make_optimizers(torch.nn.Linear(2, 2), plan)
    assert adam.param_groups[0]["betas"] == (0.9, 0.9)


def test_a_late_fall_is_flat_and_then_a_squared_cosine():
    plan = Plan(steps=100, batch_size=1, schedule="late", late=0.5, learning_rate=1.0, final_learning_rate=0.1)
    rates = [learning_rate(plan, step) for step in range(100)]
    assert rates[:51] == [1.0] * 51 and rates[75] == pytest.approx(0.1 + 0.9 / 4) and 0.1 < rates[99] < 0.101
