"""Metric learning against naive loops and a peer: distances, losses, mining, batches, error rates, and the gallery."""

import itertools
import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner
from pytorch_metric_learning.reducers import AvgNonZeroReducer, MeanReducer

from course_lib import batches, data, metrics, rng, training
from course_lib.metric_learning import distances, embedding, siamese, triplet
from course_lib.metric_learning.gallery import Gallery, GalleryError, threshold


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def embedded(identities=5, each=4, dimension=6, seed=0, spread=0.7):
    """Float64 embeddings in clusters that overlap, with their labels, in a random order."""
    draws = seeded(seed)
    labels = torch.arange(identities).repeat_interleave(each)[torch.randperm(identities * each, generator=draws)]
    centres = torch.randn(identities, dimension, generator=draws, dtype=torch.float64)
    points = centres[labels] + spread * torch.randn(len(labels), dimension, generator=draws, dtype=torch.float64)
    return points.requires_grad_(), labels


# --- distances ------------------------------------------------------------------------------------------------------------


def test_pairwise_by_loops():
    a, b = torch.randn(7, 5, generator=seeded(), dtype=torch.float64), torch.randn(4, 5, generator=seeded(1), dtype=torch.float64)
    found = distances.pairwise(a, b)
    for i in range(7):
        for j in range(4):
            assert found[i, j].item() == pytest.approx(math.dist(a[i].tolist(), b[j].tolist()), abs=1e-9)
    assert torch.allclose(distances.paired(a[:4], b), found[:4].diagonal(), atol=1e-9)


def test_distances_of_points_far_from_the_origin_keep_their_digits():
    """In float32: an offset that all points share must not take the digits away."""
    a = torch.rand(6, 3, generator=seeded())
    exact = distances.pairwise(a.double(), a.double())
    moved = distances.pairwise(a + 1000, a + 1000)
    assert (moved - exact).abs().max() < 0.02


def test_gradients_are_finite_where_embeddings_are_equal():
    for function in (distances.pairwise, distances.paired):
        a = torch.ones(3, 4, requires_grad=True)
        function(a, a.clone()).sum().backward()
        assert a.grad.isfinite().all()


# --- contrastive loss -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_contrastive_losses_by_loops(margin):
    draws = seeded()
    distance = 2 * torch.rand(40, generator=draws, dtype=torch.float64)
    different = torch.rand(40, generator=draws) < 0.5
    squared = unsquared = 0.0
    for d, y in zip(distance.tolist(), different.tolist(), strict=True):
        squared += 0.5 * (max(0, margin - d) ** 2 if y else d**2)
        unsquared += 0.5 * (max(0, margin - d) if y else d)
    assert siamese.contrastive(distance, different, margin).item() == pytest.approx(squared / 40, rel=1e-12)
    assert siamese.contrastive_unsquared(distance, different, margin).item() == pytest.approx(unsquared / 40, rel=1e-12)


def test_contrastive_at_known_points():
    """Equal embeddings: 0 for one identity; m²/2 (Hadsell) and m/2 (lecture) for two."""
    zero, one, two = torch.zeros(1), torch.tensor([False]), torch.tensor([True])
    assert siamese.contrastive(zero, one, 1.5) == 0 == siamese.contrastive_unsquared(zero, one, 1.5)
    assert siamese.contrastive(zero, two, 1.5).item() == pytest.approx(1.5**2 / 2)
    assert siamese.contrastive_unsquared(zero, two, 1.5).item() == pytest.approx(1.5 / 2)


def test_gradients_of_the_two_forms():
    """Of the same pair: D and 1/2; of two: -(m - D) and -1/2 inside the margin, 0 outside."""
    for d, y, squared, unsquared in ((0.3, False, 0.3, 0.5), (0.3, True, -0.7, -0.5), (1.2, True, 0.0, 0.0)):
        for loss, expected in ((siamese.contrastive, squared), (siamese.contrastive_unsquared, unsquared)):
            distance = torch.tensor([d], requires_grad=True)
            loss(distance, torch.tensor([y]), 1.0).backward()
            assert distance.grad.item() == pytest.approx(expected)


def test_contrastive_against_a_peer():
    """Its unsquared form without normalisation: positives and negatives averaged apart, over those that are not zero, no 1/2."""
    points, labels = embedded(spread=0.2)
    from pytorch_metric_learning.distances import LpDistance

    peer = ContrastiveLoss(pos_margin=0, neg_margin=1.5, distance=LpDistance(normalize_embeddings=False, p=2, power=1))
    distance = distances.pairwise(points, points)
    same = labels[:, None] == labels
    off = ~torch.eye(len(labels), dtype=torch.bool)
    positive, negative = distance[same & off], distance[~same]
    close = negative[negative < 1.5]
    ours = 2 * siamese.contrastive_unsquared(positive, torch.zeros_like(positive, dtype=torch.bool), 1.5)
    if len(close):
        ours = ours + 2 * siamese.contrastive_unsquared(close, torch.ones_like(close, dtype=torch.bool), 1.5)
    assert ours.item() == pytest.approx(peer(points, labels).item(), abs=1e-6)


def test_pairs_are_balanced():
    labels = torch.tensor([0, 1, 0, 2, 1, 2, 0, 3])
    i, j, different = siamese.pairs(labels)
    chosen = set(zip(i.tolist(), j.tolist(), strict=True))
    positives = {(a, b) for a, b in itertools.combinations(range(8), 2) if labels[a] == labels[b]}
    assert len(chosen) == len(i) and positives <= chosen and len(chosen) == 2 * len(positives)
    assert all((labels[a] != labels[b]).item() == d for a, b, d in zip(i.tolist(), j.tolist(), different.tolist(), strict=True))


def test_all_pairs():
    labels = torch.tensor([0, 1, 0, 2, 1])
    i, j, different = siamese.pairs(labels, balanced=False)
    assert set(zip(i.tolist(), j.tolist(), strict=True)) == set(itertools.combinations(range(5), 2)) and len(i) == 10
    assert torch.equal(different, labels[i] != labels[j])


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_pairs_of_one_kind_only(labels):
    i, j, different = siamese.pairs(torch.tensor(labels))
    assert len(i) == 3 and different.tolist() == [labels[0] != labels[1]] * 3


# --- triplets -------------------------------------------------------------------------------------------------------------


def triplets_of(labels):
    n = len(labels)
    for a, p, q in itertools.product(range(n), repeat=3):
        if a != p and labels[a] == labels[p] and labels[a] != labels[q]:
            yield a, p, q


@pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("squared", [False, True])
def test_all_triplets_by_loops(margin, squared):
    points, labels = embedded()
    d = distances.pairwise(points, points).detach()
    d = d.square() if squared else d
    hinges = [max(0.0, margin + d[a, p].item() - d[a, q].item()) for a, p, q in triplets_of(labels)]
    for nonzero in (True, False):
        found = triplet.all_triplets(d, labels, margin, nonzero=nonzero)
        active = sum(h > 0 for h in hinges)
        assert found.loss.item() == pytest.approx(sum(hinges) / (active if nonzero else len(hinges)), rel=1e-9)
        assert (found.triplets.item(), found.active.item()) == (len(hinges), active)
        assert found.active_fraction.item() == pytest.approx(active / len(hinges))


@pytest.mark.parametrize("nonzero", [True, False])
def test_all_triplets_against_a_peer(nonzero):
    from pytorch_metric_learning.distances import LpDistance

    points, labels = embedded()
    peer = TripletMarginLoss(margin=0.4, distance=LpDistance(normalize_embeddings=False, p=2, power=1),
                             reducer=AvgNonZeroReducer() if nonzero else MeanReducer())  # fmt: skip
    ours = triplet.all_triplets(distances.pairwise(points, points), labels, 0.4, nonzero=nonzero)
    theirs = peer(points, labels)
    assert ours.loss.item() == pytest.approx(theirs.item(), abs=1e-6)
    mine, their = (torch.autograd.grad(loss, points, retain_graph=True)[0] for loss in (ours.loss, theirs))
    assert (mine - their).abs().max() < 1e-6


def test_batch_hard_by_loops_and_against_a_peer():
    points, labels = embedded()
    distance = distances.pairwise(points, points)
    d, total = distance.detach(), 0.0
    for a in range(len(labels)):
        furthest = max(d[a, p].item() for p in range(len(labels)) if p != a and labels[p] == labels[a])
        nearest = min(d[a, q].item() for q in range(len(labels)) if labels[q] != labels[a])
        total += max(0.0, 0.4 + furthest - nearest)
    found = triplet.batch_hard(points, labels, 0.4)
    squared = sum(
        max(0.0, 0.4 + max(d[a, p].item() ** 2 for p in range(len(labels)) if p != a and labels[p] == labels[a])
            - min(d[a, q].item() ** 2 for q in range(len(labels)) if labels[q] != labels[a]))
        for a in range(len(labels))
    )  # fmt: skip
    assert triplet.batch_hard(points, labels, 0.4, squared=True).loss.item() == pytest.approx(squared / len(labels), rel=1e-9)
    assert found.loss.item() == pytest.approx(total / len(labels), rel=1e-9) and found.triplets == len(labels)

    from pytorch_metric_learning.distances import LpDistance

    plain = LpDistance(normalize_embeddings=False, p=2, power=1)
    mined = BatchHardMiner(distance=plain)(points, labels)
    theirs = TripletMarginLoss(margin=0.4, distance=plain, reducer=MeanReducer())(points, labels, mined)
    assert found.loss.item() == pytest.approx(theirs.item(), abs=1e-6)


def test_semi_hard_by_loops():
    points, labels = embedded(spread=0.9)
    d = distances.pairwise(points, points).detach()
    hinges = []
    for a, p in itertools.permutations(range(len(labels)), 2):
        if labels[a] == labels[p]:
            farther = [d[a, q].item() for q in range(len(labels)) if labels[q] != labels[a] and d[a, q] > d[a, p]]
            if farther:
                hinges.append(max(0.0, 0.4 + d[a, p].item() - min(farther)))
    found = triplet.semi_hard(d, labels, 0.4)
    assert found.loss.item() == pytest.approx(sum(hinges) / len(hinges), rel=1e-9)
    assert found.triplets == len(hinges) and 0 < found.active < len(hinges)
    assert max(hinges) < 0.4, "a semi-hard negative is farther than the positive"


def test_random_triplets_take_any_negative_equally_often():
    points, labels = embedded(identities=3, each=2, spread=1.5)
    d = distances.pairwise(points, points).detach()
    means = [
        triplet.random_triplets(d, labels, 5.0, torch.rand(6, 6, generator=seeded(s))).loss.item() for s in range(400)
    ]
    everything = triplet.all_triplets(d, labels, 5.0, nonzero=False).loss.item()
    assert np.mean(means) == pytest.approx(everything, abs=4 * np.std(means) / 20)
    assert len(set(np.round(means, 9))) > 50
    assert triplet.random_triplets(d, labels, 5.0, torch.rand(6, 6)).triplets == 6


def every(points):
    return distances.pairwise(points, points)


MININGS = {
    "all": lambda e, labels, m: triplet.all_triplets(every(e), labels, m),
    "all, mean over all": lambda e, labels, m: triplet.all_triplets(every(e), labels, m, nonzero=False),
    "random": lambda e, labels, m: triplet.random_triplets(every(e), labels, m, torch.rand(len(labels), len(labels), generator=seeded())),
    "semi-hard": lambda e, labels, m: triplet.semi_hard(every(e), labels, m),
    "batch-hard": triplet.batch_hard,
}


@pytest.mark.parametrize("mining", MININGS.values(), ids=MININGS)
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [5]], ids=["one identity", "no positive", "one image"])
def test_degenerate_batches_give_a_finite_loss_and_gradient(mining, labels):
    points = torch.randn(len(labels), 3, generator=seeded(), requires_grad=True)
    mined = mining(points, torch.tensor(labels), 0.2)
    mined.loss.backward()
    assert mined.loss == 0 and points.grad.isfinite().all() and mined.active_fraction == 0


@pytest.mark.parametrize("mining", MININGS.values(), ids=MININGS)
def test_collapse_has_its_signature(mining):
    """All embeddings equal: the loss is exactly m (but for semi-hard, which finds no negative that is farther), its gradient finite."""
    points = torch.ones(8, 3, requires_grad=True)
    mined = mining(points, torch.arange(4).repeat(2), 0.2)
    mined.loss.backward()
    assert mined.loss.item() == pytest.approx(0 if mining is MININGS["semi-hard"] else 0.2, abs=1e-6)
    assert points.grad.isfinite().all()


# --- batches --------------------------------------------------------------------------------------------------------------


def people(counts=(4, 2, 7, 5), side=20):
    """Images whose pixels say whose they are, and which."""
    identities = torch.tensor([10 * person for person, n in enumerate(counts) for _ in range(n)])
    images = torch.stack([torch.full((1, side, side), 10 * p + i) for p, n in enumerate(counts) for i in range(n)])
    order = torch.randperm(len(images), generator=seeded())
    names = tuple(map(str, range(len(images))))
    return data.Dataset("people", images[order].to(torch.uint8), "drawn", names, identities[order])


def test_batches_of_p_identities_and_k_images():
    shown = people()
    pool = batches.IdentityPool(shown.images, shown.labels)
    assert len(pool) == 4
    seen = set()
    for s in range(60):
        images, identities = pool.pk(3, 4, seeded(s))
        assert images.shape == (12, 1, 20, 20) and images.dtype == torch.float32
        values = (images[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(values // 10 * 10, identities), "images and identities belong together"
        groups = identities.view(3, 4)
        assert (groups == groups[:, :1]).all() and len(groups[:, 0].unique()) == 3
        for person, row in zip(groups[:, 0].tolist(), values.view(3, 4).tolist(), strict=True):
            assert len(set(row)) == min(4, {0: 4, 10: 2, 20: 7, 30: 5}[person]), "different images as far as there are"
        seen |= set(values.tolist())
    assert len(seen) == 18, "every image has its turn"
    assert torch.equal(pool.pk(2, 2, seeded(1))[0], pool.pk(2, 2, seeded(1))[0])


@pytest.mark.parametrize(("p", "k"), [(0, 2), (5, 2), (2, 0)])
def test_batches_that_cannot_be(p, k):
    with pytest.raises(ValueError, match="there are 4 identities"):
        shown = people()
        batches.IdentityPool(shown.images, shown.labels).pk(p, k, seeded())


def test_identities_that_make_no_sense():
    images, identities = people().images, people().labels
    with pytest.raises(ValueError, match="18 images, but identities"):
        batches.IdentityPool(images, identities[1:])
    with pytest.raises(ValueError, match="float32"):
        batches.IdentityPool(images, identities.float())
    with pytest.raises(TypeError, match="float32"):
        batches.IdentityPool(images.float(), identities)
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        batches.IdentityPool(images[:, 0], identities)


def test_shots_without_a_change_are_the_images():
    images = torch.rand(3, 2, 9, 12, generator=seeded())
    assert torch.allclose(batches.shots(images, seeded()), images, atol=1e-5)


def test_shots_move_and_turn_and_light():
    spot = torch.zeros(64, 1, 41, 41)
    spot[:, :, 20, 20] = 1
    moved = batches.shots(spot, seeded(), shift=0.1)
    places = [divmod(int(image.argmax()), 41) for image in moved[:, 0]]
    assert all(abs(y - 20) <= 5 and abs(x - 20) <= 5 for y, x in places) and len(set(places)) > 20
    bar = torch.zeros(1, 1, 41, 81)
    bar[..., 20, 10:71] = 1
    turned = batches.shots(bar.expand(20, -1, -1, -1), seeded(), angle=30)
    for image in turned[:, 0]:  # a straight line stays one, of the same length, also in an image that is not square
        y, x = (image > 0.4).nonzero().T.double()
        slope = np.polyfit(x.numpy(), y.numpy(), 1)[0]
        assert abs(math.degrees(math.atan(slope))) <= 31 and x.max() - x.min() > 60 * math.cos(math.radians(32)) - 4
    lit = batches.shots(torch.full((50, 1, 8, 8), 0.5), seeded(), light=0.2)
    values = lit[:, 0, 0, 0]
    assert torch.allclose(lit, values.view(-1, 1, 1, 1).expand_as(lit), atol=1e-5)
    assert 0.2 <= values.min() < 0.42 and 0.58 < values.max() <= 0.8


# --- network and training -------------------------------------------------------------------------------------------------

TINY = dict(height=20, width=20, dimension=3, images=2, batch_size=6, steps=4, precision="32-true", log_every=2)


@pytest.mark.parametrize("normalise", [False, True])
def test_embedder(normalise):
    settings = siamese.Settings(**{**TINY, "height": 28, "width": 33, "dimension": 5, "normalise": normalise})
    model = embedding.Embedder(settings, seed=1).eval()
    images = torch.rand(7, 1, 28, 33, generator=seeded())
    embeddings = model.embed(images, at_once=3)
    assert embeddings.shape == (7, 5) and torch.allclose(embeddings, model(images), atol=1e-5)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(7), atol=1e-5) == normalise
    assert torch.equal(embedding.Embedder(settings, seed=1)(images), model(images))
    with pytest.raises(ValueError, match=r"made for \(C, H, W\) = \(1, 28, 33\)"):
        model.embed(images[..., 1:])
    with pytest.raises(TypeError, match="uint8"):
        model.embed((images * 255).to(torch.uint8))


@pytest.mark.parametrize(
    ("method", "settings"),
    [(siamese, {"form": form}) for form in ("squared", "unsquared")]
    + [(triplet, {"mining": mining}) for mining in ("all", "random", "semi-hard", "batch-hard")]
    + [(triplet, {"mining": "all", "squared": True, "normalise": True}), (siamese, {"shift": 0.1, "light": 0.1, "sigma_255": (0.0, 25.0)})],
    ids=str,
)
def test_training(method, settings):
    plan = method.Settings(**{**TINY, **settings})
    pool = method.prepare(people(), plan)
    runs = []
    for _ in range(2):
        model = embedding.Embedder(plan)
        history = training.fit(model, pool, method, plan, progress=False)
        runs.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert history.steps == [2, 4] and all(math.isfinite(v) for values in history.values.values() for v in values)
    assert torch.equal(*runs), "every draw is a function of the seed and the step"


def test_training_brings_identities_together():
    plan = triplet.Settings(**{**TINY, "steps": 60, "learning_rate": 2e-3})
    pool = triplet.prepare(people(), plan)
    model = embedding.Embedder(plan)
    images, identities = pool.pk(4, 2, seeded())
    before = metrics.eer(*pairs_of(model.eval().embed(images), identities))[0]
    training.fit(model, pool, triplet, plan, progress=False)
    after = metrics.eer(*pairs_of(model.embed(images), identities))[0]
    assert after < 0.1 and after <= before


def pairs_of(embeddings, identities):
    i, j = torch.triu_indices(len(identities), len(identities), offset=1)
    return distances.paired(embeddings[i], embeddings[j]), identities[i] == identities[j]


@pytest.mark.parametrize(
    ("method", "setting", "message"),
    [
        (siamese, {"margin": 0.0}, "margin = 0.0"),
        (siamese, {"margin": 2.0, "normalise": True}, "below 2"),
        (siamese, {"form": "cubed"}, "squared, unsquared"),
        (triplet, {"margin": -1.0}, "margin = -1.0"),
        (triplet, {"margin": 4.0, "squared": True, "normalise": True}, "below 4"),
        (triplet, {"mining": "easy"}, "all, random, semi-hard, batch-hard"),
        (triplet, {"images": 1, "batch_size": 3}, "images = 1: a batch has images, at least 2, of each .* such as 4"),
        (triplet, {"batch_size": 7}, "batch_size = 7 with images = 2: .* a multiple of images, such as 6"),
        (triplet, {"height": 12}, "16×16"),
        (triplet, {"shift": 0.6}, "shift = 0.6"),
        (triplet, {"sigma_255": (5.0, 1.0)}, "lowest and a highest"),
    ],
)
def test_settings_that_make_no_sense(method, setting, message):
    with pytest.raises(ValueError, match=message):
        method.Settings(**{**TINY, **setting})


@pytest.mark.parametrize(("size", "identities"), [(2, 1), (10, 5)])
def test_a_batch_of_more_identities_than_there_are_or_of_one(size, identities):
    with pytest.raises(ValueError, match=f"batch_size = {size} with images = 2 takes {identities} identities, .* there are 4"):
        triplet.prepare(people(), triplet.Settings(**{**TINY, "batch_size": size}))


def test_images_of_another_size_than_the_settings_say():
    with pytest.raises(ValueError, match=r"\(1, 20, 20\), but the settings say"):
        triplet.prepare(people(), triplet.Settings(**{**TINY, "height": 28}))


# --- error rates ----------------------------------------------------------------------------------------------------------


def test_roc_and_eer_by_counting():
    draws = seeded()
    same = torch.rand(200, generator=draws) < 0.3
    distance = torch.rand(200, generator=draws) + 0.4 * (~same)
    false_accept, false_reject, gamma = metrics.roc(distance, same)
    for fa, fr, g in list(zip(false_accept, false_reject, gamma, strict=True))[1::17]:
        accepted = distance <= g + 1e-9
        assert fa == pytest.approx((accepted & ~same).sum().item() / (~same).sum().item())
        assert fr == pytest.approx((~accepted & same).sum().item() / same.sum().item())
    assert (np.diff(gamma) >= 0).all() and (np.diff(false_accept) >= 0).all() and (np.diff(false_reject) <= 0).all()
    rate, at = metrics.eer(distance, same)
    accepted = distance <= at + 1e-9
    assert (accepted & ~same).sum().item() / (~same).sum().item() == pytest.approx(rate, abs=0.02)
    assert (~accepted & same).sum().item() / same.sum().item() == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize(("distance", "expected"), [([0.1, 0.2, 0.8, 0.9], 0.0), ([0.8, 0.9, 0.1, 0.2], 1.0), ([0.5] * 4, 0.5)])
def test_eer_at_known_points(distance, expected):
    """Apart, the wrong way round, and no better than chance."""
    same = torch.tensor([True, True, False, False])
    assert metrics.eer(torch.tensor(distance), same)[0] == pytest.approx(expected)


@pytest.mark.parametrize("same", [torch.ones(3).bool(), torch.zeros(3).bool(), torch.ones(2).bool(), torch.ones(3)])
def test_roc_of_pairs_that_make_no_sense(same):
    with pytest.raises(ValueError):
        metrics.roc(torch.rand(3), same)


def test_cmc_by_loops():
    draws = seeded()
    d = torch.rand(30, 6, generator=draws)
    identities = torch.tensor([7, 3, 9, 1, 4, 2])
    queries = identities[torch.randint(6, (30,), generator=draws)]
    found = metrics.cmc(d, queries, identities)
    for rank in range(6):
        hits = sum(queries[q] in identities[d[q].argsort()[: rank + 1]] for q in range(30))
        assert found[rank].item() == pytest.approx(hits / 30)
    assert found[-1] == 1
    ties = metrics.cmc(torch.zeros(1, 3), torch.tensor([0]), torch.tensor([0, 1, 2]))
    assert ties.tolist() == [0, 0, 1], "at equal distances the wrong one counts as nearer"


def test_cmc_of_somebody_who_is_not_enrolled():
    with pytest.raises(ValueError, match="not among the enrolled"):
        metrics.cmc(torch.rand(1, 2), torch.tensor([5]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="different identities"):
        metrics.cmc(torch.rand(1, 2), torch.tensor([0]), torch.tensor([0, 0]))


# --- gallery --------------------------------------------------------------------------------------------------------------


def gallery():
    made = Gallery(2, network="a")
    made.enrol("Ada", torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    made.enrol("Bo", torch.tensor([[3.0, 0.0]]))
    return made


def test_rules_by_hand():
    query = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    mean, nearest = gallery().scores(query), gallery().scores(query, rule="min")
    assert torch.allclose(mean, torch.tensor([[1.0, 3.0], [(2 + math.sqrt(8)) / 2, 1.0]]), atol=1e-5)
    assert torch.allclose(nearest, torch.tensor([[0.0, 3.0], [2.0, 1.0]]), atol=1e-5)


def test_identify_and_reject():
    answers = gallery().identify(torch.tensor([[0.0, 0.9], [3.1, 0.0], [50.0, 0.0]]), 1.5)
    assert [(a.person, a.nearest) for a in answers] == [("Ada", "Ada"), ("Bo", "Bo"), (None, "Bo")]
    assert answers[1].score == pytest.approx(0.1, abs=1e-5)
    assert gallery().verify(torch.tensor([[3.1, 0.0], [0.0, 0.0]]), "Bo", 1.5).tolist() == [True, False]


@pytest.mark.parametrize("rule", ["mean", "min"])
def test_scores_by_loops(rule):
    draws, made, everybody = seeded(), Gallery(8, network="a"), {}
    for name, count in (("a", 3), ("b", 1), ("c", 5), ("d", 2)):
        everybody[name] = torch.randn(count, 8, generator=draws)
        made.enrol(name, everybody[name][:1])
        if count > 1:
            made.add(name, everybody[name][1:])
    queries = torch.randn(6, 8, generator=draws)
    found = made.scores(queries, rule=rule)
    for q in range(6):
        for u, templates in enumerate(everybody.values()):
            each = [math.dist(queries[q].tolist(), t.tolist()) for t in templates]
            assert found[q, u].item() == pytest.approx(sum(each) / len(each) if rule == "mean" else min(each), abs=1e-4)


def test_removing_somebody_leaves_the_others():
    made = gallery()
    made.enrol("Cy", torch.tensor([[9.0, 9.0]]))
    made.remove("Ada")
    assert made.people == ["Bo", "Cy"] and "Ada" not in made and len(made) == 2
    assert made.identify(torch.tensor([[9.0, 9.0], [0.0, 0.0]]), 4)[0].person == "Cy"
    assert torch.equal(made.templates("Bo"), torch.tensor([[3.0, 0.0]]))
    made.enrol("Ada", torch.tensor([[0.0, 0.0]]))
    assert made.identify(torch.tensor([[0.0, 0.1]]), 1)[0].person == "Ada"


def test_round_trip_through_a_file(tmp_path):
    made = gallery()
    made.enrol("Žofie 李", torch.tensor([[5.0, 5.0]]))
    made.save(tmp_path / "door")
    again = Gallery.load(tmp_path / "door", network="a")
    query = torch.randn(5, 2, generator=seeded())
    assert again.people == made.people and torch.equal(again.scores(query), made.scores(query))
    assert [p.name for p in tmp_path.iterdir()] == ["door"]


def test_wrong_input_leaves_the_gallery_as_it_was():
    made = gallery()
    before = made.scores(torch.ones(1, 2))
    template = torch.ones(1, 2)
    for wrong, message in (
        (lambda: made.enrol("Ada", template), "Ada is enrolled already, with 2 templates"),
        (lambda: made.enrol("Cy", torch.ones(1, 3)), r"\(1, 3\), but \(n ≥ 1, 2\)"),
        (lambda: made.enrol("Cy", torch.ones(2)), r"\(n ≥ 1, 2\)"),
        (lambda: made.enrol("Cy", torch.empty(0, 2)), r"\(n ≥ 1, 2\)"),
        (lambda: made.enrol("Cy", torch.full((1, 2), math.nan)), "NaN"),
        (lambda: made.enrol("", template), "no name"),
        (lambda: made.enrol(("Cy",), template), "no name"),
        (lambda: made.enrol("Cy\n", template), "no name"),
        (lambda: made.enrol("Cy", [[1.0, 2.0]]), "templates are list"),
        (lambda: made.enrol("Cy", torch.full((1, 2), 3e38)), "or such that their distances would be"),
        (lambda: made.add("Cy", template), "Cy is not enrolled; 2 people are: Ada, Bo"),
        (lambda: made.remove("Cy"), "Cy is not enrolled"),
        (lambda: made.verify(template, "Cy", 1.0), "Cy is not enrolled"),
        (lambda: made.scores(torch.ones(1, 3)), "queries have shape"),
        (lambda: Gallery(2, network="a").identify(template, 1.0), "nobody is enrolled"),
    ):
        with pytest.raises(GalleryError, match=message):
            wrong()
    for gamma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="gamma"):
            made.identify(template, gamma)
    with pytest.raises(ValueError, match="mean or min"):
        made.scores(template, rule="median")
    assert made.people == ["Ada", "Bo"] and torch.equal(made.scores(torch.ones(1, 2)), before)


def test_templates_belong_to_the_gallery():
    """What the caller does with the tensors that it gave or got changes nothing."""
    made, given = Gallery(2, network="a"), torch.tensor([[1.0, 0.0]])
    made.enrol("Ada", given)
    given.zero_()
    made.templates("Ada").zero_()
    assert made.templates("Ada").tolist() == [[1.0, 0.0]] and made.scores(torch.tensor([[1.0, 0.0]])).item() < 1e-3


def test_files_that_are_no_gallery_of_this_network(tmp_path):
    file = tmp_path / "door"
    gallery().save(file)
    with pytest.raises(GalleryError, match='made with the network "a", not with "b"'):
        Gallery.load(file, network="b")
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"no gallery"):
        file.write_bytes(damaged)
        with pytest.raises(GalleryError, match="missing, cut, or not a gallery"):
            Gallery.load(file, network="a")
    with pytest.raises(GalleryError, match="missing"):
        Gallery.load(tmp_path / "nothing", network="a")


def test_threshold_for_a_false_accept_rate():
    distance = torch.tensor([0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
    same = [True, True] + [False] * 8
    for allowed in (0.0, 0.1, 0.125, 0.5):
        gamma = threshold(distance, same, allowed)
        accepted = (distance[2:] < gamma).float().mean().item()
        assert accepted <= allowed and (distance[2:] <= gamma).float().mean().item() > allowed
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError, match="false_accepts"):
            threshold(distance, same, wrong)
    with pytest.raises(ValueError, match="pairs of two people"):
        threshold(distance[:2], same[:2], 0.1)
    with pytest.raises(ValueError, match=r"distances \(10,\) and same \(2,\)"):
        threshold(distance, same[:2], 0.1)


def test_a_method_draws_from_its_step_only():
    plan = triplet.Settings(**TINY)
    pool = triplet.prepare(people(), plan)
    a, b = (triplet.batch(pool, rng.Draws(step=3), plan) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a[:3], b[:3], strict=True))
