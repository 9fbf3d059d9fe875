"""Recipes of metric learning: by classification, on pairs, on triplets, on whole batches. No paper has figures for these data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

from torch import nn

from course_lib.data import Dataset
from course_lib.metric_learning import arcface, embedding, evaluation, identification, infonce, siamese, supcon, triplet
from course_lib.metric_learning.identities import SHOT, characters, faces, held_out_digits
from course_lib.recipes.base import Benchmark, Figures, Measure, Preset, Recipe, Split
from course_lib.training import Method


@dataclass(frozen=True, kw_only=True)
class OfPeople(Benchmark):
    """People that the network was not trained on, and how well it tells them apart: figures of all their pictures together."""

    metrics: Mapping[str, Measure] = field(default_factory=dict)  # none image by image
    sigmas_255: Sequence[float] = (0, 10, 25, 50)  # noise of the queries
    shot: Mapping[str, float] | None = None  # further queries, moved and turned by up to this
    rivals: Mapping[str, Callable[[nn.Module], evaluation.Embed]] = field(default_factory=dict)  # prefix -> other distances

    def figures(self, images: Dataset, model: nn.Module, *, seed: int = 0, count: int | None = None) -> Figures:
        """Metric -> ``"seed 0"`` -> value in percent; see :func:`course_lib.metric_learning.evaluation.evaluate`."""
        conditions = {"sigmas_255": self.sigmas_255, "shot": self.shot, "seed": seed}
        found = evaluation.evaluate(model.embed, images, **conditions)
        for prefix, rival in self.rivals.items():
            found |= {f"{prefix}_{name}": value for name, value in evaluation.evaluate(rival(model), images, **conditions).items()}
        return {name: {f"seed {seed}": value} for name, value in found.items()}


def divided(name: str, parts: Callable[[int], tuple[Dataset, Dataset]]) -> Callable[[int], Split]:
    """People of a data set in two parts, of which the seed decides who is in which: those to train on, and the others."""

    def data(seed: int) -> Split:
        both = cache(partial(parts, seed))

        def test(asked: str) -> Dataset:
            if asked != name:
                raise ValueError(f'tests are on people of "{name}" that the training has not seen, and on no other data such as "{asked}".')
            return both()[1]

        return Split(name, lambda: both()[0], test)

    return data


MILD = dict(shift=0.05, angle=5.0, light=0.2)  # real pictures vary by themselves, less than the characters' shots have to
FACES = dict(**MILD, height=56, width=46, steps=400, learning_rate=5e-4)  # half their size; few people, who are soon learnt by heart
DIGITS = dict(**MILD, images=9, batch_size=63, steps=400, learning_rate=5e-4)  # all seven "people" in each batch


def of_people(
    title: str,
    method: Method,
    network: Callable[..., nn.Module] = embedding.Embedder,
    *,
    quick: Mapping,
    on_faces: Mapping | None = None,
    on_digits: Mapping | None = None,
    count: int = 4000,
    rivals: Mapping | None = None,
    **settings,
) -> Recipe:
    """A recipe on ``count`` characters (``quick``), ``faces``, and ``digits``; ``settings`` are those that all three have."""

    def preset(name: str, parts, overlap: float, **more) -> Preset:
        tests = {name: OfPeople(shot=SHOT, rivals=rivals or {}, overlap=overlap)}
        return Preset(settings=method.Settings(**settings, **more), data=divided(name, parts), tests=tests)

    return Recipe(
        title=title,
        method=method,
        network=network,
        presets={
            "quick": preset("digits", partial(characters, count=count), 100 / count, **SHOT, **quick),
            "faces": preset("faces", faces, 10 / 30, **FACES | dict(on_faces or {})),
            "digits": preset("digits", held_out_digits, 3 / 7, **DIGITS | dict(on_digits or {})),
        },
        seeds=5,
        ships=False,
    )


TRIPLET = dict(normalise=True, margin=0.2)  # FaceNet's
# 100 people: a softmax over 4,000 does not begin to learn in so few steps
CLASSIFIER = dict(people=100, images=2, steps=400, learning_rate=2e-3, warmup_steps=20)

RECIPES: dict[str, Recipe] = {
    "identification": of_people(
        "Identification by classification: softmax over people", identification, identification.Classifier,
        count=100, quick=CLASSIFIER,
        on_faces={"people": 30}, on_digits={"people": 7},
        # with the distance of pixels, and the angle in place of the distance
        rivals={"pixels": lambda model: evaluation.pixels, "angle": lambda model: evaluation.direction(model.embed)},
    ),
    "siamese": of_people("Siamese network: contrastive loss", siamese, quick={"steps": 350}, normalise=True, margin=1.0),
    "triplet": of_people("Triplet network: semi-hard negatives", triplet, quick={"steps": 500}, **TRIPLET, mining="semi-hard"),
    "triplet_hard": of_people("Triplet network: batch-hard", triplet, quick={"steps": 500}, **TRIPLET, mining="batch-hard"),
    "triplet_random": of_people("Triplet network: random negatives", triplet, quick={"steps": 500}, **TRIPLET, mining="random"),
    "infonce": of_people(
        "InfoNCE: one positive among the batch", infonce, quick={"steps": 500},
        # two pictures of each person: 30 people make 60, and seven "people" make 14
        on_faces={"images": 2, "batch_size": 60}, on_digits={"images": 2, "batch_size": 14},
    ),
    "supcon": of_people("SupCon: all pictures of a person are positives", supcon, quick={"steps": 500}),
    "arcface": of_people(
        "ArcFace: classification with a margin on the sphere", arcface, arcface.Classifier,
        # people, batches and learning rate are the classifier's; the paper's s = 64 learns more slowly in so few steps
        count=100, quick=CLASSIFIER, on_faces={"people": 30}, on_digits={"people": 7}, scale=16.0,
    ),
}  # fmt: skip
