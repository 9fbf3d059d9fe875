"""InfoNCE, SupCon and ArcFace against naive loops, peers, and the values that are known."""

import math

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, NTXentLoss, SupConLoss

from course_lib import data, training
from course_lib.metric_learning import arcface, embedding, infonce, supcon
from course_lib.pretext import contrastive

TINY = dict(height=20, width=20, dimension=3, images=2, batch_size=6, steps=4, precision="32-true", log_every=2)
METHODS = {"infonce": (infonce, {}), "supcon": (supcon, {}), "arcface": (arcface, {"people": 4, "scale": 8.0})}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(count, dimension=5, seed=0):
    return (2 * torch.randn(count, dimension, generator=seeded(seed), dtype=torch.float64)).requires_grad_()


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def require_the_same(ours, theirs, *by):
    """Two losses, and their gradients."""
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-9)
    for mine, their in zip(torch.autograd.grad(ours, by), torch.autograd.grad(theirs, by), strict=True):
        assert torch.allclose(mine, their, atol=1e-7)


# --- InfoNCE --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.07, 0.5, 2.0])
def test_info_nce_by_loops_and_against_a_peer(tau):
    queries, keys = points(6), points(6, seed=1)
    q, k, total = queries.tolist(), keys.tolist(), 0.0
    for i in range(6):
        terms = [math.exp(cosine(q[i], k[j]) / tau) for j in range(6)]
        total -= math.log(terms[i] / sum(terms))
    ours = infonce.info_nce(queries, keys, tau)
    assert ours.item() == pytest.approx(total / 6, rel=1e-12)
    who = torch.arange(6)
    require_the_same(ours, NTXentLoss(tau)(queries, who, ref_emb=keys, ref_labels=who.clone()), queries, keys)


def test_info_nce_where_it_is_known():
    """All in one point: ln N. Alone: 0. Everybody's own key, all others opposite to it: nearly 0."""
    same = torch.ones(7, 3, dtype=torch.float64)
    assert infonce.info_nce(same, same, 0.1).item() == pytest.approx(math.log(7), abs=1e-12)
    assert infonce.info_nce(same[:1], -same[:1], 0.1) == 0
    pair = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert infonce.info_nce(pair, 3 * pair, 0.5).item() == pytest.approx(math.log(1 + math.exp(-4)), abs=1e-12)


# --- SupCon ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.07, 0.5])
@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 2, 0, 2], [5, 5, 1, 5, 1, 5]], ids=str)
def test_sup_con_by_loops_and_against_a_peer(tau, labels):
    z = points(len(labels))
    rows, losses = z.tolist(), []
    for i in range(len(labels)):
        others = [a for a in range(len(labels)) if a != i]
        below = sum(math.exp(cosine(rows[i], rows[a]) / tau) for a in others)
        positives = [p for p in others if labels[p] == labels[i]]
        losses.append(-sum(math.log(math.exp(cosine(rows[i], rows[p]) / tau) / below) for p in positives) / len(positives))
    ours = supcon.sup_con(z, torch.tensor(labels), tau)
    assert ours.item() == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    require_the_same(ours, SupConLoss(tau)(z, torch.tensor(labels)), z)


def test_sup_con_with_one_positive_is_nt_xent():
    first, second = points(5), points(5, seed=1)
    ours = supcon.sup_con(torch.cat([first, second]), torch.arange(5).repeat(2), 0.3)
    require_the_same(ours, contrastive.nt_xent(first, second, 0.3), first, second)


def test_sup_con_where_it_is_known():
    """All in one point: ln(B − 1). All pictures of a person in one point, two people opposite: near ln of the positives."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    assert supcon.sup_con(torch.ones(6, 2, dtype=torch.float64), labels, 0.1).item() == pytest.approx(math.log(5), abs=1e-12)
    apart = torch.where(labels[:, None] == 0, 1.0, -1.0).double()
    assert supcon.sup_con(apart, labels, 0.1).item() == pytest.approx(math.log(2 + 3 * math.exp(-20)), abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [5], [0, 0, 0, 0], [0, 0, 1, 2]], ids=str)
def test_sup_con_of_degenerate_batches_is_finite(labels):
    """Images without a positive do not count; without any, the loss is 0."""
    for made in (points(len(labels)).float(), torch.zeros(len(labels), 3)):
        z = made.detach().requires_grad_()
        loss = supcon.sup_con(z, torch.tensor(labels), 0.1)
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all() and (loss == 0) == (len(set(labels)) == len(labels))


# --- ArcFace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("margin", "scale"), [(0.5, 64.0), (0.2, 16.0), (0.0, 1.0), (2.5, 4.0)])
def test_arc_face_by_loops_and_against_a_peer(margin, scale):
    embeddings, prototypes, who = points(8), points(5, seed=1), torch.tensor([0, 1, 2, 3, 4, 0, 2, 2])
    total = 0.0
    for i, u in enumerate(who.tolist()):
        angles = [math.acos(cosine(embeddings[i].tolist(), w)) for w in prototypes.tolist()]
        own = math.cos(angles[u] + margin) if angles[u] <= math.pi - margin else math.cos(angles[u]) - margin * math.sin(margin)
        terms = [math.exp(scale * (own if j == u else math.cos(a))) for j, a in enumerate(angles)]
        total -= math.log(terms[u] / sum(terms))
    cosines = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(prototypes).T
    ours = arcface.arc_face(cosines, who, margin=margin, scale=scale)
    assert ours.item() == pytest.approx(total / 8, rel=1e-9)
    peer = ArcFaceLoss(num_classes=5, embedding_size=5, margin=math.degrees(margin), scale=scale).double()
    peer.W.data = prototypes.detach().T.clone()
    theirs = peer(embeddings, who)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    (to_embeddings, to_prototypes), (to_theirs, to_w) = (
        torch.autograd.grad(loss, (embeddings, weights)) for loss, weights in ((ours, prototypes), (theirs, peer.W))
    )
    assert torch.allclose(to_embeddings, to_theirs, atol=1e-6) and torch.allclose(to_prototypes, to_w.T, atol=1e-6)


def test_without_a_margin_arc_face_is_a_softmax_over_cosines():
    cosines, who = torch.rand(6, 4, generator=seeded(), dtype=torch.float64), torch.tensor([0, 3, 1, 2, 0, 1])
    softmax = torch.nn.functional.cross_entropy(10 * cosines, who)
    assert arcface.arc_face(cosines, who, margin=0.0, scale=10.0).item() == pytest.approx(softmax.item(), abs=1e-6)


def test_the_own_logit_of_arc_face_falls_with_the_angle():
    """Also beyond π − m, where the cosine of θ + m would rise again; the gradient is finite at both ends."""
    angles = torch.linspace(0, math.pi, 400, dtype=torch.float64)
    cosines = torch.stack([angles.cos(), torch.zeros(400)], 1).requires_grad_()
    losses = torch.stack([arcface.arc_face(row[None], torch.tensor([0]), margin=0.5, scale=4.0) for row in cosines])
    assert (losses.diff() > 0).all()
    losses.sum().backward()
    assert cosines.grad.isfinite().all()


def test_prototypes_have_no_length():
    plan = arcface.Settings(**{**TINY, "people": 4})
    model = arcface.Classifier(plan, seed=1).eval()
    images = torch.rand(5, 1, 20, 20, generator=seeded())
    cosines = model(images)
    assert cosines.shape == (5, 4) and cosines.abs().max() <= 1 + 1e-6 and torch.equal(arcface.Classifier(plan, seed=1)(images), cosines)
    with torch.no_grad():
        model.prototypes *= torch.tensor([[1.0], [2.0], [0.1], [7.0]])
    assert torch.allclose(model(images), cosines, atol=1e-6)
    assert torch.allclose(model.embed(images).norm(dim=1), torch.ones(5), atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in embedding.Embedder(plan).parameters()) + 4 * 3


# --- training, and wrong input --------------------------------------------------------------------------------------------


def people(side=20):
    labels = torch.arange(4).repeat_interleave(3)
    images = torch.randint(0, 256, (4, 1, side, side), dtype=torch.uint8, generator=seeded())[labels]
    return data.Dataset("people", images, "drawn", tuple(map(str, range(12))), labels)


def network(method, plan):
    return (arcface.Classifier if method is arcface else embedding.Embedder)(plan)


@pytest.mark.parametrize("name", METHODS)
def test_training_lowers_the_loss_and_repeats(name):
    method, settings = METHODS[name]
    plan = method.Settings(**{**TINY, **settings, "steps": 60, "dimension": 8, "learning_rate": 1e-3})
    pool, runs = method.prepare(people(), plan), []
    images, who = pool.pk(4, 2, seeded())
    for _ in range(2):
        model = network(method, plan)
        before = method.step(model, (images, who), plan)[0].item()
        history = training.fit(model, pool, method, plan, progress=False)
        runs.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*runs) and all(math.isfinite(v) for values in history.values.values() for v in values)
    assert method.step(model, (images, who), plan)[0].item() < 0.6 * before


@pytest.mark.parametrize("name", METHODS)
def test_a_step_compiles_to_one_graph(name):
    method, settings = METHODS[name]
    plan = method.Settings(**{**TINY, **settings})
    model, draws = network(method, plan), seeded()
    made = torch.rand(6, 1, 20, 20, generator=draws), torch.arange(3).repeat_interleave(2)
    compiled = torch.compile(lambda images, who: method.step(model, (images, who), plan)[0], fullgraph=True, backend="eager")
    assert compiled(*made).item() == pytest.approx(method.step(model, made, plan)[0].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        (infonce, {"images": 3}, "images = 3, normalise = True: InfoNCE takes two images"),
        (infonce, {"normalise": False}, "on the unit sphere"),
        (infonce, {"temperature": 0.0}, "temperature = 0, but it must be above 0"),
        (supcon, {"temperature": -1.0}, "temperature = -1, but it must be above 0"),
        (supcon, {"normalise": False}, "normalise = False: SupCon compares by the cosine"),
        (arcface, {"people": 1}, "people = 1, normalise = True: ArcFace tells at least two people apart"),
        (arcface, {"normalise": False}, "on the unit sphere"),
        (arcface, {"margin": -0.1}, "margin = -0.1"),
        (arcface, {"margin": 4.0}, "margin = 4, but it must lie in 0 to 3.14"),
        (arcface, {"scale": 0.0}, "scale = 0, but it must be above 0"),
    ],
)
def test_settings_that_make_no_sense(method, setting, message):
    with pytest.raises(ValueError, match=message):
        method.Settings(**{**TINY, **setting})


Z, WHO = torch.randn(4, 3, generator=seeded()), torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: infonce.info_nce(Z, Z[:3], 0.1), r"queries \(4, 3\) and keys \(3, 3\) differ: each query has a key"),
        (lambda: infonce.info_nce(Z, Z.long(), 0.1), "keys: a tensor of floating-point numbers is expected"),
        (lambda: infonce.info_nce(Z, Z, 0), "temperature = 0, but it must be above 0"),
        (lambda: supcon.sup_con(Z, WHO[:3], 0.1), r"embeddings \(4, 3\) and labels \(3,\) do not fit"),
        (lambda: supcon.sup_con(Z, WHO.float(), 0.1), "labels: a tensor of integers"),
        (lambda: supcon.sup_con(Z[0], WHO, 0.1), r"embeddings: the shape \(3,\)"),
        (lambda: supcon.sup_con(Z, WHO, math.nan), "temperature = nan"),
        (lambda: arcface.arc_face(Z, WHO[:3], margin=0.5, scale=8.0), r"cosines \(4, 3\) and identities \(3,\) do not fit"),
        (lambda: arcface.arc_face(Z, WHO.float(), margin=0.5, scale=8.0), "identities: a tensor of integers"),
        (lambda: arcface.arc_face(Z, WHO, margin=-1, scale=8.0), "margin = -1"),
        (lambda: arcface.arc_face(Z, WHO, margin=0.5, scale=0), "scale = 0, but it must be above 0"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()
