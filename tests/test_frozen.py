"""A frozen network inside a training: held, used, and neither trained, saved nor changed."""

import copy
import types
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from course_lib import checkpoints, devices, training
from course_lib.frozen import Frozen
from course_lib.training import Plan, fit


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    monkeypatch.setenv("COURSE_PRECISION", "32-true")


def teacher(seed=0):
    """With batch normalisation and dropout, which behave otherwise while training."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 1, 3, padding=1))


class Student(nn.Module):
    """One layer, and behind it a network that is not its own."""

    def __init__(self, held: nn.Module):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)
        self.teacher = Frozen(held)

    def forward(self, images):
        return self.teacher(self.layer(images))


@dataclass(frozen=True, kw_only=True)
class Settings(Plan):
    side: int = 8


class Nothing:
    def to(self, device):
        return self


def batch(pool, draws, settings):
    return torch.randn(settings.batch_size, 1, settings.side, settings.side, generator=draws("images"))


def step(model, batch, settings):
    loss = (model(batch) - batch).square().mean()
    return loss, {"half": loss.detach() / 2}


METHOD = types.SimpleNamespace(batch=batch, step=step)
PLAN = Settings(steps=6, batch_size=4, learning_rate=1e-2, log_every=2, save_every=3)


def test_training_changes_the_owner_only(tmp_path):
    held = teacher()
    before = copy.deepcopy(held.state_dict())
    model = Student(held)
    start = model.layer.weight.detach().clone()
    fit(model, Nothing(), METHOD, PLAN, checkpoint=tmp_path / "a.ckpt", progress=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in held.state_dict().items()), "nor are its statistics"
    assert not torch.equal(model.layer.weight, start)
    assert list(checkpoints.open_file(tmp_path / "a.ckpt")["model"]) == list(model.state_dict()) == ["layer.weight", "layer.bias"]
    assert len(list(model.parameters())) == 2 and len(list(model.buffers())) == 0
    Student(teacher(1)).load_state_dict(model.state_dict())  # strict: nothing of the teacher is missing


def test_it_stays_in_evaluation_mode():
    model = Student(teacher())
    model.train()
    assert model.training and not model.teacher.network.training and not model.teacher.network[1].training
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(model.teacher(images), model.teacher(images)), "no dropout, no statistics of the batch"


def test_the_gradient_passes_through_it():
    held = teacher()
    images = torch.randn(2, 1, 8, 8, requires_grad=True)
    Frozen(copy.deepcopy(held))(images).square().sum().backward()
    found, images.grad = images.grad, None
    held.eval()(images).square().sum().backward()
    assert torch.equal(found, images.grad) and found.abs().max() > 0
    assert all(p.grad is None for p in Frozen(teacher()).network.parameters())


def test_it_moves_with_its_owner_and_is_shared_by_copies():
    model = Student(teacher())
    twin = copy.deepcopy(model)
    assert twin.teacher.network is model.teacher.network and twin.layer is not model.layer
    model.double()
    assert {p.dtype for p in model.teacher.network.parameters()} == {torch.double}
    assert model.to("meta").teacher.network[0].weight.device.type == "meta"


def test_it_is_part_of_one_graph():
    torch._dynamo.reset()
    counter, model = CompileCounter(), Student(teacher())
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend=counter)
    model.train()
    for seed in range(3):
        images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
        assert torch.allclose(compiled(images), model(images), atol=1e-6)
        compiled(images).sum().backward()
    assert counter.frame_count == 1
    torch._dynamo.reset()


def test_fit_compiles_it_with_its_owner(monkeypatch):
    torch._dynamo.reset()
    import lightning_fabric  # noqa: F401  it wraps torch.compile when it is imported

    monkeypatch.setattr(training.devices, "no_compiler", lambda kind: "")  # whose probe would be counted
    original, counter, trained = torch.compile, CompileCounter(), []
    monkeypatch.setattr(torch, "compile", lambda model, **options: original(model, **{**options, "backend": counter}))
    for compiling in (False, True):
        torch.manual_seed(0)
        model = Student(teacher())
        fit(model, Nothing(), METHOD, training.replace(PLAN, compile=compiling), progress=False)
        trained.append(model.layer.weight.detach())
    assert counter.frame_count == 1 and torch.equal(*trained)
    torch._dynamo.reset()
