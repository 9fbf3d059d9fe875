r"""Muon: gradient descent on matrices whose steps are orthogonal, for the kernels of hidden convolutions.

Idea. An averaged gradient of a kernel, as the matrix :math:`G` (outputs × inputs · 9) that maps a neighbourhood to a pixel, has
few large singular values. A step along it moves the kernel in these few directions only. Muon replaces the matrix by the nearest
(semi-)orthogonal one, :math:`UV^\top` of :math:`G = USV^\top`, so that all directions move alike. It is approximated without a
singular value decomposition, by Newton and Schulz's iteration of an odd polynomial,
:math:`X \leftarrow aX + bXX^\top X + c(XX^\top)^2 X`, which takes every singular value to about 1.

Update, with the gradient g, Nesterov's momentum :math:`\mu` and the rate :math:`\gamma`:
:math:`B \leftarrow \mu B + g`, :math:`W \leftarrow (1 - \gamma\lambda) W - \gamma\,\mathrm{NS}_5(g + \mu B)`.

What is no hidden matrix (first and last layer, biases, normalisation) is left to AdamW. PyTorch's own ``torch.optim.Muon`` takes
matrices only.

Source: K. Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024, https://kellerjordan.github.io/posts/muon;
the coefficients are those given there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
SMALLEST = 16  # inputs and outputs of a kernel that counts as hidden: images have fewer channels


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    r"""Nearly :math:`UV^\top` of each matrix :math:`USV^\top` (singular values 0.7 to 1.2); ``(m, n)`` or ``(B, m, n)``, as given."""
    a, b, c = COEFFICIENTS
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def hidden_kernels(model: nn.Module) -> list[nn.Parameter]:
    """Kernels ``(out, in, h, w)`` of convolutions with at least 16 inputs and outputs: those between hidden layers."""
    return [p for p in model.parameters() if p.dim() == 4 and min(p.shape[:2]) >= SMALLEST]


class Muon(torch.optim.Optimizer):
    """Muon for kernels ``(out, in, h, w)``, each taken as the matrix ``(out, in · h · w)``.

    Args:
        kernels: the parameters.
        lr: the rate γ, about the change of each singular value in a step.
        momentum: μ, of Nesterov's kind.
        weight_decay: λ, decoupled.

    Raises:
        ValueError: for a parameter that is no kernel.
    """

    def __init__(self, kernels: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(kernels, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        shapes = [tuple(p.shape) for group in self.param_groups for p in group["params"] if p.dim() != 4]
        if shapes:
            raise ValueError(f"Muon is for kernels (out, in, h, w), not for parameters of the shape {shapes[0]}.")

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every kernel that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            alike: dict[torch.Size, list[nn.Parameter]] = {}  # kernels of one shape take one product of matrices, not one each
            for kernel in (p for p in group["params"] if p.grad is not None):
                state = self.state[kernel]
                if not state:
                    state["momentum"] = torch.zeros_like(kernel)
                alike.setdefault(kernel.shape, []).append(kernel)
            for kernels in alike.values():
                gradients, averages = [kernel.grad for kernel in kernels], [self.state[kernel]["momentum"] for kernel in kernels]
                torch._foreach_mul_(averages, momentum)
                torch._foreach_add_(averages, gradients)
                ahead = torch.stack(torch._foreach_add(gradients, averages, alpha=momentum))
                updates = orthogonalised(ahead.flatten(2).float()).view_as(ahead)
                torch._foreach_mul_(kernels, 1 - rate * group["weight_decay"])
                torch._foreach_sub_(kernels, list(updates.to(kernels[0].dtype)), alpha=rate)
        return loss
