"""Before and after: backgrounds are removed, losses, maps and masks are those of the formulas, and the recipes run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib import batches, metrics, recipes, recording, results, rng, runs, training
from course_lib.data import Dataset, scenes
from course_lib.frozen import Frozen
from course_lib.pretext import activation_maps, backgrounds, before_after, segmentation

SMALL = before_after.Settings(trunk="small", width=4, steps=3, batch_size=6, precision="32-true")


@pytest.fixture(scope="module")
def drawn():
    return scenes.draw(40)


@pytest.fixture(scope="module")
def line(drawn):
    return Dataset("scenes", drawn.images, "drawn", tuple(map(str, range(80))), drawn.labels)


def with_backgrounds(line, **changes):
    """The same with three classes, as a folder of one's own brings them."""
    labels = line.labels.clone()
    labels[20:40] = 2
    return replace(line, labels=labels, **changes)


# --- backgrounds ----------------------------------------------------------------------------------------------------------


def test_the_empty_belt_is_the_median():
    images = torch.randint(0, 256, (7, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    belt = backgrounds.empty_belt(images)
    assert belt[1, 2, 3] * 255 == pytest.approx(float(np.median(images[:, 1, 2, 3].numpy())), abs=1e-4)


def test_objects_are_found_on_the_belt(drawn):
    before = drawn.labels == 1
    found = backgrounds.foreground(drawn.images[before], backgrounds.empty_belt(drawn.images[before]))
    objects = drawn.objects[before]
    assert ((found & objects).sum() / objects.sum()) > 0.85, "most of each object"
    assert ((found & ~objects).sum() / (~objects).sum()) < 0.1, "and little of the belt"


def test_a_light_of_the_moment_is_taken_out():
    belt = torch.full((3, 32, 32), 0.4)
    image = torch.full((1, 3, 32, 32), 130, dtype=torch.uint8)  # a belt that is lit a little more than usual, in all
    image[:, :, 10:20, 10:20] = 10
    found = backgrounds.foreground(image, belt)
    assert bool(found[0, 0, 12:18, 12:18].all()) and not bool(found[0, 0, :8].any())


def test_images_in_two_parts(drawn):
    parts = backgrounds.parted(drawn.images, drawn.labels)
    mask = parts.mask.float()
    around = F.avg_pool2d(mask, 3, 1, 1, count_include_pad=False)  # 1 inside, 0 outside, and between them on the border
    inside, outside = ((around == value).expand_as(drawn.images) for value in (1, 0))
    assert torch.equal(parts.objects, drawn.images * inside) and torch.equal(parts.background, drawn.images * outside)
    assert bool((parts.mask & (around < 1)).any()) and not bool((inside & outside).any())
    for label in (0, 1):
        own = drawn.labels == label
        assert torch.equal(parts.mask[own], backgrounds.foreground(drawn.images[own], backgrounds.empty_belt(drawn.images[own])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: backgrounds.empty_belt(d.images[:2]), "there are 2 images: a median"),
        (lambda d: backgrounds.empty_belt(d.images.float()), "8-bit"),
        (lambda d: backgrounds.foreground(d.images, torch.zeros(3, 8, 8)), r"the belt is \(3, 8, 8\), but the images are \(3, 64, 64\)"),
        (lambda d: backgrounds.foreground(d.images, torch.zeros(3, 64, 64), threshold=30), "threshold = 30"),
        (lambda d: backgrounds.parted(d.images, d.labels[:3]), "there are 80 images, but 3 labels"),
    ],
)
def test_backgrounds_that_cannot_be_removed(drawn, call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call(drawn)


# --- the classifier -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_the_loss_against_a_naive_loop(classes):
    draws = torch.Generator().manual_seed(classes)
    logits = (4 * torch.randn(5, classes, generator=draws, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(classes, (5,), generator=draws)
    expected = 0.0
    for row, label in zip(logits.softmax(1), labels, strict=True):
        for number, p in enumerate(row):
            expected = expected - (p.log() if number == label else (1 - p).log()) / (5 * classes)
    found = before_after.softmax_cross_entropy(logits, labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    a, b = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (found, expected))
    assert torch.allclose(a, b, atol=1e-12)
    if classes == 2:
        assert found.item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-12)


def test_the_loss_of_large_scores_is_finite():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    loss = before_after.softmax_cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert loss.isfinite() and bool(logits.grad.isfinite().all())


def test_pools(line):
    pools = {kind: before_after.prepare(line, replace(SMALL, background=kind)) for kind in ("kept", "removed", "class")}
    assert torch.equal(pools["kept"].images, line.images) and pools["kept"].classes == pools["removed"].classes == 2
    assert torch.equal(pools["class"].images[:80], pools["removed"].images)
    assert pools["class"].labels.bincount().tolist() == [40, 40, 40]
    assert torch.equal(pools["removed"].images, backgrounds.parted(line.images, line.labels).objects)
    brought = before_after.prepare(with_backgrounds(line), SMALL)
    assert torch.equal(brought.images, line.images) and brought.labels.bincount().tolist() == [40, 20, 20]
    assert len(before_after.prepare(with_backgrounds(line), replace(SMALL, background="removed"))) == 60


@pytest.mark.parametrize(
    ("change", "background", "message"),
    [
        (lambda d: replace(d, labels=None), "kept", "has no labels"),
        (lambda d: replace(d, labels=torch.zeros_like(d.labels)), "class", "has no image of the class before"),
        (lambda d: replace(d, labels=torch.ones_like(d.labels)), "kept", "has no image of the class after"),
        (lambda d: replace(d, images=d.images[:, :1]), "kept", "three channels are expected"),
        (lambda d: replace(d, images=tuple(d.images)), "kept", "several sizes"),
        (with_backgrounds, "kept", "has its backgrounds as a class"),
    ],
)
def test_images_that_cannot_be_learnt_from(line, change, background, message):
    with pytest.raises(ValueError, match=message):
        before_after.prepare(change(line), replace(SMALL, background=background))


@pytest.mark.parametrize(
    "changes",
    [{"background": "blurred"}, {"trunk": "vgg"}, {"width": 0}, {"jitter": 1.0}, {"threshold": 0.0}],
)
def test_settings_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(SMALL, **changes)


def test_relit():
    images = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0)) / 2
    images[:, :, 0] = 0
    found = before_after.relit(images, 0.4, torch.Generator().manual_seed(1))
    gains = (found / images)[:, :, 1:].flatten(2)
    assert torch.allclose(gains, gains[..., :1].expand_as(gains), atol=1e-4), "one gain for each image and channel"
    assert gains.min() >= 0.6 and gains.max() <= 1.4 and gains.std(0).min() > 0.1 and not bool(found[:, :, 0].any()), "black stays black"


def test_the_networks():
    small = before_after.Classifier(replace(SMALL, width=24))
    assert sum(p.numel() for p in small.parameters()) == 1800 + 5184 + 10_368 + 31_104 + 2 * (24 + 24 + 48 + 72) + 3 * 72
    assert small.trunk(torch.zeros(2, 3, 64, 60)).shape == (2, 72, 16, 15)
    large = before_after.Classifier(before_after.Settings())
    assert sum(p.numel() for p in large.parameters()) == 25_557_032 - 1000 * 2049 + 3 * 2048
    for model in (small, large):
        assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_seeds_of_the_weights():
    a, b, c = (before_after.Classifier(SMALL, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(t, b[name]) for name, t in a.items())
    assert not torch.equal(a["head.weight"], c["head.weight"]) and not torch.equal(a["trunk.0.weight"], c["trunk.0.weight"])


# --- maps -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier():
    model = before_after.Classifier(SMALL).double()
    nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(0))
    return model.eval()


def test_cam_against_a_naive_loop_and_its_mean_is_the_score(classifier):
    images = torch.rand(2, 3, 16, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features, weights = classifier.trunk(images - 0.5), classifier.head.weight
    found = activation_maps.cam(features, weights)
    for b, c, h, w in np.ndindex(2, 3, 4, 5):
        expected = sum(weights[c, k] * features[b, k, h, w] for k in range(12))
        assert found[b, c, h, w].item() == pytest.approx(expected.item(), rel=1e-10)
    scores = classifier.head(features.mean((2, 3)))
    assert torch.allclose(found.mean((2, 3)), scores, atol=1e-12)


def test_grad_cam_is_cam_up_to_the_number_of_places(classifier):
    images = torch.rand(3, 3, 16, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    features = classifier.trunk(images - 0.5)
    by_gradient = activation_maps.grad_cam(features, classifier.head(features.mean((2, 3))))
    assert torch.allclose(by_gradient * 4 * 5, activation_maps.cam(features, classifier.head.weight), atol=1e-12)


def test_maps_of_several_scales_and_of_the_mirror_image():
    class Colours(nn.Module):
        """Its features are the pixels themselves, which a mirror and a scale change as they change a map."""

        trunk, head = nn.Identity(), nn.Linear(3, 2, bias=False)

    model, images = Colours(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = activation_maps.maps(model, images, mirrored=False)
        assert torch.allclose(plain, activation_maps.cam(images - 0.5, model.head.weight), atol=1e-6)
        assert torch.allclose(activation_maps.maps(model, images), plain, atol=1e-6)
        several = activation_maps.maps(model, images, scales=(1.0, 0.5))
    smooth = F.interpolate(F.interpolate(images, size=(8, 8), mode="bilinear", antialias=True), size=(16, 16), mode="bilinear")
    with torch.no_grad():
        expected = (plain + activation_maps.cam(smooth - 0.5, model.head.weight)) / 2
    assert torch.allclose(several, expected, atol=1e-5)


def test_pseudo_masks_are_the_argmax():
    maps = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    for label in range(3):
        assert torch.equal(activation_maps.pseudo_masks(maps, label)[:, 0], maps.argmax(1) == label)
    same = maps + torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(activation_maps.evidence(maps), activation_maps.evidence(same), atol=1e-5), "what all maps share says nothing"


def test_scores_within_the_foreground():
    scores, mask = torch.tensor([[[[3.0, 2.0], [-1.0, 4.0]]]]), torch.tensor([[[[True, False], [True, False]]]])
    found = activation_maps.within(scores, mask)
    assert torch.equal(found[mask], scores[mask]) and found[~mask].max() < -1
    assert activation_maps.within(scores + 5, mask)[~mask].max() < 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: activation_maps.cam(torch.zeros(1, 4, 2, 2), torch.zeros(2, 5)), "features have 4 channels, .* weights for 5"),
        (lambda: activation_maps.cam(torch.zeros(4, 2, 2), torch.zeros(2, 4)), r"\(B, K, H, W\) is expected"),
        (lambda: activation_maps.grad_cam(torch.zeros(1, 4, 2, 2), torch.zeros(1, 2)), "with a gradient"),
        (lambda: activation_maps.evidence(torch.zeros(1, 1, 2, 2), 0), "maps of at least two classes"),
        (lambda: activation_maps.evidence(torch.zeros(1, 2, 2, 2), 2), "label = 2"),
        (lambda: activation_maps.within(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3) > 0), "differ in shape"),
        (lambda: activation_maps.maps(before_after.Classifier(SMALL), torch.rand(1, 3, 8, 8), scales=()), "no scales"),
        (lambda: activation_maps.maps(before_after.Classifier(SMALL), torch.rand(1, 3, 8, 8), scales=(0.0,)), "scales = 0"),
        (lambda: activation_maps.maps(before_after.Classifier(SMALL), torch.rand(3, 8, 8)), r"\(B, C, H, W\) is expected"),
        (lambda: segmentation.masked_cross_entropy(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3) > 0), "differ in shape"),
        (lambda: before_after.softmax_cross_entropy(torch.zeros(3, 2), torch.zeros(2, dtype=torch.long)), "do not fit"),
        (lambda: before_after.relit(torch.zeros(1, 3, 2, 2), 2, torch.Generator()), "strength = 2"),
    ],
)
def test_tensors_that_do_not_fit(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


# --- segmentation ---------------------------------------------------------------------------------------------------------

SEGMENTATION = segmentation.Settings(width=4, steps=3, batch_size=6, precision="32-true")


@pytest.fixture
def segmenter():
    classifier = before_after.Classifier(SMALL)
    nn.init.normal_(classifier.head.weight, generator=torch.Generator().manual_seed(0))
    return segmentation.Segmenter(SEGMENTATION, Frozen(classifier))


def test_the_loss_of_masks_against_a_naive_loop():
    draws = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(2, 1, 3, 4, generator=draws, dtype=torch.float64), torch.rand(2, 1, 3, 4, generator=draws) < 0.3
    expected = [-torch.log(torch.sigmoid(z if m else -z)).item() for z, m in zip(logits.flatten(), masks.flatten(), strict=True)]
    assert segmentation.masked_cross_entropy(logits, masks).item() == pytest.approx(np.mean(expected), rel=1e-12)


def test_masks_of_a_batch_are_those_of_the_classifier_and_empty_after(segmenter, line):
    pool = segmentation.prepare(line, SEGMENTATION)
    images, foreground, labels = segmentation.batch(pool, rng.Draws(), SEGMENTATION)
    with torch.no_grad():
        maps = activation_maps.maps(segmenter.classifier.network, images, mirrored=False)
    masks = (maps.argmax(1, keepdim=True) == 1) & foreground & (labels == 1)[:, None, None, None]
    loss, values = segmentation.step(segmenter, (images, foreground, labels), SEGMENTATION)
    assert values["marked"].item() == pytest.approx(masks.float().mean().item()) and 0 < values["marked"] < 1
    assert loss.item() == pytest.approx(F.binary_cross_entropy_with_logits(segmenter(images), masks.float()).item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in segmenter.parameters()) and not any("classifier" in name for name in segmenter.state_dict())


def test_the_segmentation_network(segmenter, drawn):
    assert segmenter(torch.rand(2, 3, 30, 42)).shape == (2, 1, 30, 42)
    scores = segmentation.scores(segmenter.eval(), drawn.images[:5], at_once=2)
    assert torch.allclose(scores, segmenter(batches.to_float(drawn.images[:5])), atol=1e-5)
    every = segmentation.evaluate(segmenter, drawn.images, drawn.illegal)
    expected = (100 * metrics.iou(segmentation.scores(segmenter, drawn.images) > 0, drawn.illegal)).tolist()
    assert every == pytest.approx(expected) and segmentation.evaluate(segmenter, drawn.images, drawn.illegal, indices=[70, 3]) == [
        pytest.approx(every[70]), pytest.approx(every[3])]  # fmt: skip
    with pytest.raises(ValueError, match="differ|one shape"):
        segmentation.evaluate(segmenter, drawn.images, drawn.illegal[..., :32])


def test_the_foreground_travels_with_its_image(line, drawn):
    pool = segmentation.prepare(line, SEGMENTATION)
    assert pool.images.shape == (80, 4, 64, 64)
    assert torch.equal(pool.images[:, 3:] == 255, backgrounds.parted(drawn.images, drawn.labels).mask)
    plain = replace(SEGMENTATION, jitter=0.0, batch_size=40)
    images, foreground, labels = segmentation.batch(pool, rng.Draws(), plain)
    places = pool.places(rng.Draws(), 40)
    assert torch.equal(labels, pool.labels[places]) and foreground.dtype == torch.bool
    turned = {0: lambda x: x, 1: lambda x: x.flip(-1), 2: lambda x: x.flip(-2), 3: lambda x: x.flip((-1, -2))}
    ways = set()
    for image, mask, place in zip(images, foreground, places, strict=True):
        [way] = [n for n, turn in turned.items() if torch.equal(batches.to_float(turn(pool.images[place, :3])), image)]
        assert torch.equal(turned[way](pool.images[place, 3:]) == 255, mask)
        ways.add(way)
    assert ways == {0, 1, 2, 3}


def test_images_without_backgrounds_are_segmented_as_they_come(line):
    pool = segmentation.prepare(with_backgrounds(line), SEGMENTATION)
    assert len(pool) == 60 and bool((pool.images[:, 3] == 255).all())


@pytest.mark.parametrize("changes", [{"width": 0}, {"jitter": -0.1}, {"scales": ()}, {"scales": (1.0, 0.0)}])
def test_settings_of_the_segmentation_that_make_no_sense(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        replace(SEGMENTATION, **changes)


# --- compiled, trained, in recipes ----------------------------------------------------------------------------------------


def test_the_networks_compile_in_one_piece(segmenter):
    for model in (before_after.Classifier(SMALL).eval(), segmenter.eval()):
        images = torch.rand(2, 3, 32, 32)
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(model, fullgraph=True, backend="eager")(images), model(images), atol=1e-6)


def test_a_training_of_each(line, segmenter):
    model = before_after.Classifier(SMALL)
    for method, network, settings in ((before_after, model, SMALL), (segmentation, segmenter, SEGMENTATION)):
        before = {name: p.clone() for name, p in network.named_parameters()}
        training.fit(network, method.prepare(line, settings), method, settings, progress=False)
        assert all(not torch.equal(p, before[name]) for name, p in network.named_parameters() if p.dim() > 1)


NAMES = ("before_after_kept", "before_after_removed", "before_after", "before_after_masks")


@pytest.mark.parametrize("name", NAMES)
def test_recipes(name):
    found = recipes.RECIPES[name]
    quick, paper = found.presets["quick"], found.presets["paper"]
    assert quick.settings.steps <= 400 and list(quick.tests) == ["scenes"] and list(paper.tests) == ["ws2"]
    if name != "before_after_masks":
        plan = paper.settings
        assert (plan.trunk, plan.batch_size, plan.learning_rate, plan.final_learning_rate) == ("resnet50", 32, 5e-4, 5e-4)
        assert plan.steps * 32 / 25 == pytest.approx(1.5 * (4851 + 4712), rel=0.01), "25 epochs"
        assert not quick.needs
    else:
        assert quick.needs["classifier"].recipe == "before_after" and quick.needs["classifier"].preset == "quick"


def test_figures_of_scenes():
    """On a network that knows nothing: every figure is there, of as many images as are asked for, in percent."""
    test = recipes.RECIPES["before_after"].presets["quick"].tests["scenes"]
    found = recipes.RECIPES["before_after"].presets["quick"].data(0).test("scenes")
    model = before_after.Classifier(SMALL).eval()
    figures = test.figures(found, model, count=3)
    assert {name: len(values) for name, values in figures.items()} == dict.fromkeys(
        ("accuracy", "accuracy_swapped", "iou_before", "iou_after", "ap_before"), 3
    )
    for metric, kind in (("iou_after", "after"), ("ap_before", "before")):
        assert list(figures[metric]) == [f"{kind} {number}" for number in range(3)]
    assert all(0 <= value <= 100 for values in figures.values() for value in values.values())
    scores = activation_maps.scores(model, found.images[:3])
    assert figures["iou_before"]["before 1"] == pytest.approx(100 * metrics.iou(scores > 0, found.masks[:3])[1].item())


def test_a_record_and_the_recipe_that_learns_from_its_network(home, monkeypatch):
    monkeypatch.setenv("COURSE_PRECISION", "32-true")
    monkeypatch.setattr(scenes, "COUNT", {"train": 8, "test": 3})
    changes = {"steps": "2", "width": "16", "batch_size": "4"}
    for name, measured in (("before_after", {"accuracy", "accuracy_swapped", *MASKS}), ("before_after_masks", set(MASKS))):
        file = home / f"{name}.ckpt"
        runs.train(name, "quick", changes=changes, checkpoint=file)
        written = recording.record(name, "quick", file)
        assert set(written["metrics"]["scenes"]) == measured and written["short"]
        assert all(0 <= value <= 100 for value in written["metrics"]["scenes"].values())
        assert "drawn by" in written["measured"][0]["source"]
        assert isinstance(runs.shipped(name, "quick"), recipes.RECIPES[name].network)
    assert written["about"]["needs"]["classifier"]["recipe"] == "before_after"


MASKS = ("iou_before", "iou_after", "ap_before")


def test_a_segmentation_without_its_classifier(home):
    with pytest.raises(results.RecordError, match="before_after"):
        runs.train("before_after_masks", "quick")
