"""Students and teachers: what is compared, what is trained, what is not, and what the teacher reads."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from course_lib import noise, recipes, recording, results, rng, runs, training
from course_lib.data import Dataset
from course_lib.frozen import Frozen
from course_lib.noisy_classification import evaluation, figures, logit_distillation, pixel_regularisation, student_teacher
from course_lib.noisy_classification.resnet import ClassifierSettings, ResNet, ResNet18
from course_lib.recipes.distillation import RECIPES
from course_lib.results import RecordError

SIZES = dict(blocks=1, width=4, size=8, classes=5, batch_size=6, steps=3, padding=1, flip=True, precision="32-true")
FEATURES = student_teacher.Settings(**SIZES)
LOGITS = logit_distillation.Settings(**SIZES)
METHODS = {"features": (student_teacher, FEATURES), "logits": (logit_distillation, LOGITS)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=20):
    images = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=seeded(3))
    return Dataset("drawn", images, "drawn", tuple(map(str, range(count))), torch.arange(count) % 5, tuple("abcde"))


def teacher(seed=0, **changes):
    """Whose batch statistics are not those that it began with."""
    network = ResNet(ClassifierSettings(**{**SIZES, **changes}), seed=seed)
    network(torch.rand(8, 3, network.mean.shape[-1], network.mean.shape[-1], generator=seeded(5)))
    return network


def student(method=student_teacher, settings=FEATURES, *, held=None, seed=1):
    return method.Student(settings, seed=seed, teacher=Frozen(held or teacher()))


def drawn(settings, step=0):
    return student_teacher.batch(student_teacher.prepare(pictures(), settings), rng.Draws(step=step), settings)


# --- the losses -----------------------------------------------------------------------------------------------------------


def features(seed):
    return tuple(torch.randn(3, channels, side, side, dtype=torch.float64, generator=seeded(seed)) for channels, side in ((2, 4), (3, 2)))


def test_consistency_is_that_of_a_loop():
    own, other = features(0), features(1)
    expected = 0.0
    for s, t in zip(own, other, strict=True):
        total = 0.0
        for b in range(s.shape[0]):
            for c in range(s.shape[1]):
                for y in range(s.shape[2]):
                    for x in range(s.shape[3]):
                        total += (s[b, c, y, x].item() - t[b, c, y, x].item()) ** 2
        expected += total / s.numel()
    assert student_teacher.consistency(own, other).item() == pytest.approx(expected, abs=1e-12)
    own, other = ([part.requires_grad_() for part in side] for side in (own, other))
    student_teacher.consistency(tuple(own), tuple(other)).backward()
    assert all(part.grad.abs().min() > 0 for part in own) and all(part.grad is None for part in other)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_is_that_of_a_loop(temperature):
    own, other = (3 * torch.randn(6, 5, dtype=torch.float64, generator=seeded(i)) for i in (0, 1))

    def probabilities(row):
        exponentials = [math.exp(value.item() / temperature) for value in row]
        return [value / sum(exponentials) for value in exponentials]

    total = 0.0
    for s, t in zip(own, other, strict=True):
        total += sum(p * (math.log(p) - math.log(q)) for p, q in zip(probabilities(t), probabilities(s), strict=True))
    found = logit_distillation.divergence(own.requires_grad_(), other.requires_grad_(), temperature)
    assert found.item() == pytest.approx(temperature**2 * total / 6, abs=1e-12)
    found.backward()
    assert own.grad.abs().max() > 0 and other.grad is None
    batchmean = F.kl_div((own / temperature).log_softmax(1), (other / temperature).softmax(1), reduction="batchmean")
    assert found.item() == pytest.approx(temperature**2 * batchmean.item(), abs=1e-12)


def test_the_square_of_the_temperature_keeps_the_gradient():
    own, other = (torch.randn(200, 10, dtype=torch.float64, generator=seeded(i)) for i in (0, 1))
    sizes = []
    for temperature in (4.0, 8.0, 16.0):
        logits = own.clone().requires_grad_()
        logit_distillation.divergence(logits, other, temperature).backward()
        sizes.append(logits.grad.norm().item())
    assert max(sizes) < 1.05 * min(sizes)


@pytest.mark.parametrize("kind", METHODS)
def test_the_step_is_that_of_the_formula(kind):
    method, settings = METHODS[kind]
    settings = replace(settings, weight_teacher=0.3)
    model = student(method, settings).double().eval()
    noisy, shown, labels = (part.double() if part.is_floating_point() else part for part in drawn(settings))
    loss, values = method.step(model, (noisy, shown, labels), settings)
    own, other = model.student.seen(noisy), model.teacher.network.seen(shown)
    entropy = -sum(own.logits[i].double().log_softmax(0)[labels[i]].item() for i in range(6)) / 6
    if kind == "features":
        apart = sum(float((s - t).detach().square().mean()) for s, t in zip(own.features, other.features, strict=True))
        expected, name = entropy + 0.3 * apart, "distance"
    else:
        p, q = ((one.logits.double() / 4).softmax(1) for one in (other, own))
        apart = 16 * float((p * (p / q).log()).sum(1).mean().detach())
        expected, name = 0.7 * entropy + 0.3 * apart, "divergence"
    assert loss.item() == pytest.approx(expected, abs=1e-5) and values[name].item() == pytest.approx(apart, abs=1e-5)
    assert set(values) == {"accuracy", name} and not any(value.requires_grad for value in values.values())


@pytest.mark.parametrize("kind", METHODS)
def test_without_its_weight_the_label_is_all(kind):
    method, settings = METHODS[kind]
    settings = replace(settings, weight_teacher=0.0)
    model = method.Student(settings, seed=1)
    noisy, shown, labels = drawn(settings)
    loss, values = method.step(model, (noisy, shown, labels), settings)
    assert loss.item() == pytest.approx(F.cross_entropy(model.student(noisy), labels).item(), abs=1e-6)
    assert set(values) == set(method.step(student(method, METHODS[kind][1]), (noisy, shown, labels), METHODS[kind][1])[1])


def test_a_teacher_that_is_the_student_is_at_distance_zero():
    model = student(held=teacher()).eval()
    model.student.load_state_dict(model.teacher.network.state_dict())
    settings = replace(FEATURES, teacher_reads="same")
    assert student_teacher.step(model, drawn(settings), settings)[1]["distance"] == 0
    assert student_teacher.step(model, drawn(FEATURES), FEATURES)[1]["distance"] > 0, "which the clean image is not"


# --- the teacher ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", METHODS)
def test_the_teacher_changes_in_nothing(kind):
    method, settings = METHODS[kind]
    settings = replace(settings, learning_rate=0.01)
    model = student(method, settings)
    held = model.teacher.network
    before, own = copy.deepcopy(held.state_dict()), copy.deepcopy(model.state_dict())
    training.fit(model, method.prepare(pictures(), settings), method, settings, progress=False)
    assert all(torch.equal(tensor, held.state_dict()[name]) for name, tensor in before.items()), "weights and batch statistics"
    assert all(p.grad is None and not p.requires_grad for p in held.parameters()) and not held.training
    assert not any(torch.equal(tensor, model.state_dict()[name]) for name, tensor in own.items() if name.endswith("conv1.weight"))
    assert all(name.startswith("student.") for name in model.state_dict()), "and is not shipped"
    assert len(list(model.parameters())) == len(list(model.student.parameters()))


def test_the_student_begins_elsewhere_than_a_teacher_of_its_seed():
    network = ResNet(ClassifierSettings(**SIZES), seed=0)
    started = [student(seed=seed).student.stem[0].weight for seed in (0, 0, 1)]
    assert torch.equal(started[0], started[1]) and not torch.equal(started[0], started[2])
    assert not torch.equal(started[0], network.stem[0].weight)
    assert student().student.stem[1].num_batches_tracked == 0, "the look at the teacher left no trace in the statistics"
    assert student().student.training


def test_the_student_takes_the_mean_of_the_images():
    model = student()
    training.fit(model, student_teacher.prepare(pictures(), FEATURES), student_teacher, replace(FEATURES, steps=0), progress=False)
    assert torch.allclose(model.student.mean, pictures().images.double().div(255).mean(0).float())


@pytest.mark.parametrize("kind", METHODS)
def test_it_compiles_in_one_graph(kind):
    method, settings = METHODS[kind]
    model = student(method, settings)
    noisy, shown, _ = drawn(settings)
    compiled = torch.compile(model, fullgraph=True, backend="eager")(noisy, shown)
    assert compiled.student.logits.shape == compiled.teacher.logits.shape == (6, 5)
    assert not compiled.teacher.logits.requires_grad


def test_logits_can_be_learnt_from_a_larger_teacher():
    model = student(logit_distillation, LOGITS, held=teacher(width=8, blocks=2))
    assert logit_distillation.step(model, drawn(LOGITS), LOGITS)[0].isfinite()


# --- what both read -------------------------------------------------------------------------------------------------------


def test_what_the_teacher_reads():
    """The same crops and mirrors; the same σ; clean, the same noise, or noise of its own."""
    found = {reads: drawn(replace(FEATURES, teacher_reads=reads, max_sigma=0.1)) for reads in ("clean", "same", "fresh")}
    noisy, clean, labels = found["clean"]
    assert all(torch.equal(noisy, one[0]) and torch.equal(labels, one[2]) for one in found.values()), "the student reads the same"
    assert torch.equal(found["same"][1], noisy) and not torch.equal(clean, noisy)
    sigma = noise.uniform_sigma(0.0, 0.1, 6, rng.Draws()("sigma"))
    for stream, image in (("noise", noisy), ("noise of the teacher", found["fresh"][1])):
        assert torch.equal(image, noise.gaussian(clean, sigma, rng.Draws()(stream), clip=True))
    assert not torch.equal(found["fresh"][1], noisy)


def test_fresh_noise_is_independent():
    settings = student_teacher.Settings(**{**SIZES, "size": 32, "batch_size": 16, "padding": 0}, teacher_reads="fresh", max_sigma=0.05)
    gray = Dataset("gray", torch.full((16, 3, 32, 32), 128, dtype=torch.uint8), "drawn", tuple("a" * 16), torch.zeros(16).long(), ("a",))
    noisy, shown, _ = student_teacher.batch(student_teacher.prepare(gray, settings), rng.Draws(), settings)
    own, other = ((image - 128 / 255).flatten(1) for image in (noisy, shown))
    assert abs(torch.corrcoef(torch.stack([own.flatten(), other.flatten()]))[0, 1]) < 0.02
    assert torch.allclose(own.std(1), other.std(1), rtol=0.06), "σ of each image"


def test_the_images_are_those_of_the_plain_rival():
    """A student without a teacher is trained as "noisy only" of chapter 15, but for its start."""
    plain = pixel_regularisation.Settings(**SIZES, training="perturbed")
    pool = student_teacher.prepare(pictures(), FEATURES)
    theirs, labels = pixel_regularisation.batch(pool, rng.Draws(), plain)
    noisy, _, ours = student_teacher.batch(pool, rng.Draws(), FEATURES)
    assert torch.equal(noisy, theirs) and torch.equal(ours, labels)


def test_measures_are_those_of_the_student():
    model, shown = student().eval(), pictures()
    for sigma in (0.0, 0.2):
        said = model.student(evaluation.degraded(shown.images, sigma=sigma)).argmax(1)
        right = [100.0 if int(a) == int(b) else 0.0 for a, b in zip(said, shown.labels, strict=True)]
        assert student_teacher.evaluate(model, shown.images, shown.labels, sigma=sigma) == right
        assert student_teacher.evaluate(model, shown.images, shown.labels, sigma=sigma, indices=[7, 2]) == [right[7], right[2]]


# --- the picture of features ----------------------------------------------------------------------------------------------


def test_the_plane_keeps_most_of_the_scatter():
    """Against the eigenvectors of the covariance; and points of a plane keep their distances."""
    means = torch.randn(6, 4, dtype=torch.float64, generator=seeded()) * torch.tensor([5.0, 0.1, 3.0, 0.2])
    centre, axes = figures.plane(means)
    values, vectors = torch.linalg.eigh(torch.cov(means.T))
    assert torch.allclose((axes.T @ vectors[:, [3, 2]]).abs(), torch.eye(2).double(), atol=1e-9)
    assert torch.allclose(centre, means.sum(0) / 6) and (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()
    flat = torch.randn(5, 2, dtype=torch.float64, generator=seeded(1)) @ torch.randn(2, 7, dtype=torch.float64, generator=seeded(2))
    centre, axes = figures.plane(flat)
    assert torch.allclose(torch.cdist((flat - centre) @ axes, (flat - centre) @ axes), torch.cdist(flat, flat), atol=1e-6)


def test_feature_spaces_show_who_is_where():
    means = torch.randn(3, 4, generator=seeded())
    points = {"one": torch.randn(1, 4, generator=seeded(1)), "many": torch.randn(9, 4, generator=seeded(2))}
    drawn = figures.feature_spaces({"left": figures.Space(means, points), "right": figures.Space(means, {"one": points["one"]})}, "abc")
    left, right = drawn.axes
    assert [text.get_text() for text in left.texts] == list("abc") and left.get_title() == "left"
    assert [len(cloud.get_offsets()) for cloud in left.collections] == [1, 9] and len(right.collections) == 1
    centre, axes = figures.plane(means)
    assert torch.allclose(torch.tensor(left.collections[1].get_offsets().tolist()), (points["many"] - centre) @ axes, atol=1e-5)


# --- wrong input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: student_teacher.Student(FEATURES), r"asks for a teacher, but there is none: teacher=Frozen\(network\)"),
        (lambda: student(held=teacher(width=8)), "the teacher gives 8×8×8, .* but the student 4×8×8, .*: both must have the same sizes"),
        (lambda: student(held=teacher(classes=7)), "the teacher gives .*, 7, but the student .*, 5: both"),
        (lambda: student(logit_distillation, LOGITS, held=teacher(classes=7)), "the teacher gives 7, but the student 5: both"),
        (lambda: student(held=teacher(size=16)), r"the teacher does not take images of \(3, 8, 8\)"),
        (lambda: student(logit_distillation, LOGITS, held=teacher(size=16)), r"the teacher does not take images of \(3, 8, 8\)"),
        (lambda: student(held=ResNet18(ClassifierSettings(**SIZES))), "the teacher is a ResNet18, but a ResNet is expected"),
        (lambda: replace(FEATURES, weight_teacher=-1.0), "weight_teacher = -1.0, but it must be at least 0"),
        (lambda: replace(FEATURES, max_sigma=38.25), "38.25 / 255"),
        (lambda: replace(FEATURES, teacher_reads="noisy"), 'teacher_reads = "noisy", but it must be one of clean, same, fresh'),
        (lambda: replace(LOGITS, weight_teacher=1.5), "weight_teacher = 1.5, but it must lie in 0 to 1"),
        (lambda: replace(LOGITS, temperature=0.0), "temperature = 0.0, but it must be above 0"),
        (lambda: replace(LOGITS, temperature=-2.0), "temperature = -2.0, but it must be above 0"),
        (lambda: student_teacher.consistency(features(0), features(0)[:1]), "features are .* of the student, .* of the teacher: no match"),
        (lambda: student_teacher.consistency((), ()), "features are .* of the student, .* of the teacher: no match"),
        (lambda: logit_distillation.divergence(torch.zeros(2, 5), torch.zeros(2, 5), 0), "temperature = 0, but it must be above 0"),
        (lambda: logit_distillation.divergence(torch.zeros(2, 5), torch.zeros(2, 7), 1.0), r"are \(2, 5\), the teacher's \(2, 7\)"),
        (lambda: figures.plane(torch.zeros(2, 5)), r"means are \(2, 5\), but at least three points of at least two coordinates"),
        (lambda: figures.plane(torch.zeros(5)), r"means are \(5,\), but at least three points"),
        (lambda: student_teacher.evaluate(student(), pictures().images, pictures().labels[:3]), "there are 20 images, but 3 labels"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- recipes --------------------------------------------------------------------------------------------------------------


def test_students_differ_in_their_teachers_only():
    kept = {"teacher_reads", "weight_teacher", "temperature"}
    for preset in ("quick", "paper", "jpeg"):
        plans = {name: vars(recipe.presets[preset].settings) for name, recipe in RECIPES.items() if name != "student_alone_longer"}
        shared = {name: {key: value for key, value in plan.items() if key not in kept} for name, plan in plans.items()}
        assert all(plan == shared["student_alone"] for plan in shared.values())
        longer = RECIPES["student_alone_longer"].presets[preset].settings
        assert longer == replace(RECIPES["student_alone"].presets[preset].settings, steps=2 * plans["student_alone"]["steps"])
        for source in (source for recipe in RECIPES.values() for source in recipe.presets[preset].needs.values()):
            theirs = vars(recipes.find(source.recipe, preset)[1].settings)
            assert source.preset == preset and all(theirs[key] == shared["student_alone"][key] for key in ("blocks", "width", "steps"))


@pytest.fixture
def digits(home, monkeypatch):
    """Random pictures in the shape of the data of ``quick``."""

    def load(name, split=None):
        images = torch.randint(256, (60, 3, 32, 32), dtype=torch.uint8, generator=seeded(len(split)))
        names, labels = tuple(map(str, range(60))), torch.arange(60) % 10
        return Dataset(name, images, f"drawn for {name}, {split}", names, labels, tuple("0123456789"))

    monkeypatch.setattr("course_lib.data.load", load)
    return home


def test_from_teachers_to_records(digits):
    changes = {"blocks": "1", "width": "4", "steps": "2", "batch_size": "8", "precision": "32-true"}
    with pytest.raises(RecordError, match='the weights of cifar_clean, preset "quick", are needed and not recorded'):
        runs.train_seeds("student_of_clean", "quick", (0, 1), changes=changes, folder=digits)
    made = {}
    for recipe in ("cifar_clean", "cifar_noise_only", *RECIPES):
        files = runs.train_seeds(recipe, "quick", (0, 1), changes=changes, folder=digits)
        written = recording.record(recipe, "quick", files, note="a test")
        made[recipe], _ = runs.from_checkpoint(recipe, "quick", files[0])
        measured = list(written["metrics"]["digits_on_photos"])
        assert measured[:3] == ["accuracy", "accuracy_12.75", "accuracy_25.5"] and measured[-1].startswith("accuracy_")
    clean, noisy = runs.shipped("student_of_clean", "quick"), made["student_of_noisy"]
    for model, name in ((clean, "cifar_clean"), (noisy, "cifar_noise_only")):
        theirs = runs.shipped(name, "quick").state_dict()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in model.teacher.network.state_dict().items())
        assert results.read(name, "quick")["weights"]["sha256"] in str(results.read(
            "student_of_clean" if name == "cifar_clean" else "student_of_noisy", "quick")["about"]["needs"])  # fmt: skip
    assert made["student_alone"].teacher is None
