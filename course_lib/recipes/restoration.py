"""Recipes of chapter 18: teachers and students that remove noise, motion blur or rain, and the student without its teachers.

No figures of the paper could be found, and its data are not here: the networks are trained on CBSD432 and tested on CBSD68, with tasks
drawn by :mod:`course_lib.degradations`.
"""

from __future__ import annotations

from functools import partial

from course_lib.noisy_classification import restorer, slkd
from course_lib.recipes.base import Measure, Preset, Recipe, Source
from course_lib.recipes.of_images import benchmarks, images

CHAPTER = "18_restoration_distillation"
QUICK = dict(
    channels=1, blocks=1, patch_size=48, steps=600, batch_size=8, log_every=20,  # what two cores do in 20 s
    optimizer="muon", muon_learning_rate=0.01, learning_rate=2e-3, warmup_steps=20,  # learns most in few steps
    scales=(1.0, 0.5),  # the embedded photos are few and large
)  # fmt: skip
TEACHER = dict(width=24, steps=2000)  # of the quick preset; chapter 18 takes its shipped weights
STUDENT = dict(width=10)  # a sixth of the teacher's parameters and operations
TAUGHT = dict(naturalness=0.005, structure=0.001, divergence=0.01)  # far less than published: chapter 18 says why
TEACHERS = ("degraded_teacher", "clean_teacher")
ALONE = dict(naturalness=0.0, structure=0.0, divergence=0.0)
NAMES = {"noise": "psnr_25", "motion": "psnr_motion15", "rain": "psnr_rain3"}
"""Task -> what its figure is called, at the strength of ``restorer.TEST``."""
WORDS = {"noise": "Gaussian noise", "motion": "motion blur", "rain": "rain"}


class _Input:
    """A network that does nothing: how good are the images that the others get?"""

    @staticmethod
    def restore(degraded):
        return degraded


def measures(task: str) -> dict[str, Measure]:
    """PSNR on a task, of the network and of its input."""
    return {
        NAMES[task]: partial(restorer.evaluate, task=task),
        NAMES[task].replace("psnr", "input"): lambda model, *given, indices=None: restorer.evaluate(_Input, *given, task, indices=indices),
    }


def _presets(settings: type[restorer.Settings], task: str, quick: dict, needs: tuple[str, ...] = (), **both) -> dict[str, Preset]:
    """``quick`` on the embedded photos in gray, ``paper`` on CBSD432; each with teachers of the same preset."""

    def held(preset: str) -> dict[str, Source]:
        recipes = {"degraded_teacher": f"restorer_{task}", "clean_teacher": "restorer_clean"}
        return {name: Source(recipe=recipes[name], preset=preset) for name in needs}

    return {
        "quick": Preset(settings=settings(**{**QUICK, **quick, **both, "task": task}), data=images("photos"),
                        tests=benchmarks(["photos"], measures(task)), needs=held("quick")),
        "paper": Preset(settings=settings(**both, task=task), data=images("cbsd432", color=True),
                        tests=benchmarks(["cbsd68", "photos"], measures(task)), needs=held("paper")),
    }  # fmt: skip


def teacher(task: str) -> Recipe:
    """A large restorer of one task."""
    return Recipe(
        title=f"The teacher of SLKD that removes {WORDS[task]}",
        chapter=CHAPTER,
        method=restorer,
        network=restorer.Restorer,
        presets=_presets(restorer.Settings, task, TEACHER),
    )


def student(task: str, *, taught: bool) -> Recipe:
    """A small restorer of one task, with both teachers or alone."""
    return Recipe(
        title=f"A small network that removes {WORDS[task]}, {'taught by SLKD' if taught else 'alone'}",
        chapter=CHAPTER,
        method=slkd,
        network=slkd.Student,
        seeds=5,  # what a teacher adds is small beside what a seed does
        presets=_presets(slkd.Settings, task, STUDENT | (TAUGHT if taught else {}), **({"needs": TEACHERS} if taught else ALONE)),
    )


RECIPES: dict[str, Recipe] = {
    **{f"restorer_{task}": teacher(task) for task in NAMES},
    "restorer_clean": Recipe(
        title="The teacher of SLKD that reads clean images",
        chapter=CHAPTER,
        method=restorer,
        network=restorer.Restorer,
        presets=_presets(restorer.Settings, "noise", {**TEACHER, "steps": 600}, reads="clean"),  # it has little to learn
    ),
    **{f"slkd_{task}": student(task, taught=True) for task in NAMES},
    **{f"small_{task}": student(task, taught=False) for task in NAMES},
}
