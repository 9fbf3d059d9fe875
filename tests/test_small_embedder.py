"""The small embedding network of the gallery lab, its recipe, and what is shipped of it."""

from __future__ import annotations

import pytest
import torch

from course_lib import recipes, results, rng, runs, weights
from course_lib.metric_learning import triplet
from course_lib.metric_learning.embedding import Embedder
from course_lib.metric_learning.small_embedder import SmallEmbedder
from course_lib.recipes import gallery

SETTINGS = gallery.RECIPES["triplet_small"].presets["quick"].settings


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_it_has_an_eighth_of_the_weights():
    found = parameters(SmallEmbedder(SETTINGS))
    assert found == (25 + 1) * 16 + (16 * 25 + 1) * 32 + (512 + 1) * 64 + (64 + 1) * 32 + 3
    assert parameters(Embedder(SETTINGS)) / found == pytest.approx(8, abs=0.3)


def test_embeddings_lie_on_the_unit_sphere_and_a_seed_decides():
    images = torch.rand(5, 1, 28, 28, generator=rng.generator(0, 0, 0, "images"))
    one, again, other = (SmallEmbedder(SETTINGS, seed=seed) for seed in (0, 0, 1))
    points = one.embed(images)
    assert points.shape == (5, 32) and torch.allclose(points.norm(dim=1), torch.ones(5), atol=1e-6)
    assert torch.equal(points, again.embed(images)) and not torch.allclose(points, other.embed(images))
    compiled = torch.compile(one, fullgraph=True, backend="eager")
    assert torch.allclose(compiled(images), points, atol=1e-6)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images are \(1, 32, 32\), but this network was made for \(C, H, W\) = \(1, 28, 28\)"):
        SmallEmbedder(SETTINGS).embed(torch.zeros(1, 1, 32, 32))


def test_a_step_of_the_recipe():
    found, chosen = recipes.find("triplet_small", "quick")
    people = chosen.data(0).train()
    assert len(people) == len(people.labels.unique()) == 4000
    images, who, scores = found.method.batch(triplet.prepare(people, SETTINGS), rng.Draws(), SETTINGS)
    model = found.network(SETTINGS, seed=0)
    loss, values = found.method.step(model, (images, who, scores), SETTINGS)
    loss.backward()
    assert 0 < values["active"] <= 1 and all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_what_is_shipped_is_small_and_tells_people_apart():
    assert weights.path("triplet_small", "quick").stat().st_size < 100_000
    record = results.read("triplet_small", "quick")
    assert record["weights"]["half_precision"] and record["metrics"]["digits"]["eer_0"] < 5
    assert runs.shipped("triplet_small", "quick").normalise
