"""Every method keeps the protocol that the training loop expects of it."""

import copy
from dataclasses import replace

import pytest
import torch

from course_lib import rng
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.recipes import RECIPES

TINY = {"depth": 3, "width": 4, "estimator_width": 4, "patch_size": 16, "batch_size": 6, "images": 2, "people": 5, "dimension": 4,
        "height": 20, "width_of_images": 20, "scales": (1.0,), "size": 20, "blocks": 2, "angles": (0, 90), "denoiser_width": 4,
        "stride": 2, "tile": 4, "gap": 1}  # fmt: skip
ONE_EACH = {recipe.method.__name__.rsplit(".", 1)[1]: name for name, recipe in RECIPES.items()}  # the last recipe of each method


def made(name):
    """(method, settings, network, pool) of a recipe at a size that takes milliseconds."""
    recipe = RECIPES[name]
    settings = next(iter(recipe.presets.values())).settings
    fields = {field: value for field, value in TINY.items() if hasattr(settings, field)}
    of_people = hasattr(settings, "dimension")
    if of_people:
        fields |= {"width": 20, "height": 20}
    if recipe.method.__name__.endswith("exemplar"):
        fields["classes"] = 8  # each is an image
    settings = replace(settings, **fields)
    draws, channels = torch.Generator().manual_seed(3), getattr(settings, "channels", 3)
    images = torch.randint(0, 256, (10, channels, 20, 20), dtype=torch.uint8, generator=draws)
    labels = torch.arange(10) % 2 if hasattr(settings, "jitter") else torch.arange(10) // 2  # before and after, or five people
    shown = Dataset("drawn", images, "drawn", tuple(map(str, range(10))), labels, tuple("abcde"))
    needs = {part: source for part, source in next(iter(recipe.presets.values())).needs.items() if part != "start"}
    held = {part: Frozen(made(source.recipe)[2].get_submodule(source.part)) for part, source in needs.items()}
    return recipe.method, settings, recipe.network(settings, seed=0, **held), recipe.method.prepare(shown, settings, 0)


@pytest.mark.parametrize("name", ONE_EACH.values(), ids=ONE_EACH)
def test_a_batch_is_tensors_drawn_from_named_streams(name):
    method, settings, _, pool = made(name)
    batches = [method.batch(pool, rng.Draws(*key), settings) for key in ((0, 3, 0), (0, 3, 0), (0, 4, 0), (1, 3, 0), (0, 3, 1))]
    assert all(part is None or isinstance(part, torch.Tensor) for batch in batches for part in batch), "no settings travel in it"

    def equal(a, b):
        return all(x is y is None or torch.equal(x, y) for x, y in zip(a, b, strict=True))

    assert equal(batches[0], batches[1]), "a function of seed, step and rank"
    assert not any(equal(batches[0], other) for other in batches[2:]), "… of each of them"
    count = len(batches[0] if isinstance(batches[0], torch.Tensor) else batches[0][0])
    assert count == settings.batch_size * (2 if method.__name__.endswith("contrastive") else 1), "of two views"


@pytest.mark.parametrize("name", ONE_EACH.values(), ids=ONE_EACH)
def test_a_step_changes_no_weights_and_reports_the_same_names(name):
    method, settings, network, pool = made(name)
    network.train()
    before, reported = copy.deepcopy(dict(network.named_parameters())), []
    for step in range(3):
        loss, values = method.step(network, method.batch(pool, rng.Draws(step=step), settings), settings)
        assert loss.shape == () and loss.requires_grad and loss.isfinite()
        assert all(value.shape == () and not value.requires_grad for value in values.values())
        reported.append(list(values))
        loss.backward()
    assert reported[0] == reported[1] == reported[2]
    assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())
