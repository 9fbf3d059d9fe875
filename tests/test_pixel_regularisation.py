"""The pivot loss against a loop over Algorithm 1, the composition of its batches, and what is measured of a classifier."""

import math
from dataclasses import replace

import pytest
import torch

from course_lib import devices, noise, rng
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.noisy_classification import evaluation, figures
from course_lib.noisy_classification import pixel_regularisation as pr
from course_lib.noisy_classification.resnet import ResNet
from course_lib.resolution import central_box, low_resolution, mixed_resolution

SMALL = pr.Settings(blocks=1, width=4, size=8, classes=5, batch_size=8, steps=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=20):
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=seeded(3))
    return Dataset("drawn", images, "drawn", tuple(map(str, range(count))), torch.arange(count) % 5, tuple("abcde"))


def naive(copies, clean, labels, k, lam, lam2):
    """Equation 1 term by term: embeddings E' (k) of the copies, E (m − k) of the clean images, labels (m − k)."""

    def cross_entropy(embedding, label):
        return -math.log(math.exp(embedding[label]) / sum(math.exp(value) for value in embedding))

    originals = sum(cross_entropy(embedding.tolist(), int(label)) for embedding, label in zip(clean, labels, strict=True))
    perturbed = sum(cross_entropy(copies[i].tolist(), int(labels[i])) for i in range(k))
    distance = sum((float(copies[i][j]) - float(clean[i][j])) ** 2 for i in range(k) for j in range(copies.shape[1]))
    m = k + len(clean)
    return (originals + lam * perturbed) / ((m - k) + lam * k) + lam2 * distance


@pytest.mark.parametrize(("m", "k"), [(8, 4), (9, 4), (10, 1), (6, 0), (2, 1)])
@pytest.mark.parametrize(("lam", "lam2"), [(0.3, 1e-4), (1.0, 0.0), (0.0, 0.5)])
def test_the_loss_is_that_of_a_loop_over_algorithm_1(m, k, lam, lam2):
    embeddings = torch.randn(m, 5, dtype=torch.float64, generator=seeded(m + k))
    labels = torch.randint(5, (m - k,), generator=seeded(m))
    both = torch.cat([labels[:k], labels])
    found, _ = pr.pivot_loss(embeddings, both, k, weight_perturbed=lam, weight_pivot=lam2)
    assert found.item() == pytest.approx(naive(embeddings[:k], embeddings[k:], labels, k, lam, lam2), abs=1e-12)


def test_the_clean_embedding_gets_no_gradient_from_the_distance():
    embeddings = torch.randn(10, 5, dtype=torch.float64, generator=seeded()).requires_grad_()
    labels = torch.arange(10) % 5
    _, distance = pr.pivot_loss(embeddings, labels, 4, weight_perturbed=0.3, weight_pivot=0.1)
    (gradient,) = torch.autograd.grad(distance, embeddings)
    assert torch.equal(gradient[4:], torch.zeros(6, 5).double())
    assert torch.allclose(gradient[:4], 2 * (embeddings[:4] - embeddings[4:8]).detach())


def test_the_gradient_of_a_step_is_that_of_its_parts():
    """With λ₂ the gradient of the clean images' logits is what it is without; that of the copies is not."""
    labels, gradients = torch.arange(8) % 5, []
    for weight in (0.0, 0.1):
        logits = torch.randn(8, 5, generator=seeded()).requires_grad_()
        pr.pivot_loss(logits, labels, 4, weight_perturbed=0.3, weight_pivot=weight)[0].backward()
        gradients.append(logits.grad)
    assert torch.equal(gradients[0][4:], gradients[1][4:]) and not torch.allclose(gradients[0][:4], gradients[1][:4])


@pytest.mark.parametrize("perturbation", ["noise", "low_resolution", "regions"])
@pytest.mark.parametrize("padding", [0, 2])
def test_a_batch_is_composed_as_in_algorithm_1(perturbation, padding):
    """k copies first, then their clean images, with the same crop and mirror; then m − 2k others; none occurs twice."""
    one_kind = {"factors": (2,), "enlarging": ("nearest",), "max_sigma": 0.05}
    settings = replace(SMALL, perturbation=perturbation, perturbed=0.25, padding=padding, **one_kind)
    pool, draws = pr.prepare(pictures(), settings), rng.Draws(0, 2)
    images, labels = pr.batch(pool, draws, settings)
    assert images.shape == (8, 3, 8, 8) and labels[:2].tolist() == labels[2:4].tolist()
    places = pool.places(rng.Draws(0, 2), 6)
    assert torch.equal(labels[2:], pool.labels[places]) and len(set(places.tolist())) == 6
    clean = pool.augmented(rng.Draws(0, 2), 6, padding=padding, flip=True)[0]
    assert torch.equal(images[2:], clean)
    if perturbation == "noise":
        assert 0 < (images[:2] - clean[:2]).abs().max() < 0.4
    elif perturbation == "low_resolution":
        assert torch.equal(images[:2], low_resolution(clean[:2], 2, "nearest"))
    else:
        low = low_resolution(clean[:2], 2, "nearest")
        assert torch.equal(images[1], low[1]), "every second image keeps its resolution nowhere"
        sides = [s for s in range(9) if torch.equal(images[0], mixed_resolution(clean[:1], low[:1], central_box(clean, s))[0])]
        assert sides, "the first one within a central square"


@pytest.mark.parametrize(("training", "clean", "copies"), [("clean", 8, 0), ("perturbed", 0, 8), ("both", 4, 4), ("pivot", 4, 4)])
def test_the_four_trainings(training, clean, copies):
    settings = replace(SMALL, training=training, padding=0, flip=False)
    pool = pr.prepare(pictures(), settings)
    images, labels = pr.batch(pool, rng.Draws(), settings)
    known = {bytes(image.numpy().tobytes()) for image in to_float(pool.images)}
    assert sum(bytes(image.numpy().tobytes()) in known for image in images) == clean and settings.copies == copies
    model = ResNet(settings, seed=0)
    loss, values = pr.step(model, (images, labels), settings)
    each = torch.nn.functional.cross_entropy(model(images), labels, reduction="none")
    if training in ("clean", "perturbed"):
        assert loss.item() == pytest.approx(each.mean().item(), rel=1e-5) and values["distance"] == 0
    else:
        weight = 1e-4 if training == "pivot" else 0.0
        expected = (each[4:].sum() + 0.3 * each[:4].sum()) / (4 + 0.3 * 4) + weight * 4 * values["distance"]
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5) and values["distance"] > 0


def test_noise_has_a_sigma_for_each_image_and_is_clipped():
    settings = replace(SMALL, max_sigma=0.15, size=64)
    gray, white = torch.full((400, 1, 64, 64), 0.5), torch.ones(4, 1, 64, 64)
    sigmas = (pr.perturbed(gray, rng.Draws(), settings) - gray).std(dim=(1, 2, 3))
    assert sigmas.max() < 0.155 and sigmas.min() < 0.005 and sigmas.mean() == pytest.approx(0.075, abs=0.01)
    noisy = pr.perturbed(white, rng.Draws(), settings)
    assert noisy.max() == 1 and noisy.min() < 1


def test_several_processes_have_the_loss_of_one(monkeypatch):
    """The loop takes the mean over the processes: the distance is a sum over all pairs of the whole batch."""
    settings = replace(SMALL, weight_pivot=0.1)
    model = ResNet(settings).eval()
    images, labels = torch.rand(8, 3, 8, 8, generator=seeded()), torch.arange(8) % 5
    labels[:4] = labels[4:]
    whole, _ = pr.step(model, (images, labels), settings)
    monkeypatch.setattr(devices, "processes", lambda: 2)
    halves = [torch.tensor(rows) for rows in ([0, 1, 4, 5], [2, 3, 6, 7])]
    parts = [pr.step(model, (images[rows], labels[rows]), replace(settings, batch_size=4))[0] for rows in halves]
    assert whole.item() == pytest.approx(sum(parts).item() / 2, rel=1e-5)


# --- evaluation -----------------------------------------------------------------------------------------------------------


def test_test_images_keep_their_noise_and_are_clipped():
    images = pictures().images
    whole = evaluation.degraded(images, sigma=0.3)
    assert torch.equal(evaluation.degraded(images, sigma=0.3, indices=[7, 2]), whole[[7, 2]])
    assert whole.min() == 0 and whole.max() == 1
    expected = noise.test_noise(to_float(images[7:8]), 0.3, 7).clamp(0, 1)
    assert torch.equal(whole[7:8], expected) and not torch.equal(evaluation.degraded(images, sigma=0.3, seed=1), whole)


def test_degradations_in_their_order():
    images = pictures().images
    clean = to_float(images)
    low = low_resolution(clean, 4, "bicubic")
    assert torch.equal(evaluation.degraded(images), clean)
    assert torch.equal(evaluation.degraded(images, factor=4, enlarging="bicubic"), low)
    mixed = mixed_resolution(clean, low, central_box(clean, 4))
    assert torch.equal(evaluation.degraded(images, factor=4, enlarging="bicubic", region=4), mixed)


def test_accuracy_is_the_share_of_right_answers():
    shown, model = pictures(), ResNet(SMALL, seed=2).eval()
    values = evaluation.evaluate(model, shown.images, shown.labels, sigma=0.1)
    said = model(evaluation.degraded(shown.images, sigma=0.1)).argmax(1)
    assert values == [100.0 if int(a) == int(b) else 0.0 for a, b in zip(said, shown.labels, strict=True)]
    assert evaluation.accuracy(model, shown.images, shown.labels, sigma=0.1) == pytest.approx(sum(values) / 20)
    assert evaluation.evaluate(model, shown.images, shown.labels, indices=[3, 1], sigma=0.1) == [values[3], values[1]]


def test_verdicts_say_who_is_right():
    said = {"one": torch.tensor([3.0, 0.0, 0.0]), "other": torch.tensor([0.0, 0.0, 2.0])}
    drawn = figures.verdicts(torch.rand(3, 8, 8), said, 2, ("a", "b", "c"))
    image, bars = drawn.axes
    texts = [text.get_text() for text in bars.texts]
    assert texts == ['says "a"', 'says "c"'] and [label.get_text() for label in bars.get_yticklabels()] == ["one", "other"]
    assert [round(bar.get_width(), 4) for bar in bars.patches] == [round(float(v.softmax(0).max()), 4) for v in said.values()]
    assert bars.patches[0].get_facecolor() != bars.patches[1].get_facecolor() and len(image.images) == 1
    assert figures.verdicts_in_words(said, 2, ("a", "b", "c")) == "one says a, wrong; other says c, right"


MODEL, SHOWN = ResNet(SMALL).eval(), pictures()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: replace(SMALL, perturbed=0.6, batch_size=10), ValueError, "k = 6 copies: .* at most half of it.*k ≤ m/2"),
        (lambda: replace(SMALL, perturbed=0.1), ValueError, "k = 0 copies: a batch has at least one"),
        (lambda: replace(SMALL, training="noisy"), ValueError, 'training = "noisy", but it must be one of clean, perturbed, both, pivot'),
        (lambda: replace(SMALL, max_sigma=38.25), ValueError, "sigma = 38.25 is more than 2 times .*38.25 / 255"),
        (lambda: replace(SMALL, factors=(3,)), ValueError, r"factors = \(3,\): give .* that divide size = 8"),
        (lambda: replace(SMALL, enlarging=("linear",)), ValueError, "enlarging = .*nearest, bicubic"),
        (lambda: replace(SMALL, weight_pivot=-1.0), ValueError, "weight_pivot = -1.0: neither may be negative"),
        (lambda: pr.pivot_loss(torch.zeros(4, 5), torch.zeros(4).long(), 3, weight_perturbed=0.3, weight_pivot=0), ValueError,
         "k = 3 perturbed images in a batch of m = 4.*k lies in 0 to m/2"),
        (lambda: pr.pivot_loss(torch.zeros(4, 5), torch.full((4,), 5), 2, weight_perturbed=0.3, weight_pivot=0), ValueError,
         "labels are 5 to 5, but there are classes = 5"),
        (lambda: pr.pivot_loss(torch.zeros(4, 5), torch.zeros(3).long(), 1, weight_perturbed=0.3, weight_pivot=0), ValueError,
         "4 rows of logits, but 3 labels"),
        (lambda: pr.pivot_loss(torch.zeros(4), torch.zeros(4).long(), 1, weight_perturbed=0.3, weight_pivot=0), ValueError,
         r"logits: the shape \(4,\) was given"),
        (lambda: evaluation.evaluate(MODEL, SHOWN.images, SHOWN.labels[:3]), ValueError, "20 images, but 3 labels"),
        (lambda: evaluation.evaluate(MODEL, to_float(SHOWN.images), SHOWN.labels), TypeError, "8-bit"),
        (lambda: evaluation.evaluate(MODEL, SHOWN.images, SHOWN.labels, sigma=38.25), ValueError, "38.25 / 255"),
        (lambda: evaluation.evaluate(MODEL, SHOWN.images, SHOWN.labels, factor=4, region=9), ValueError, "region of interest = 9"),
        (lambda: evaluation.evaluate(MODEL, SHOWN.images, SHOWN.labels, indices=[20]), ValueError, "indices has 20 in it"),
    ],
)  # fmt: skip
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
