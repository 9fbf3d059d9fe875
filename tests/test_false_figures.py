"""No figure is given that is not what it is called: the call gives the right one, or an error that says why there is none.

The next case is one line in ``REFUSED``.
"""

import math

import numpy as np
import pytest
import torch

from course_lib import batches, data, metrics, probes, recipes
from course_lib.data import Dataset
from course_lib.denoising import bfcnn, cbdnet, common, dncnn, evaluation, fdncnn, ffdnet, gradual
from course_lib.metric_learning import distances, siamese, triplet
from course_lib.metric_learning import evaluation as of_people
from course_lib.metric_learning.gallery import Gallery, GalleryError, threshold

NAN = math.nan


def eight_bit(*shape, seed=0):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


IMAGES = eight_bit(4, 1, 16, 16)
CC15 = Dataset("cc15", eight_bit(2, 3, 16, 16), "cameras", ("a", "b"), truth=eight_bit(2, 3, 16, 16, seed=1))
PLAIN = dict(depth=3, width=8)
DNCNN, BFCNN = dncnn.DnCNN(dncnn.Settings(**PLAIN)).eval(), bfcnn.BFCNN(bfcnn.Settings(**PLAIN)).eval()
FFDNET = ffdnet.FFDNet(ffdnet.Settings(**PLAIN)).eval()
COLOR = dncnn.DnCNN(dncnn.Settings(**PLAIN, channels=3)).eval()


def broken(images):
    return images / 0


def constant(value):
    """A classifier whose every output is one value: exactly, as sums of 256 products are not on every processor."""
    made = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)).eval()
    torch.nn.init.zeros_(made[1].weight)
    torch.nn.init.constant_(made[1].bias, value)
    return made


def with_nan(*values):
    return torch.tensor(values)


def door(*templates):
    gallery = Gallery(2, network="a")
    for number, template in enumerate(templates):
        gallery.enrol(f"person {number}", torch.tensor([template]))
    return gallery


SAME, PEOPLE = torch.tensor([True, False, True]), torch.tensor([0, 0, 1, 1])
REFUSED = [  # (call, words that its message has)
    # NaN passes no metric, no loss, no gallery
    (lambda: metrics.psnr(torch.full((1, 1, 4, 4), NAN), torch.rand(1, 1, 4, 4), protocol="quantised"), "estimates have .* NaN"),
    (lambda: metrics.psnr(torch.full((1, 1, 4, 4), math.inf), torch.rand(1, 1, 4, 4), protocol="clamped"), "estimates have .* infinite"),
    (lambda: metrics.cmc(with_nan([NAN, 1.0], [1.0, 0.5]), torch.tensor([0, 1]), torch.tensor([0, 1])), "distances: 1 of 4 values are NaN"),
    (lambda: metrics.cmc(torch.zeros(0, 2), torch.zeros(0).long(), torch.tensor([0, 1])), "expected was .queries"),
    (lambda: metrics.roc(with_nan(NAN, 1.0, 2.0), SAME), "distances: 1 of 3 values are NaN"),
    (lambda: metrics.eer(with_nan(1.0, 1.0, NAN), SAME), "distances: 1 of 3 values are NaN"),
    (lambda: threshold(with_nan(1.0, NAN, 2.0), SAME, 0.1), "distance: 1 of 3 values are NaN"),
    (lambda: of_people.compare(broken, IMAGES, PEOPLE), r"embeddings: "),
    (lambda: of_people.compare(lambda images: broken(images).flatten(1), IMAGES, PEOPLE), "embeddings: .* NaN"),
    (lambda: evaluation.psnr_per_image(lambda noisy, sigma: broken(noisy), IMAGES, 0.1, protocol="quantised"), "estimates have .* NaN"),
    (lambda: probes.evaluate(constant(NAN), IMAGES, PEOPLE), "the model's outputs: 12 of 12 values are NaN"),
    (lambda: probes.neighbours(with_nan([NAN, 1.0]), torch.tensor([0]), torch.rand(1, 2), classes=2), "features: 1 of 2 values are NaN"),
    (lambda: door([0.0, NAN]), "templates contain NaN"),
    (lambda: door([0.0, 1.0]).identify(with_nan([NAN, 1.0]), 0.5), "queries contain NaN"),
    (lambda: door([0.0, 1.0]).identify(torch.rand(1, 2), NAN), "gamma"),
    # σ that is negative or no number is not "no noise"
    (lambda: of_people.compare(of_people.pixels, IMAGES, PEOPLE, sigma_255=-25), "sigma_255 = -25"),
    (lambda: of_people.compare(of_people.pixels, IMAGES, PEOPLE, sigma_255=NAN), "sigma_255 = nan"),
    (lambda: dncnn.evaluate(DNCNN, IMAGES, -25), "sigma_255 = -25"),
    (lambda: dncnn.evaluate(DNCNN, IMAGES, NAN), "sigma_255 = nan"),
    (lambda: gradual.evaluate(gradual.GradualDenoiser(gradual.Settings(**PLAIN)), IMAGES, sigma_255=NAN, peak=8.0), "sigma_255 = nan"),
    # a network is evaluated by its own method
    (lambda: bfcnn.evaluate(DNCNN, IMAGES, 25), "the network is a DnCNN, but a BFCNN is expected"),
    (lambda: bfcnn.folded(DNCNN), "the network is a DnCNN, but a BFCNN is expected"),
    (lambda: dncnn.evaluate(BFCNN, IMAGES, 25), "the network is a BFCNN, but a DnCNN is expected"),
    (lambda: ffdnet.evaluate(DNCNN, IMAGES, 25), "the network is a DnCNN, but a FFDNet is expected"),
    (lambda: fdncnn.evaluate(FFDNET, IMAGES, 25), "the network is a FFDNet, but a FDnCNN is expected"),
    (lambda: cbdnet.evaluate(COLOR, CC15.images, CC15.truth), "the network is a DnCNN, but a CBDNet is expected"),
    # noisy photographs are not taken for clean ones
    (lambda: recipes.RECIPES["cffdnet"].presets["paper"].tests["cbsd68"].figures(CC15, COLOR), "cc15 are noisy photographs"),
    (lambda: recipes.RECIPES["cbdnet"].presets["paper"].tests["cc15"].figures(data.load("photos", "test"), COLOR), "photos has no noisy"),
    (lambda: dncnn.evaluate(COLOR, CC15, 25), "images of cc15 are noisy, and their truth is beside them"),
    (lambda: common.pool(CC15, 3, 8, (1.0,)), "images of cc15 are noisy"),
    (lambda: evaluation.psnr_of_pairs(lambda noisy: noisy, IMAGES, IMAGES[:3]), "4 noisy images, but 3 clean ones"),
    # an image that is not what is shown
    (lambda: evaluation.luma(torch.rand(1, 2, 4, 4)), "2 channels"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[f"{number} {words[:30]}" for number, (_, words) in enumerate(REFUSED)])
def test_no_figure_is_better_than_a_false_one(call, words):
    with pytest.raises((TypeError, ValueError, GalleryError), match=words):
        call()


@pytest.mark.parametrize("loss", [
    lambda d: siamese.contrastive(d[0], PEOPLE == 0, 1.0), lambda d: siamese.contrastive_unsquared(d[0], PEOPLE == 0, 1.0),
    lambda d: triplet.all_triplets(d, PEOPLE, 0.2).loss, lambda d: triplet.semi_hard(d, PEOPLE, 0.2).loss,
    lambda d: triplet.random_triplets(d, PEOPLE, 0.2, torch.rand(4, 4)).loss, lambda d: triplet.batch_hard(d, PEOPLE, 0.2).loss,
])  # fmt: skip
def test_a_loss_of_nan_is_nan(loss):
    """Which the training loop reports; a mining must not leave it out and give 0."""
    assert loss(torch.full((4, 4), NAN)).isnan()


@pytest.mark.parametrize("chosen", [[2, 0], [1, 1], [3], np.array([2, 1]), torch.tensor([0, 3]), range(1, 3), []])
def test_indices_are_honoured_in_their_order_and_as_often(chosen):
    everything = dncnn.evaluate(DNCNN, IMAGES, 25.0)
    assert dncnn.evaluate(DNCNN, IMAGES, 25.0, indices=chosen) == pytest.approx([everything[int(i)] for i in chosen])
    labels = torch.tensor([0, 1, 2, 0])
    assert probes.evaluate(constant(1.0), IMAGES, labels, indices=chosen) == [100.0 * (int(labels[int(i)]) == 0) for i in chosen]


def test_a_data_set_stands_for_its_images():
    found = Dataset("four", IMAGES, "here", tuple("abcd"))
    assert dncnn.evaluate(DNCNN, found, 25.0) == dncnn.evaluate(DNCNN, IMAGES, 25.0)


# --- distances ------------------------------------------------------------------------------------------------------------


def exact(a, b):
    return (a.double()[:, None] - b.double()[None]).square().sum(-1).sqrt()


@pytest.mark.parametrize("outlier", [0.0, 1e2, 1e4, 1e6])
def test_a_template_far_away_takes_no_digits_from_the_others(outlier):
    draws = torch.Generator().manual_seed(0)
    points = torch.cat([torch.randn(30, 16, generator=draws), torch.full((1, 16), outlier)])
    queries = torch.cat([points[:5] + 0.01, torch.randn(5, 16, generator=draws)])
    found = distances.pairwise(queries, points).double()
    assert torch.allclose(found, exact(queries, points), rtol=1e-5, atol=2e-2 if outlier > 1e5 else 1e-4)
    gallery = Gallery(16, network="a")
    for number, point in enumerate(points):
        gallery.enrol(f"{number}", point[None])
    assert torch.allclose(gallery.scores(queries).double(), exact(queries, points), rtol=1e-5, atol=1e-6)
    strangers = gallery.identify(torch.randn(20, 16, generator=draws), gamma=0.5)
    assert all(answer.person is None for answer in strangers)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("levels", [3, 10, 10**6])
def test_gamma_means_below_gamma_with_ties_too(levels, kind):
    """The rates that ``roc`` and ``eer`` give are those of the rule "the same if the distance is below γ", by counting."""
    draws = torch.Generator().manual_seed(levels)
    distance = (torch.randint(levels, (60,), generator=draws) / levels).to(kind)
    same = torch.rand(60, generator=draws) < 0.4
    false_accept, false_reject, gammas = metrics.roc(distance, same)
    for fa, fr, gamma in zip(false_accept, false_reject, gammas, strict=True):
        accepted = distance < gamma
        assert fa == pytest.approx(float((accepted & ~same).sum() / (~same).sum()))
        assert fr == pytest.approx(float((~accepted & same).sum() / same.sum()))
    assert (false_accept[0], false_reject[0]) == (0, 1) and (false_accept[-1], false_reject[-1]) == (1, 0)
    accepted = distance < metrics.eer(distance, same)[1]
    assert (accepted & ~same).sum() / (~same).sum() >= (~accepted & same).sum() / same.sum() - 1e-6


def test_a_gallery_decides_by_the_gamma_of_eer():
    """Two people, apart: with γ from their distances everybody is let in, and nobody as somebody else."""
    gallery = door([0.0, 0.0], [1.0, 0.0])
    scores = gallery.scores(torch.tensor([[0.1, 0.0], [0.9, 0.0]]))
    rate, gamma = metrics.eer(scores.flatten(), torch.eye(2, dtype=torch.bool).flatten())
    assert rate == 0 and [a.person for a in gallery.identify(torch.tensor([[0.1, 0.0], [0.9, 0.0]]), gamma)] == ["person 0", "person 1"]


# --- data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "split", "otherwise", "got", "channels"), [
    ("set12", None, "photos", "test split, in gray", 1), ("bsd68", None, "photos", "test split, in gray", 1),
    ("cbsd68", None, "photos", "test split, in colour", 3), ("bsd400", None, "photos", "train split, in gray", 1),
    ("cbsd432", None, "photos", "train split, in colour", 3), ("set12", None, "textures", "the right halves", 1),
    ("mnist", "test", "digits", "test split", 1), ("faces", None, "digits", "train split", 1),
])  # fmt: skip
def test_what_stands_for_a_test_set_was_not_trained_on(name, split, otherwise, got, channels, tmp_path):
    found = data.load(name, split, root=tmp_path, otherwise=otherwise)
    assert got in found.source and all(image.shape[0] == channels for image in found.images)


@pytest.mark.parametrize(("name", "split", "otherwise"), [
    ("set12", None, "bsd400"), ("bsd400", None, "bsd68"), ("mnist", "test", "bsd400"),
])  # fmt: skip
def test_a_set_to_train_on_cannot_stand_for_one_to_test_on(name, split, otherwise, tmp_path):
    with pytest.raises(ValueError, match=f'otherwise="{otherwise}" is to (train|test) on, and cannot stand for images to (test|train) on'):
        data.load(name, split, root=tmp_path, otherwise=otherwise)


def test_8_bit_images_are_what_they_were():
    assert torch.equal(batches.to_uint8(batches.to_float(IMAGES)), IMAGES)
