"""Figures of merit: of images, one value each (whoever reports a data set averages them), and of distances."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from course_lib import checks

Protocol = Literal["quantised", "clamped", "raw"]


# --- images ---------------------------------------------------------------------------------------------------------------


def _require_pair(estimate: Tensor, clean: Tensor) -> None:
    """Raise unless both are floating-point images of one shape, numbers on the [0, 1] scale."""
    checks.require_images(estimate, "estimates", wait=True)
    checks.require_images(clean, "clean images", wait=True)
    if estimate.shape != clean.shape:
        raise ValueError(f"estimates {tuple(estimate.shape)} and clean images {tuple(clean.shape)} differ in shape.")


def psnr(estimate: Tensor, clean: Tensor, *, protocol: Protocol) -> Tensor:
    r"""Peak signal-to-noise ratio, :math:`10\log_{10}\bigl(1 / \mathrm{mean}\bigl((\hat y - y)^2\bigr)\bigr)` in dB.

    Args:
        estimate: images ``(B, C, H, W)``, floating point, nominally in [0, 1].
        clean: the true images, in the same shape.
        protocol: what happens to the estimate first, since published figures differ in it. ``"quantised"``: clamped to
            [0, 1] and rounded to 8 bit (DnCNN, FFDNet, Noise2Noise); ``"clamped"``: clamped only; ``"raw"``: nothing
            (Noise2Void). No border is left out.

    Returns:
        ``(B,)`` float32; infinite where estimate and truth are equal. The figure of a data set is the mean of these,
        which is not the PSNR of the mean squared error over all its pixels.

    Raises:
        TypeError: for integer images.
        ValueError: for a wrong or differing shape, NaN or infinite values, images on the 0–255 scale, or an unknown protocol.
    """
    _require_pair(estimate, clean)
    estimate, clean = estimate.float(), clean.float()
    if protocol in ("quantised", "clamped"):
        estimate = estimate.clamp(0, 1)
    elif protocol != "raw":
        raise ValueError(f'unknown PSNR protocol "{protocol}": use "quantised", "clamped" or "raw".')
    if protocol == "quantised":
        estimate = (estimate * 255).round() / 255
    return -10 * torch.log10((estimate - clean).square().mean(dim=(1, 2, 3)))


# --- distances ------------------------------------------------------------------------------------------------------------


def roc(distances: Tensor, same: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Error rates of the decision "the same if the distance is below γ" for every γ, by scikit-learn.

    Args:
        distances: ``(N,)`` of pairs.
        same: ``(N,)`` booleans: is it a pair of one identity?

    Returns:
        False accept rate, false reject rate and γ, three arrays of one length, γ ascending. Each distance that occurs is a γ, below
        which are all smaller ones and not itself; the last γ is above all.

    Raises:
        TypeError: for anything but tensors of numbers and of booleans.
        ValueError: unless there are pairs of both kinds, and as many booleans as distances, none of which is NaN.
    """
    from sklearn.metrics import roc_curve

    checks.tensor(distances, "distances", ("N",))
    if checks.tensor(same, "same", ("N",), of="booleans").shape != distances.shape:
        raise ValueError(f"distances {tuple(distances.shape)} and same {tuple(same.shape)} differ in shape: both are of the same pairs.")
    if bool(same.all()) or not bool(same.any()):
        raise ValueError("pairs of one identity and pairs of two are needed, but all are of one kind.")
    exact = distances.detach().cpu().double().numpy()
    accepted, correct, scores = roc_curve(same.cpu().numpy(), -exact, drop_intermediate=False)
    # scikit-learn accepts what is at most -score: what is below the next larger distance. Above the largest one lies a number that is
    # larger in the type of the distances too, with which γ is compared.
    kind = torch.finfo(distances.dtype if distances.is_floating_point() else torch.float64)
    above = exact.max() + max(2 * kind.eps * abs(exact.max()), kind.tiny)
    return accepted, 1 - correct, np.append(-scores[1:], above)


def eer(distances: Tensor, same: Tensor) -> tuple[float, float]:
    """Equal error rate, and the γ at which it is reached: where false accepts are as frequent as false rejects.

    Between two neighbouring thresholds both rates are interpolated linearly, and γ is the upper of them: with it at least as many
    false accepts as false rejects. Shapes ``(N,)``, arguments and errors as :func:`roc`.
    """
    false_accept, false_reject, gamma = roc(distances, same)
    gap = false_accept - false_reject  # from -1 to 1, never falling
    i = int(np.searchsorted(gap, 0))
    if gap[i] == 0:
        return float(false_accept[i]), float(gamma[i])
    share = -gap[i - 1] / (gap[i] - gap[i - 1])
    rate = false_accept[i - 1] + share * (false_accept[i] - false_accept[i - 1])
    return float(rate), float(gamma[i])


def cmc(distances: Tensor, queries: Tensor, identities: Tensor) -> Tensor:
    """Cumulative match characteristic: entry r is the share of queries whose identity is among the r + 1 nearest.

    Args:
        distances: ``(Q, U)`` of each query to each enrolled identity.
        queries: ``(Q,)`` true identities.
        identities: ``(U,)`` of the columns, without repetition; each query's is among them.

    Returns:
        ``(U,)``, not falling, 1 at the end. Entry 0 is the identification rate, or rank-1 accuracy. At equal distances the
        wrong identity counts as the nearer one.

    Raises:
        TypeError: for anything but tensors of numbers and of integers.
        ValueError: where a query's identity is not enrolled, a distance is NaN, or shapes do not fit.
    """
    checks.tensor(distances, "distances", ("Q", "U"))
    checks.tensor(queries, "queries", ("Q",), of="integers")
    checks.tensor(identities, "identities", ("U",), of="integers")
    if distances.shape != (len(queries), len(identities)) or len(identities.unique()) != len(identities) or not len(queries):
        raise ValueError(
            f"distances are {tuple(distances.shape)}, expected was (queries, different identities) = ({len(queries)}, {len(identities)})."
        )
    is_true = queries[:, None] == identities
    if not bool(is_true.any(1).all()):
        raise ValueError("a query's identity is not among the enrolled ones: rank and identification rate are not defined for it.")
    true = distances[is_true]
    rank = ((distances <= true[:, None]) & ~is_true).sum(1)
    return (rank[:, None] <= torch.arange(len(identities), device=rank.device)).float().mean(0)


# --- masks ----------------------------------------------------------------------------------------------------------------


def iou(predicted: Tensor, truth: Tensor) -> Tensor:
    r"""Intersection over union of two masks, :math:`|P \cap G| / |P \cup G|`; 1 where both are empty.

    So an image on which nothing is to be found counts 1 without a single false pixel, and 0 with one: report such images apart.

    Args:
        predicted: booleans ``(B, 1, H, W)``.
        truth: the same of the true masks.

    Returns:
        ``(B,)`` float32, in [0, 1]. The figure of a data set is the mean of these, which is not the one of all pixels together.

    Raises:
        TypeError: for anything but tensors of booleans.
        ValueError: for another or differing shape.
    """
    _require_masks(predicted, truth, "predicted masks", "booleans")
    shared, either = ((predicted & truth).flatten(1).sum(1), (predicted | truth).flatten(1).sum(1))
    return torch.where(either > 0, shared / either.clamp(min=1), 1.0)


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Average precision of pixels, ranked by their scores over all images together: the mean precision at each true pixel.

    It needs no threshold. A constant or a random score reaches the prevalence, the share of true pixels, in the mean: say it beside.
    Pixels of equal score are ranked together.

    Args:
        scores: ``(B, 1, H, W)``, higher where a pixel is more likely true.
        truth: booleans of that shape.

    Returns:
        A number in [0, 1], as scikit-learn's ``average_precision_score``.

    Raises:
        TypeError: for anything but a tensor of numbers and one of booleans.
        ValueError: for another or differing shape, scores with NaN, or no true pixel.
    """
    _require_masks(scores, truth, "scores", "numbers")
    if not bool(truth.any()):
        raise ValueError("no pixel is true: average precision is not defined for images on which nothing is to be found.")
    ranked, order = scores.flatten().sort(descending=True)
    found = truth.flatten()[order].double().cumsum(0)
    last = torch.cat([ranked[1:] != ranked[:-1], ranked.new_ones(1, dtype=torch.bool)])  # of the pixels that share a score
    found, count = found[last], (last.nonzero().squeeze(1) + 1).double()
    return float((torch.diff(found, prepend=found.new_zeros(1)) * found / count).sum() / found[-1])


def _require_masks(given: Tensor, truth: Tensor, name: str, kind: checks.Kind) -> None:
    """Raise unless these are ``(B, 1, H, W)``, one of that kind and the other of booleans."""
    axes = ("B", "1", "H", "W")
    checks.tensor(given, name, axes, of=kind)
    checks.tensor(truth, "true masks", axes, of="booleans")
    if given.shape != truth.shape or given.shape[1] != 1:
        raise ValueError(f"{name} {tuple(given.shape)} and true masks {tuple(truth.shape)}: both must be of one shape (B, 1, H, W).")
