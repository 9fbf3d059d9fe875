"""Whatever is handed to a public function is accepted, or refused by an error of the library that says what was wrong.

The next case is one line: in ``CALLS`` for a function, in ``REFUSED`` for an input with the words that are expected.
"""

import importlib
import inspect
import linecache
import math
import pkgutil
from functools import partial

import numpy as np
import pytest
import torch

from course_lib import (
    batches,
    camera,
    checks,
    corruptions,
    degradations,
    few_labels,
    labelled,
    metrics,
    noise,
    plots,
    probes,
    project,
    resolution,
)
from course_lib.denoising import baselines, bfcnn, cbdnet, dncnn, erf, evaluation, fdncnn, ffdnet, gradual, nn3d
from course_lib.metric_learning import arcface, distances, identification, infonce, siamese, supcon, triplet
from course_lib.metric_learning import evaluation as of_people
from course_lib.metric_learning.embedding import Embedder, EmbeddingSettings
from course_lib.metric_learning.gallery import Gallery, threshold
from course_lib.metric_learning.small_embedder import SmallEmbedder
from course_lib.noisy_classification import brisque, imagenet, logit_distillation, piqe, pixel_regularisation, restorer, slkd
from course_lib.noisy_classification import evaluation as of_noisy
from course_lib.pretext import (
    activation_maps,
    attention,
    autoencoder,
    backgrounds,
    before_after,
    colourisation,
    contrastive,
    exemplar,
    jigsaw,
    lens,
    patch_position,
    rotation,
    segmentation,
)
from course_lib.self_supervised_denoising import linear_filter, masking, noise2noise, noise2void, pixel_shuffle, target_bias


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rand(*shape):
    return torch.rand(shape, generator=seeded(len(shape)))


def eight_bit(*shape):
    return batches.to_uint8(rand(*shape))


IMAGES, COLOR = rand(2, 1, 16, 16), rand(2, 3, 16, 16)
ANYONE = torch.tensor([0, 0, 1, 1])
DISTANCE = torch.cdist(rand(4, 3), rand(4, 3))
PLAIN = dict(depth=3, width=8, batch_norm=False)
DNCNN, BFCNN = dncnn.DnCNN(dncnn.Settings(**PLAIN)).eval(), bfcnn.BFCNN(bfcnn.Settings(**PLAIN)).eval()
FFDNET = ffdnet.FFDNet(ffdnet.Settings(**PLAIN)).eval()
FDNCNN = fdncnn.FDnCNN(fdncnn.Settings(depth=3, width=8)).eval()
CBDNET = cbdnet.CBDNet(cbdnet.Settings(width=4, estimator_width=4)).eval()
GRADUAL = gradual.GradualDenoiser(gradual.Settings(depth=3, width=8)).eval()
EMBEDDER = Embedder(EmbeddingSettings(height=16, width=16, images=2, batch_size=4)).eval()
SMALL_EMBEDDER = SmallEmbedder(EmbeddingSettings(height=16, width=16, images=2, batch_size=4)).eval()
CLASSIFIER = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3)).eval()
SMALL_BLOCKS = nn3d.Settings(block=4, group=2, radius=2, every=4)
ADA = Gallery(3, network="a")
ADA.enrol("Ada", rand(2, 3))

CALLS = {  # function -> arguments that are right; each is then replaced by wrong ones
    noise.gaussian: dict(clean=IMAGES, sigma=0.1, generator=seeded(), clip=False),
    noise.poisson: dict(clean=IMAGES, peak=8.0, generator=seeded()),
    noise.bicubic: dict(clean=IMAGES, scale=2),
    noise.jpeg: dict(clean=IMAGES, quality=51),
    noise.test_noise: dict(clean=IMAGES[:1], sigma=0.1),
    noise.from_255: dict(sigma_255=25.0),
    noise.uniform_sigma: dict(low=0.1, high=0.2, count=3, generator=seeded()),
    batches.to_float: dict(images=eight_bit(1, 4, 4)),
    batches.to_uint8: dict(images=IMAGES),
    batches.shots: dict(images=IMAGES, generator=seeded(), shift=0.1, angle=5.0, light=0.1),
    batches.ImagePool: dict(images=eight_bit(2, 1, 8, 8), patch_size=4),
    batches.IdentityPool: dict(images=eight_bit(4, 1, 8, 8), identities=ANYONE),
    labelled.LabelledPool: dict(images=eight_bit(4, 1, 8, 8), labels=ANYONE, classes=2),
    labelled.crops: dict(images=IMAGES, padding=2, generator=seeded()),
    labelled.flips: dict(images=IMAGES, generator=seeded()),
    resolution.low_resolution: dict(images=IMAGES, factor=2, enlarging="bicubic"),
    resolution.mixed_resolution: dict(images=IMAGES, low=IMAGES.flip(-1), boxes=torch.tensor([[2, 3, 9, 16]])),
    pixel_regularisation.pivot_loss: dict(logits=rand(4, 3), labels=ANYONE, k=2, weight_perturbed=0.3, weight_pivot=0.1),
    of_noisy.evaluate: dict(model=CLASSIFIER, images=eight_bit(4, 1, 16, 16), labels=ANYONE, indices=[1], sigma=0.1, factor=2, region=4),
    metrics.psnr: dict(estimate=IMAGES, clean=IMAGES.flip(-1), protocol="raw"),
    metrics.roc: dict(distances=rand(4), same=ANYONE == 0),
    metrics.eer: dict(distances=rand(4), same=ANYONE == 0),
    metrics.cmc: dict(distances=rand(4, 2), queries=ANYONE, identities=torch.arange(2)),
    camera.response: dict(irradiance=IMAGES, gamma=2.2),
    camera.irradiance: dict(picture=IMAGES, gamma=2.2),
    camera.noise_level: dict(irradiance=IMAGES, sigma_s=0.1, sigma_c=0.1),
    camera.poisson_gaussian: dict(irradiance=IMAGES, sigma_s=0.1, sigma_c=0.1, generator=seeded()),
    camera.mosaic: dict(colors=COLOR, pattern="RGGB"),
    camera.demosaic: dict(measured=IMAGES, pattern="RGGB"),
    camera.photograph: dict(picture=COLOR, sigma_s=0.1, sigma_c=0.1, generator=seeded(), gamma=2.2),
    distances.pairwise: dict(a=rand(4, 3), b=rand(5, 3)),
    siamese.contrastive: dict(distance=rand(4), different=ANYONE == 0, margin=1.0),
    siamese.contrastive_unsquared: dict(distance=rand(4), different=ANYONE == 0, margin=1.0),
    siamese.pairs: dict(identities=ANYONE),
    triplet.all_triplets: dict(distance=DISTANCE, labels=ANYONE, margin=0.2),
    triplet.random_triplets: dict(distance=DISTANCE, labels=ANYONE, margin=0.2, scores=rand(4, 4)),
    triplet.semi_hard: dict(distance=DISTANCE, labels=ANYONE, margin=0.2),
    triplet.batch_hard: dict(embeddings=rand(4, 3), labels=ANYONE, margin=0.2),
    of_people.compare: dict(embed=of_people.pixels, images=eight_bit(4, 1, 8, 8), identities=ANYONE, sigma_255=25.0),
    threshold: dict(distance=rand(4), same=ANYONE == 0, false_accepts=0.1),
    ADA.scores: dict(queries=rand(2, 3)),
    ADA.identify: dict(queries=rand(2, 3), gamma=0.5),
    ADA.verify: dict(queries=rand(2, 3), person="Ada", gamma=0.5),
    ADA.add: dict(person="Ada", templates=rand(1, 3)),
    EMBEDDER.embed: dict(images=IMAGES),
    probes.outputs: dict(model=CLASSIFIER, images=eight_bit(4, 1, 16, 16)),
    probes.evaluate: dict(model=CLASSIFIER, images=eight_bit(4, 1, 16, 16), labels=ANYONE, indices=[1]),
    probes.neighbours: dict(features=rand(4, 3), labels=ANYONE, queries=rand(2, 3), classes=2, k=2),
    DNCNN.denoise: dict(noisy=IMAGES),
    BFCNN.denoise: dict(noisy=IMAGES),
    FFDNET.denoise: dict(noisy=IMAGES, sigma=0.1),
    FDNCNN.denoise: dict(noisy=IMAGES, sigma=0.1),
    CBDNET.denoise: dict(noisy=COLOR),
    CBDNET.level: dict(noisy=COLOR),
    GRADUAL.denoise: dict(noisy=IMAGES),
    GRADUAL.gradually: dict(noisy=IMAGES),
    dncnn.evaluate: dict(model=DNCNN, images=eight_bit(2, 1, 16, 16), sigma_255=25.0, indices=[1]),
    bfcnn.evaluate: dict(model=BFCNN, images=eight_bit(2, 1, 16, 16), sigma_255=25.0, indices=[1]),
    ffdnet.evaluate: dict(model=FFDNET, images=eight_bit(2, 1, 16, 16), sigma_255=25.0, indices=[1]),
    fdncnn.evaluate: dict(model=FDNCNN, images=eight_bit(2, 1, 16, 16), sigma_255=25.0, indices=[1]),
    gradual.evaluate: dict(model=GRADUAL, images=eight_bit(2, 1, 16, 16), sigma_255=25.0, border=2, indices=[1]),
    cbdnet.evaluate: dict(model=CBDNET, noisy=eight_bit(2, 3, 16, 16), clean=eight_bit(2, 3, 16, 16)),
    bfcnn.filter_at: dict(model=BFCNN, noisy=IMAGES[:1], row=3, column=4),
    bfcnn.homogeneity_gap: dict(model=BFCNN, noisy=IMAGES, alpha=10.0),
    nn3d.denoise: dict(cnn=lambda images, sigma: images, noisy=IMAGES[:1], sigma=0.1, settings=SMALL_BLOCKS),
    baselines.total_variation: dict(noisy=IMAGES, sigma=0.1),
    evaluation.psnr_of_pairs: dict(restorer=lambda images: images, noisy=eight_bit(2, 1, 16, 16), clean=eight_bit(2, 1, 16, 16)),
    evaluation.psnr_deblocked: dict(restorer=lambda images: images, images=eight_bit(2, 1, 16, 16), quality=40),
    evaluation.psnr_upscaled: dict(restorer=lambda images: images, images=eight_bit(2, 1, 16, 16), scale=2),
    evaluation.psnr_of_camera: dict(restorer=lambda images: images, images=eight_bit(2, 3, 16, 16), sigma_s=0.1, sigma_c=0.1),
    evaluation.luma: dict(images=COLOR),
    erf.size: dict(field=rand(9, 9)),
    plots.pixels: dict(image=rand(3, 8, 8)),
    SMALL_EMBEDDER.embed: dict(images=IMAGES),
    infonce.info_nce: dict(queries=rand(4, 3), keys=rand(4, 3), temperature=0.1),
    supcon.sup_con: dict(embeddings=rand(4, 3), labels=ANYONE, temperature=0.1),
    arcface.arc_face: dict(cosines=2 * rand(4, 3) - 1, identities=ANYONE, margin=0.5, scale=8.0),
    identification.cross_entropy: dict(logits=rand(4, 3), identities=ANYONE),
    distances.paired: dict(a=rand(4, 3), b=rand(4, 3)),
    contrastive.nt_xent: dict(first=rand(4, 3), second=rand(4, 3), temperature=0.1),
    rotation.turned: dict(images=IMAGES, degrees=30.0),
    rotation.loss: dict(logits=rand(4, 4), labels=ANYONE),
    jigsaw.loss: dict(logits=rand(2, 4, 5), labels=torch.stack([ANYONE, ANYONE])),
    patch_position.loss: dict(logits=rand(2, 4, 8), labels=ANYONE),
    exemplar.loss: dict(logits=rand(4, 4), labels=ANYONE),
    before_after.softmax_cross_entropy: dict(logits=rand(4, 3), labels=ANYONE),
    lens.aberrated: dict(images=COLOR),
    lens.projected: dict(images=COLOR),
    colourisation.lab: dict(images=COLOR),
    attention.energy: dict(features=rand(2, 4, 5, 5), power=1.0),
    attention.shown: dict(maps=rand(2, 5, 5), side=8),
    activation_maps.cam: dict(features=rand(2, 4, 5, 5), weights=rand(2, 4)),
    backgrounds.empty_belt: dict(images=eight_bit(3, 3, 8, 8)),
    autoencoder.filled: dict(images=IMAGES, holes=IMAGES > 0.5),
    segmentation.masked_cross_entropy: dict(logits=IMAGES, masks=IMAGES > 0.5),
    metrics.iou: dict(predicted=IMAGES > 0.5, truth=IMAGES > 0.3),
    metrics.average_precision: dict(scores=IMAGES, truth=IMAGES > 0.3),
    masking.stratified: dict(images=IMAGES, ratio=0.02, generator=seeded()),
    masking.grid: dict(images=IMAGES, side=4, phase=1),
    noise2noise.distance: dict(estimate=IMAGES, target=IMAGES.flip(-1), loss="l2"),
    pixel_shuffle.down: dict(images=IMAGES, stride=2),
    linear_filter.fit: dict(noisy=[IMAGES[:1]], targets=[IMAGES[1:]], size=3),
    corruptions.photons: dict(clean=IMAGES, at_white=8.0, generator=seeded()),
    corruptions.dropped: dict(clean=IMAGES, probability=0.5, generator=seeded()),
    corruptions.impulses: dict(clean=IMAGES, probability=0.5, generator=seeded()),
    corruptions.correlated: dict(clean=IMAGES, sigma=0.1, length=1.0, generator=seeded()),
    degradations.motion_blur: dict(clean=COLOR, length=(3.0, 5.0), sigma=0.01, generator=seeded()),
    degradations.rain: dict(clean=rand(1, 3, 32, 32), density=(0.1, 0.2), generator=seeded()),
    logit_distillation.divergence: dict(student=rand(4, 3), teacher=rand(4, 3), temperature=2.0),
    slkd.divergence: dict(student=IMAGES, teacher=IMAGES.flip(-1), temperature=2.0),
    brisque.statistics: dict(images=rand(1, 3, 64, 64)),
    piqe.piqe: dict(images=rand(1, 3, 64, 64)),
    imagenet.cut: dict(image=eight_bit(3, 20, 24), box=[0.1, 0.1, 0.5, 0.5], size=8, area=0.5, at=(0.5, 0.5)),
    few_labels.draw: dict(labels=ANYONE, per_class=1),
    resolution.central_box: dict(images=IMAGES, side=4),
    batches.resized: dict(image=eight_bit(3, 16, 16), scale=0.5),
    batches.center: dict(image=rand(3, 16, 16), size=8),
    baselines.non_local_means: dict(noisy=IMAGES, sigma=0.1, factor=0.8),
    cbdnet.asymmetric: dict(level=rand(2, 3, 4, 4), true_level=rand(2, 3, 4, 4).flip(0), alpha=0.3),
    cbdnet.total_variation: dict(level=rand(2, 3, 4, 4)),
}  # fmt: skip


def name_of(function):
    owner = getattr(function, "__self__", None)
    return f"{function.__module__.removeprefix('course_lib.')}.{type(owner).__name__ + '.' if owner else ''}{function.__name__}"


def refused_in_words(call):
    """None where the call is accepted or refused by the library's own ``raise``; what went wrong otherwise."""
    try:
        call()
    except Exception as error:
        last = error.__traceback__
        while last.tb_next:
            last = last.tb_next
        file = last.tb_frame.f_code.co_filename
        own = str(project.PACKAGE) in file and linecache.getline(file, last.tb_lineno).strip().startswith("raise")
        return None if own else f"{type(error).__name__}: {error}"


def refused(call):
    """Does the call raise ``TypeError`` or ``ValueError``?"""
    try:
        call()
    except (TypeError, ValueError):
        return True
    return False


def wrong_tensors(right):
    """The same in other types and forms."""
    yield from (right.tolist(), right.numpy(), None, "51", 3, right.to(torch.complex64), right[None, None, None], right[:0])
    yield from (right.double(), right.half(), right.bfloat16(), right.int(), right.bool(), right.flatten(), torch.zeros(()))
    if right.is_floating_point():
        yield from (right * math.nan, right / 0, 255 * right, [right])


WRONG_NUMBERS = ("51", None, math.nan, math.inf, -math.inf, -1, 1e30, [0.5, 0.5], np.array([1.0, 2.0]), {}, 1j)


def faults(function):
    """The wrong arguments that a function neither accepts nor refuses in words, each with what came of it."""
    right = CALLS[function]
    function(**right)
    found = []
    for name, value in right.items():
        if isinstance(value, torch.Tensor):
            others = wrong_tensors(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            others = WRONG_NUMBERS
        elif isinstance(value, torch.Generator):
            assert refused(partial(function, **{**right, name: None})), f"{name_of(function)} draws without a generator"
            others = (None, 3, "seed")
        elif name == "indices":
            others = ("1", 1, [-1], [2], [9], [0.5], [True], torch.tensor([[0]]), {"a": 0})
        else:
            continue
        found += [
            f"{name} = {checks.described(other)}: {fault}"
            for other in others
            if (fault := refused_in_words(partial(function, **{**right, name: other})))
        ]
    return found


@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_every_argument_is_accepted_or_refused_in_words(function):
    assert faults(function) == []


GIVEN_ON = {  # functions that draw, but leave the check to what they call
    "camera.photograph", "corruptions.corrupt", "noisy_classification.restorer.degrade", "self_supervised_denoising.ap_bsn.corrupted",
}  # fmt: skip
OF_NETWORKS = {"denoising.common.orthogonal", "denoising.dncnn.initialise", "pretext.nin.initialise", "probes.head"}
"""These make the first weights of a network, which hands them its own generator."""


def test_every_function_that_draws_asks_for_a_generator():
    unchecked = set()
    for found in pkgutil.walk_packages([str(project.PACKAGE)], "course_lib."):
        module = importlib.import_module(found.name)
        classes = [member for member in vars(module).values() if inspect.isclass(member)]
        for function in (member for owner in (module, *classes) for member in vars(owner).values() if inspect.isfunction(member)):
            if function.__module__ != module.__name__ or function.__name__.startswith("_"):
                continue
            if inspect.signature(function).parameters.get("generator", inspect.Parameter).annotation != "torch.Generator":
                continue
            if "checks.generator(generator)" not in inspect.getsource(function):
                unchecked.add(f"{module.__name__.removeprefix('course_lib.')}.{function.__name__}")
    assert unchecked == GIVEN_ON | OF_NETWORKS


REFUSED = [  # (call, words that its message has)
    # labels that no output stands for would count as mistakes of the model
    (lambda: probes.evaluate(CLASSIFIER, eight_bit(4, 1, 16, 16), ANYONE + 2), "labels are 2 to 3, but there are classes = 3"),
    (lambda: of_noisy.evaluate(CLASSIFIER, eight_bit(4, 1, 16, 16), ANYONE - 1), "labels are -1 to 0, but there are classes = 3"),
    # the mean over the pixels that count would be three times as large
    (lambda: noise2noise.distance(COLOR, COLOR.flip(-1), "l2", mask=rand(2, 1, 16, 16)), r"the mask is \(2, 1, 16, 16\), but .*expand_as"),
    # a box in pixels would lie outside of every crop, and be empty
    (lambda: imagenet.cut(eight_bit(3, 9, 9), [1, 1, 5, 5], size=8, area=0.5, at=(0.5, 0.5)), "box, in fractions of the sides, = 5"),
    (lambda: imagenet.cut(eight_bit(3, 9, 9), [0, 0, 1], size=8, area=0.5, at=(0.5, 0.5)), "top, left, bottom, right"),
    (lambda: imagenet.cut(eight_bit(3, 9, 9), [0, 0, 1, 1], size=8, area=0.5, at=(2, 0.5)), "at = 2, but it must lie in 0 to 1"),
    (lambda: autoencoder.loss(COLOR, eight_bit(2, 3, 16, 16), IMAGES > 0.5), "images: a tensor of floating-point numbers"),
    (lambda: segmentation.evaluate(CLASSIFIER, eight_bit(2, 3, 16, 16), IMAGES[:1] > 0.5), "there are 2 images, but 1 masks"),
    (lambda: linear_filter.fit([rand(1, 1, 2, 90)], [rand(1, 1, 2, 90)], 5), "too small to be mirrored over 2"),
    (lambda: linear_filter.fit([torch.full((1, 1, 16, 16), 0.5)], [rand(1, 1, 16, 16)], 5), "leave the filter open"),
    (lambda: linear_filter.LinearFilter(rand(5, 5).double(), 0.0).denoise(rand(1, 1, 2, 2)), "too small to be mirrored"),
    (lambda: noise2void.self_loss(lambda images: images, eight_bit(1, 1, 8, 8)), "noisy images are torch.uint8"),
    (lambda: noise2void.surroundings(rand(1, 1, 1, 8)), r"have \(1, 8\) pixels, but a pixel has neighbours"),
    (lambda: probes.evaluate(torch.nn.Linear(2, 2).train(), eight_bit(4, 1, 16, 16), ANYONE), "in training mode.*call model.eval"),
    (lambda: masking.replaced(IMAGES, masking.grid(IMAGES[..., :8], 4, 0), "mean", 1, seeded()), r"chosen in images of \(2, 1, 16, 8\)"),
    (lambda: masking.grid(IMAGES, 4, 0).mask(IMAGES[:1]), r"images are \(1, 1, 16, 16\), but the positions were chosen in .*\(2, 1, "),
    (lambda: masking.replaced(eight_bit(2, 1, 16, 16), masking.grid(IMAGES, 4, 0), "mean", 1, seeded()), "noisy images: .*floating-point"),
    (lambda: restorer.Settings(length=(50.0, 99.0)), "length = 50, but it must lie in 1 to 31"),
    (lambda: restorer.Settings(density=(0.1, 0.05)), "the lowest comes first"),
    (lambda: restorer.Settings(motion_sigma_255=-1.0), "motion_sigma_255 = -1"),
    (lambda: colourisation.loss(rand(2, 313, 4, 4), rand(1, 2, 4, 4), rand(313, 2), rand(313)), r"colours \(1, 2, 4, 4\) do not fit"),
    (lambda: target_bias.clipped_mean(0.5, -1), "sigma = -1"),
    (lambda: target_bias.clipped_mean(math.nan, 0.1), "y = nan"),
    (lambda: corruptions.require_strength("fog", (0.0, 1.0)), 'unknown noise "fog"; there are gaussian'),
    (lambda: resolution.random_low_resolution(IMAGES, (), seeded()), "give at least one of each"),
    (lambda: segmentation.scores(CLASSIFIER, eight_bit(2, 3, 16, 16), at_once=0), "at_once = 0"),
    # scales: what only 0–255 can explain
    (lambda: DNCNN.denoise(255 * IMAGES), r"noisy images have values up to 25\d.*only the 0–255 scale explains.*divide them by 255"),
    (lambda: CBDNET.denoise(255 * COLOR), "noisy images have values .* 0–255 scale"),
    (lambda: FFDNET.denoise(IMAGES, 25), "sigma = 25 is more than 2 times .*sigma=25 / 255"),
    (lambda: EMBEDDER.embed(255 * IMAGES), "0–255 scale"),
    (lambda: metrics.psnr(IMAGES, 255 * IMAGES, protocol="raw"), "clean images have values .* 0–255 scale"),
    (lambda: metrics.psnr(255 * IMAGES, IMAGES, protocol="quantised"), "estimates have values .* 0–255 scale"),
    (lambda: noise.gaussian(255 * IMAGES, 0.1, seeded(), clip=False), "clean images have values .* 0–255 scale"),
    (lambda: noise.gaussian(255 * IMAGES + 25 * torch.randn(IMAGES.shape), 0.1, seeded(), clip=False), "0–255 scale"),
    (lambda: noise.jpeg(255 * IMAGES, 50), "0–255 scale"),
    (lambda: batches.shots(255 * IMAGES, seeded(), shift=0.1), "0–255 scale"),
    (lambda: batches.to_uint8(255 * IMAGES), "0–255 scale"),
    (lambda: plots.photographs({"mine": 255 * IMAGES[0]}, "one"), "0–255 scale"),
    (lambda: noise.from_255(25 * 255), "sigma_255 = 6375, but it must lie in 0 to 510"),
    # types: 8 bits where floating point is expected, and the reverse; the advice leads to neither black nor white images
    (lambda: DNCNN.denoise(eight_bit(1, 1, 16, 16)), "torch.uint8, but must be floating point in .0, 1.: batches.to_float"),
    (lambda: batches.to_uint8(eight_bit(1, 4, 4)), "torch.uint8, but floating-point images"),
    (lambda: batches.to_float(IMAGES), "torch.float32, but 8-bit images .* batches.to_uint8"),
    (lambda: batches.to_float(IMAGES.numpy()), "a NumPy array .*torch.from_numpy"),
    (lambda: metrics.psnr(IMAGES.tolist(), IMAGES, protocol="raw"), "estimates are a list .* but a tensor"),
    (lambda: metrics.psnr(IMAGES, None, protocol="raw"), "clean images are None"),
    (lambda: batches.ImagePool([IMAGES[0]], 4), "an image: a tensor of 8-bit numbers .* is expected.*float32"),
    # arguments
    (lambda: noise.jpeg(IMAGES, "51"), "quality is '51', but a number is expected"),
    (lambda: noise.jpeg(IMAGES, 50.5), "quality = 50.5, but it must be a whole number"),
    (lambda: noise.jpeg(IMAGES, [50]), "one for each of the 2 images"),
    (lambda: noise.poisson(IMAGES, math.inf, seeded()), "peak = inf, but it must be above 0 and below"),
    (lambda: noise.poisson(IMAGES, 1e30, seeded()), "peak = 1e.30"),
    (lambda: noise.poisson(IMAGES, math.nan, seeded()), "peak = nan"),
    (lambda: camera.demosaic(torch.rand(1, 1, 1, 8), "RGGB"), "1×8 pixels, but the mosaic's block has 2×2"),
    (lambda: camera.noise_level(IMAGES, math.nan, 0.1), "sigma_s = nan"),
    (lambda: siamese.contrastive(rand(2), torch.tensor([0, 2]), 1.0), "different has other values than 0 .* and 1"),
    (lambda: siamese.contrastive(rand(2), torch.tensor([[0], [1]]), 1.0), r"different: the shape \(2, 1\) was given, but \(N,\) is"),
    (lambda: siamese.contrastive(rand(2), torch.tensor([0, 1, 1]), 1.0), "different numbers of pairs"),
    (lambda: siamese.contrastive(rand(2), torch.tensor([0, 1]), math.nan), "margin = nan"),
    (lambda: siamese.Settings(margin=math.inf), "margin = inf"),
    (lambda: ADA.identify(rand(1, 3), math.nan), "gamma, .* = nan"),
    (lambda: ADA.identify(rand(1, 3), "0.5"), "gamma, .* is '0.5', but a number"),
    (lambda: bfcnn.homogeneity_gap(BFCNN, IMAGES, 0.0), "alpha, .* = 0, but it must be above 0"),
    # losses of classifiers and of pairs, by one check each
    (lambda: rotation.loss(rand(4, 4), ANYONE + 3), "labels are 3 to 4, but there are classes = 4, numbered from 0"),
    (lambda: arcface.arc_face(rand(4, 3), ANYONE - 1, margin=0.5, scale=8), "identities are -1 to 0, but there are classes = 3"),
    (lambda: identification.cross_entropy(rand(4, 3), ANYONE[:3]), r"logits \(4, 3\) and identities \(3,\) do not fit: \(B, people\)"),
    (lambda: jigsaw.loss(rand(2, 4, 5), ANYONE), r"labels: the shape \(4,\) was given, but \(B, K\) is expected"),
    (lambda: exemplar.loss(rand(0, 4), ANYONE[:0]), r"logits \(0, 4\) are empty: there is nothing to take a mean of"),
    (lambda: infonce.info_nce(rand(0, 3), rand(0, 3), 0.1), r"queries \(0, 3\) are empty"),
    (lambda: distances.paired(rand(4, 3), rand(1, 3)), r"a \(4, 3\) and b \(1, 3\) differ: they must have one shape"),
    (lambda: cbdnet.asymmetric(COLOR, COLOR, "0.3"), "alpha is '0.3', but a number is expected"),
    # indices
    (lambda: dncnn.evaluate(DNCNN, eight_bit(2, 1, 8, 8), 25, indices=[2]), "indices has 2 in it, but there are 2, numbered from 0 to 1"),
    (lambda: dncnn.evaluate(DNCNN, eight_bit(2, 1, 8, 8), 25, indices=[-1]), "indices has -1 in it"),
    (lambda: dncnn.evaluate(DNCNN, eight_bit(2, 1, 8, 8), 25, indices=[True, False]), "whole numbers are expected"),
    (lambda: dncnn.evaluate(DNCNN, eight_bit(2, 1, 8, 8), 25, indices="01"), "indices is '01', but a sequence"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_what_is_refused_and_why(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


ACCEPTED = [  # (what is accepted, the same in another form)
    (lambda: noise.jpeg(IMAGES, 51), lambda: noise.jpeg(IMAGES, np.int64(51))),
    (lambda: noise.jpeg(IMAGES, [51, 60]), lambda: noise.jpeg(IMAGES, torch.tensor([51, 60]))),
    (lambda: noise.from_255(25), lambda: noise.from_255(np.float64(25))),
    (lambda: noise.from_255(25), lambda: noise.from_255(torch.tensor(25))),
    (lambda: plots.pixels(batches.to_float(eight_bit(3, 8, 8))), lambda: plots.pixels(eight_bit(3, 8, 8))),
    (lambda: batches.ImagePool(eight_bit(2, 1, 8, 8), 4).pixels, lambda: batches.ImagePool(list(eight_bit(2, 1, 8, 8)), 4).pixels),
    (lambda: siamese.contrastive(rand(2), torch.tensor([True, False]), 1.0), lambda: siamese.contrastive(rand(2), torch.tensor([1, 0]), 1)),
]


@pytest.mark.parametrize(("one", "other"), ACCEPTED)
def test_what_is_accepted_in_several_forms(one, other):
    assert np.array_equal(one(), other())


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_images_of_other_precisions_keep_theirs(kind):
    images = IMAGES.to(kind)
    for made in (noise.gaussian(images, 0.1, seeded(), clip=False), noise.poisson(images, 1000.0, seeded()),
                 batches.shots(images, seeded(), shift=0.1, angle=5.0), camera.response(images, 2.2)):  # fmt: skip
        assert made.dtype == kind and made.shape == images.shape and (made - images).abs().mean() < 0.5


def test_noise_and_networks_that_learnt_nothing_are_not_taken_for_the_0_255_scale():
    """The strongest noise there is, twice, and outputs that are far too large on either side."""
    twice = noise.gaussian(noise.gaussian(torch.rand(4, 3, 64, 64), 2.0, seeded(1), clip=False), 2.0, seeded(2), clip=False)
    assert metrics.psnr(twice, torch.rand(4, 3, 64, 64), protocol="raw").isfinite().all()
    assert metrics.psnr(1000 * torch.randn(1, 1, 8, 8), torch.rand(1, 1, 8, 8), protocol="raw").item() < -50


@pytest.mark.parametrize("restore", [DNCNN.denoise, BFCNN.denoise, GRADUAL.denoise, FFDNET.denoise], ids=name_of)
def test_one_can_train_on_what_a_network_denoised(restore):
    """Not an inference tensor, which no gradient may pass through: a second network learns from the first."""
    weight = torch.ones(1, requires_grad=True)
    (restore(IMAGES, 0.1) * weight).square().mean().backward()
    assert weight.grad.isfinite()


def test_one_can_train_on_embeddings():
    weight = torch.ones(1, requires_grad=True)
    (EMBEDDER.embed(IMAGES) * weight).square().mean().backward()
    assert weight.grad.isfinite()
