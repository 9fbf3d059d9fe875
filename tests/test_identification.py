"""Identification by classification, and how distances are evaluated on people who were not trained on."""

import itertools
import math

import pytest
import torch

from course_lib import batches, data, metrics, noise, rng, training
from course_lib.metric_learning import evaluation, identification, identities

TINY = {"height": 20, "width": 20, "dimension": 8, "images": 2, "batch_size": 6, "steps": 4, "log_every": 2, "people": 5}


def people(count=5, each=4, side=20, seed=0):
    """Pictures of ``count`` people: a pattern for each, and some noise."""
    draws = torch.Generator().manual_seed(seed)
    patterns = torch.randint(40, 216, (count, 1, side, side), generator=draws)
    images = patterns.repeat_interleave(each, 0) + torch.randint(-30, 31, (count * each, 1, side, side), generator=draws)
    labels = torch.arange(count).repeat_interleave(each)
    names = tuple(f"picture {i}" for i in range(count * each))
    return data.Dataset("patterns", images.to(torch.uint8), "drawn", names, labels, tuple(f"person {i}" for i in range(count)))


# --- the classifier -------------------------------------------------------------------------------------------------------


def test_cross_entropy_by_loops():
    logits = torch.randn(7, 5, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    identities = torch.tensor([0, 4, 2, 2, 1, 3, 0])
    total = 0.0
    for row, identity in zip(logits.tolist(), identities.tolist(), strict=True):
        total -= row[identity] - math.log(sum(math.exp(v) for v in row))
    assert identification.cross_entropy(logits, identities).item() == pytest.approx(total / 7, rel=1e-12)


def test_logits_are_a_linear_function_of_the_rectified_representation():
    model = identification.Classifier(identification.Settings(**TINY), seed=3).eval()
    images = batches.to_float(people().images)
    with torch.no_grad():
        expected = model.embed(images).relu() @ model.head.weight.T + model.head.bias
        assert torch.allclose(model(images), expected, atol=1e-5)
    assert torch.equal(model.identify(images), expected.argmax(1))


def test_training_learns_the_people_it_is_shown():
    # 8 dimensions, of which ReLU leaves fewer, are too few in some seeds: with 32 all of 0 to 4 learn, in either precision
    plan = identification.Settings(**{**TINY, "dimension": 32, "batch_size": 10, "steps": 200, "learning_rate": 1e-3})
    shown = people()
    model = identification.Classifier(plan)
    history = training.fit(model, identification.prepare(shown, plan), identification, plan, progress=False)
    assert (model.identify(batches.to_float(shown.images)) == shown.labels).float().mean() > 0.9
    assert history.values["accuracy"][-1] > 0.9 > history.values["accuracy"][0]


def test_a_wider_classifier_knows_what_the_narrow_one_knew():
    model = identification.Classifier(identification.Settings(**TINY), seed=3).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wider = identification.widened(model, identification.Settings(**{**TINY, "people": 8}), seed=4).eval()
    images = batches.to_float(people().images)
    with torch.no_grad():
        assert wider(images).shape == (20, 8) and torch.equal(wider(images)[:, :5], model(images))
        wider.head.weight.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items()), "the narrow one is left alone"


@pytest.mark.parametrize("change", [{"people": 4}, {"dimension": 9}, {"height": 24}])
def test_a_classifier_that_cannot_be_widened(change):
    model = identification.Classifier(identification.Settings(**TINY))
    with pytest.raises(ValueError, match=r"people = \d: the new classifier needs at least 5, and the same embedding network"):
        identification.widened(model, identification.Settings(**{**TINY, **change}))


@pytest.mark.parametrize(("setting", "message"), [({"people": 1}, "people = 1"), ({"normalise": True}, "normalise = True")])
def test_settings_that_make_no_sense(setting, message):
    with pytest.raises(ValueError, match=message):
        identification.Settings(**{**TINY, **setting})


def test_identities_without_an_output():
    shown = people()
    with pytest.raises(ValueError, match="identities are 0 to 4, but the people = 3 outputs"):
        identification.prepare(shown, identification.Settings(**{**TINY, "people": 3}))


# --- evaluation -----------------------------------------------------------------------------------------------------------


def test_comparisons_by_loops():
    shown = people(3, 3)
    compared = evaluation.compare(evaluation.pixels, shown.images, shown.labels)
    pictures = batches.to_float(shown.images).flatten(1)
    pairs = [(i, j) for i, j in itertools.product(range(9), repeat=2) if i != j]
    distance, same = compared.pairs()
    assert torch.allclose(distance, torch.stack([(pictures[i] - pictures[j]).norm() for i, j in pairs]), atol=1e-4)
    assert same.tolist() == [i // 3 == j // 3 for i, j in pairs]
    assert compared.eer() == metrics.eer(distance, same)[0]
    nearer = [a < b for a in distance[same].tolist() for b in distance[~same].tolist()]
    assert compared.auc() == pytest.approx(sum(nearer) / len(nearer), abs=1e-3)


@pytest.mark.parametrize("templates", [1, 2])
def test_rank1_by_loops(templates):
    shown = people(4, 4)
    grain = torch.randint(0, 90, shown.images.shape, generator=torch.Generator().manual_seed(2))
    images = (shown.images // 8 + 100 + grain).to(torch.uint8)
    compared = evaluation.compare(evaluation.pixels, images, shown.labels)
    rates = []
    for draw in range(6):
        scores = torch.rand(16, generator=rng.generator(7, draw, 0, "choice of templates"))
        chosen = {u: sorted(range(4 * u, 4 * u + 4), key=lambda i: scores[i].item())[:templates] for u in range(4)}
        right = []
        for query in range(16):
            if query not in chosen[query // 4]:
                means = [sum(compared.distance[query, t].item() for t in chosen[u]) / templates for u in range(4)]
                right.append(means.index(min(means)) == query // 4)
        rates.append(sum(right) / len(right))
    found = compared.rank1(templates, draws=6, seed=7)
    assert found == pytest.approx(sum(rates) / len(rates), abs=1e-6) and 0.2 < found < 1


def test_the_noise_is_that_of_the_queries():
    shown = people(2, 3)
    clean = evaluation.compare(evaluation.pixels, shown.images, shown.labels)
    noisy = evaluation.compare(evaluation.pixels, shown.images, shown.labels, sigma_255=50, seed=4)
    own = noisy.distance.diagonal()
    assert torch.allclose(own, torch.full_like(own, noise.from_255(50) * 20), rtol=0.15), "the distance to itself is that of the noise"
    assert clean.distance.diagonal().max() < 1e-2 and not torch.allclose(noisy.distance, noisy.distance.T, atol=1e-3)
    again = evaluation.compare(evaluation.pixels, shown.images, shown.labels, sigma_255=50, seed=4)
    assert torch.equal(noisy.distance, again.distance)


def test_evaluate_names_and_units():
    shown = people(4, 7)
    found = evaluation.evaluate(evaluation.pixels, shown, sigmas_255=(0, 25), shot={"shift": 0.2, "angle": 10.0})
    figures = ("eer", "auc", "rank1", "rank1of5")
    assert list(found) == [f"{f}_{c}" for c in ("0", "25", "shot") for f in figures]
    assert found["eer_0"] == 0 and found["auc_0"] == found["rank1_0"] == found["rank1of5_25"] == 100, "in percent"
    assert found["eer_shot"] > 10


@pytest.mark.parametrize("templates", [0, 3])
def test_too_few_or_too_many_templates(templates):
    shown = people(2, 3)
    with pytest.raises(ValueError, match=f"templates = {templates}, but somebody has 3 pictures"):
        evaluation.compare(evaluation.pixels, shown.images, shown.labels).rank1(templates)


def test_split_by_person():
    shown = people(6, 3)
    seen = set()
    for seed in range(3):
        train, test = identities.split(shown, 4, seed)
        assert len(train) == 12 and len(test) == 6 and set(train.classes) | set(test.classes) == set(shown.classes)
        assert not set(train.names) & set(test.names)
        assert train.labels.unique().tolist() == [0, 1, 2, 3] and test.labels.unique().tolist() == [0, 1]
        for part in (train, test):
            for image, name in zip(part.images, part.names, strict=True):
                assert torch.equal(image, shown.image(name))
        seen.add(train.classes)
    assert len(seen) > 1
    for wrong in (1, 5):
        with pytest.raises(ValueError, match=f"train = {wrong} of 6"):
            identities.split(shown, wrong, 0)
    with pytest.raises(ValueError, match="no picture of identity 9"):
        identities.of_identities(shown, [0, 9])
    assert len(identities.of_identities(shown, [2, 1], at_most=2)) == 4


def test_shots_make_a_person_of_every_picture():
    shown = people(2, 2)
    made = identities.shots(shown, 3, shift=0.1, angle=10.0, light=0.2, seed=1)
    assert made.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and made.images.shape == (12, 1, 20, 20)
    assert made.images.dtype == torch.uint8 and "3 random shots" in made.source and made.classes == shown.names
    still = identities.shots(shown, 2, shift=0.0, angle=0.0, light=0.0)
    assert torch.equal(still.images, shown.images.repeat_interleave(2, 0))


def test_smaller():
    assert identities.smaller(people(2, 2), 0.5).images.shape == (4, 1, 10, 10)
