"""Muon against its formulas by hand, and against PyTorch's own on matrices."""

import pytest
import torch
from torch import nn

from course_lib import muon


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(8, 8), (16, 40), (40, 16)])
def test_orthogonalised_has_singular_values_of_about_one(shape):
    matrix = torch.randn(shape, generator=seeded(), dtype=torch.double)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = muon.orthogonalised(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3 and values.max() < 1.25
    inside = u.T @ found @ v.T  # in the basis of the matrix itself the result is diagonal: only singular values have changed
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-9


def test_orthogonalised_by_the_polynomial_of_each_singular_value():
    """On singular values the iteration is s ← as + bs³ + cs⁵."""
    matrix = torch.randn(6, 9, generator=seeded(1), dtype=torch.double)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    values = (s / (s.square().sum().sqrt() + 1e-7)).tolist()
    a, b, c = 3.4445, -4.7750, 2.0315
    for _ in range(5):
        values = [a * x + b * x**3 + c * x**5 for x in values]
    assert torch.allclose(muon.orthogonalised(matrix), u @ torch.diag(torch.tensor(values).double()) @ v, atol=1e-9)


def test_steps_by_hand():
    """B ← μB + g; W ← (1 − γλ)W − γ NS(g + μB), on the matrix (out, in · h · w)."""
    kernel = nn.Parameter(torch.randn(4, 3, 2, 2, generator=seeded()))
    optimizer = muon.Muon([kernel], lr=0.1, momentum=0.8, weight_decay=0.05)
    weight, average = kernel.detach().flatten(1).clone(), torch.zeros(4, 12)
    for step in range(3):
        gradient = torch.randn(4, 3, 2, 2, generator=seeded(10 + step))
        kernel.grad = gradient.clone()
        optimizer.step()
        average = 0.8 * average + gradient.flatten(1)
        weight = (1 - 0.1 * 0.05) * weight - 0.1 * muon.orthogonalised(gradient.flatten(1) + 0.8 * average)
        assert torch.allclose(kernel.detach().flatten(1), weight, atol=1e-5)


def test_kernels_of_one_shape_move_together_as_each_would_alone():
    shapes = [(8, 4, 3, 3), (4, 8, 3, 3), (8, 4, 3, 3), (8, 4, 3, 3)]
    drawn = [torch.randn(shape, generator=seeded(i)).to(memory_format=torch.channels_last) for i, shape in enumerate(shapes)]
    together, alone = ([nn.Parameter(kernel.clone()) for kernel in drawn] for _ in range(2))
    optimizers = [muon.Muon(together, lr=0.1), *(muon.Muon([kernel], lr=0.1) for kernel in alone)]
    for step in range(3):
        for i, (one, other) in enumerate(zip(together, alone, strict=True)):
            if (step, i) != (1, 2):  # a kernel without a gradient stays, and the others still get their own
                one.grad = torch.randn(shapes[i], generator=seeded(100 * step + i))
                other.grad = one.grad.clone()
            else:
                one.grad = other.grad = None
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_against_pytorch_on_matrices():
    """Theirs takes matrices only, averages with 1 − μ (a factor that orthogonalising takes away), and iterates in bfloat16."""
    matrix = torch.randn(16, 18, generator=seeded())
    ours, theirs = nn.Parameter(matrix.view(16, 2, 3, 3).clone()), nn.Parameter(matrix.clone())
    optimizers = (muon.Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.1),
                  torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True))  # fmt: skip
    moved = []
    for step in range(4):
        gradient = torch.randn(16, 18, generator=seeded(20 + step))
        ours.grad, theirs.grad = gradient.view(16, 2, 3, 3).clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
        moved.append([p.detach().flatten() - matrix.flatten() for p in (ours, theirs)])
    a, b = moved[-1]
    assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.995
    assert a.norm() > 0.5


def test_hidden_kernels_are_those_between_wide_layers():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.Conv2d(32, 16, 1), nn.Conv2d(16, 8, 3),
                          nn.Linear(16, 16))  # fmt: skip
    assert [tuple(p.shape) for p in muon.hidden_kernels(model)] == [(32, 16, 3, 3), (16, 32, 1, 1)]


def test_what_is_no_kernel_is_refused():
    with pytest.raises(ValueError, match=r"kernels \(out, in, h, w\), not for parameters of the shape \(3, 4\)"):
        muon.Muon([nn.Parameter(torch.zeros(3, 4))], lr=0.1)


def test_without_a_gradient_nothing_moves():
    kernel = nn.Parameter(torch.ones(4, 3, 2, 2))
    muon.Muon([kernel], lr=0.1, weight_decay=0.5).step()
    assert (kernel == 1).all()
