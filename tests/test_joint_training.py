"""Joint training of a denoiser through a frozen classifier: what is trained, what is not, and the loss."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from course_lib import noise, results, rng, training
from course_lib.batches import to_float
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.noisy_classification import evaluation, figures
from course_lib.noisy_classification import joint_training as joint
from course_lib.noisy_classification.resnet import ResNet

SMALL = joint.Settings(
    blocks=1, width=4, size=8, classes=5, batch_size=6, steps=3, denoiser_width=4, denoiser_depth=3, padding=0, flip=False, sigma=0.2,
    precision="32-true",
)  # fmt: skip


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=20):
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=seeded(3))
    return Dataset("drawn", images, "drawn", tuple(map(str, range(count))), torch.arange(count) % 5, tuple("abcde"))


def cascade(settings=SMALL, seed=1):
    if settings.trained == "denoiser":
        return joint.Cascade(settings, seed=seed, classifier=Frozen(ResNet(SMALL, seed=0)))
    return joint.Cascade(settings, seed=seed, denoiser=Frozen(joint.RestorationUNet(3, 4, seed=0)))


@pytest.mark.parametrize("denoiser", ["unet", "ffdnet"])
def test_the_loss_is_that_of_a_loop(denoiser):
    settings = replace(SMALL, denoiser=denoiser, weight_label=0.5, weight_image=30.0)
    model = cascade(settings).double().eval()
    drawn = joint.batch(joint.prepare(pictures(), settings), rng.Draws(), settings)
    noisy, target, clean, labels = (part.double() if part.is_floating_point() else part for part in drawn)
    loss, values = joint.step(model, (noisy, target, clean, labels), settings)
    denoised, logits = model(noisy)
    error = sum(float((denoised[i] - target[i]).square().sum()) for i in range(6)) / (6 * 3 * 8 * 8)
    entropy = sum(float(torch.log(sum(torch.exp(v) for v in logits[i])) - logits[i][labels[i]]) for i in range(6)) / 6
    assert loss.item() == pytest.approx(0.5 * entropy + 30 * error, abs=1e-5)
    assert set(values) == {"accuracy", "psnr"}


@pytest.mark.parametrize("trained", ["denoiser", "classifier"])
def test_the_frozen_network_changes_in_nothing(trained):
    settings = replace(SMALL, trained=trained, learning_rate=0.01)
    model = cascade(settings)
    frozen = model.classifier if trained == "denoiser" else model.denoiser
    before = copy.deepcopy(frozen.network.state_dict())
    own = copy.deepcopy(model.state_dict())
    training.fit(model, joint.prepare(pictures(), settings), joint, settings, progress=False)
    after = frozen.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()), "weights and batch statistics"
    assert all(p.grad is None and not p.requires_grad for p in frozen.network.parameters()) and not frozen.network.training
    assert not any(torch.equal(tensor, model.state_dict()[name]) for name, tensor in own.items() if name.endswith("conv1.weight"))
    other = "denoiser" if trained == "classifier" else "classifier"
    assert not any(name.startswith(other) for name in model.state_dict()), "and is not shipped"


def test_the_label_reaches_the_denoiser_through_the_classifier():
    settings = replace(SMALL, weight_image=0.0)
    model = cascade(settings).train()
    torch.nn.init.normal_(model.denoiser.last.weight, std=0.1, generator=seeded())
    loss, _ = joint.step(model, joint.batch(joint.prepare(pictures(), settings), rng.Draws(), settings), settings)
    loss.backward()
    assert model.denoiser.at_full[0].weight.grad.abs().max() > 0
    settings = replace(SMALL, weight_label=0.0)
    with_other_labels = [joint.step(model.eval(), (*[torch.rand(6, 3, 8, 8, generator=seeded(i)) for i in range(3)], c), settings)[0]
                         for c in (torch.zeros(6).long(), torch.ones(6).long())]  # fmt: skip
    assert torch.equal(*with_other_labels), "without its weight the label does not matter"
    reached = []
    model.classifier.network.head.register_full_backward_hook(lambda *_: reached.append(1))
    images = [torch.rand(6, 3, 8, 8, generator=seeded(i)) for i in range(3)]
    joint.step(model, (*images, torch.zeros(6).long()), settings)[0].backward()
    assert not reached, "and no gradient is computed through the classifier"
    joint.step(model, (*images, torch.zeros(6).long()), replace(settings, weight_label=1.0))[0].backward()
    assert reached


def test_a_denoiser_begins_as_the_identity_and_keeps_the_size():
    noisy = torch.rand(2, 3, 12, 16, generator=seeded())
    made = joint.RestorationUNet(3, 8)
    assert torch.equal(made.eval()(noisy), noisy)


def test_the_size_of_the_released_denoiser():
    """Convolution by convolution; two numbers for each channel of batch normalisation."""

    def bottleneck(channels, inner):
        return channels * inner + 9 * inner**2 + inner * channels + 2 * (2 * inner + channels)

    down = [(9 * 64 * 128 + 2 * 128), bottleneck(128, 32), (9 * 128 * 128 + 2 * 128), bottleneck(128, 32)]
    up = [16 * 128 * 32 + 32, 9 * 160 * 256 + 2 * 256, bottleneck(256, 64), 16 * 256 * 64 + 64, 9 * 128 * 3 + 3]
    expected = 25 * 3 * 64 + 64 + sum(down) + sum(up)
    assert sum(p.numel() for p in joint.RestorationUNet(3, 64).parameters()) == expected


@pytest.mark.parametrize("target", ["clean", "noisy"])
def test_targets(target):
    settings = replace(SMALL, target=target)
    noisy, aimed, clean, labels = joint.batch(joint.prepare(pictures(), settings), rng.Draws(), settings)
    assert torch.equal(aimed, clean) == (target == "clean") and not torch.equal(noisy, aimed)
    assert noisy.min() >= 0 and noisy.max() <= 1 and labels.shape == (6,)
    assert torch.equal(noisy, noise.gaussian(clean, 0.2, rng.Draws()("noise"), clip=True))


def test_measures():
    shown, model = pictures(), cascade().eval()
    noisy = evaluation.degraded(shown.images, sigma=0.2)
    denoised, logits = model(noisy)
    right = [100.0 if int(a) == int(b) else 0.0 for a, b in zip(logits.argmax(1), shown.labels, strict=True)]
    assert joint.evaluate(model, shown.images, shown.labels, sigma=0.2) == right
    found = joint.evaluate_psnr(model, shown.images, shown.labels, sigma=0.2, indices=[4, 2])
    for i, value in zip((4, 2), found, strict=True):
        error = (denoised[i].clamp(0, 1) - to_float(shown.images[i : i + 1])[0]).square().mean()
        assert value == pytest.approx(-10 * torch.log10(error).item(), abs=1e-3)


def test_points_of_a_trade_off():
    [axis] = figures.trade_off({"a": {"λ = 1": (20.0, 50.0), "λ = 0": (19.0, 80.0)}, "not run": {}}).axes
    assert [(text.get_text(), text.xy) for text in axis.texts] == [("λ = 1", (20.0, 50.0)), ("λ = 0", (19.0, 80.0))]
    assert [line.get_xydata().tolist() for line in axis.lines] == [[[20.0, 50.0], [19.0, 80.0]]]
    crowded = {"λ = ∞": (26.3, 71.8), "λ = 1000": (26.1, 75.0), "λ = 100": (25.6, 75.1), "λ = 0": (22.5, 74.6)}
    [axis] = figures.trade_off({"a": crowded, "b": {"λ = ∞": (26.35, 71.2)}}).axes
    boxes = [text.get_window_extent() for text in axis.texts]
    assert len(boxes) == 5 and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    [axis] = figures.trade_off({"a": {"1": (20.0, 50.0)}, "b": {"2": (25.0, 60.0)}}, below="b").axes
    above, under = (text.get_window_extent() for text in axis.texts)
    points = [axis.transData.transform(text.xy) for text in axis.texts]
    assert above.y0 > points[0][1] and under.y1 < points[1][1]
    assert figures.recorded({"image": "joint_image", "none": "joint_1"}, "no preset", "digits_on_photos", 63.75) == {}
    found = figures.recorded({"image": "joint_image"}, "quick", "digits_on_photos", 63.75)["image"]
    measured = results.read("joint_image", "quick")["metrics"]["digits_on_photos"]
    assert found == (measured["psnr_63.75"], measured["accuracy_63.75"])


def test_it_compiles_in_one_graph():
    model = torch.compile(cascade(), fullgraph=True, backend="eager")
    assert model(torch.rand(2, 3, 8, 8)).logits.shape == (2, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: joint.Cascade(SMALL), 'with trained = "denoiser" a frozen classifier is needed'),
        (lambda: joint.Cascade(replace(SMALL, trained="classifier"), classifier=Frozen(ResNet(SMALL))), "a frozen denoiser is needed"),
        (lambda: joint.Cascade(replace(SMALL, size=16), classifier=Frozen(ResNet(SMALL))), r"does not take images of \(3, 16, 16\)"),
        (lambda: joint.Cascade(replace(SMALL, classes=7), classifier=Frozen(ResNet(SMALL))), r"gives \(1, 5\), but \(1, 7\) is expected"),
        (lambda: replace(SMALL, sigma=38.25), "38.25 / 255"),
        (lambda: replace(SMALL, size=10), "size = 10: .* multiple of 4"),
        (lambda: replace(SMALL, weight_label=0.0, weight_image=0.0), "one must be positive"),
        (lambda: replace(SMALL, weight_image=-1.0), "neither may be negative"),
        (lambda: replace(SMALL, denoiser="dncnn"), 'denoiser = "dncnn", but it must be one of unet, ffdnet'),
        (lambda: replace(SMALL, denoiser_width=3), "an even width"),
        (lambda: figures.trade_off({"not run": {}}), "no points to draw"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
