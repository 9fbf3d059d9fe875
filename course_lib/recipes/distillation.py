"""Recipes of chapter 17: students of noisy images with a clean or a noisy teacher, by features or by logits, and the same student alone.

The teachers are ``cifar_clean`` and ``cifar_noise_only`` of the same preset. All students have the same network, schedule, noise, initial
weights and images of each seed, so that they can be compared pair by pair. Neither paper's figures could be found.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

from course_lib.noisy_classification import logit_distillation, student_teacher
from course_lib.recipes.base import Measure, Preset, Recipe, Source, parts_of
from course_lib.recipes.noisy_classification import QUICK, SIGMAS, of_noise
from course_lib.recipes.probes import Labelled

TEACHERS = {"clean": "cifar_clean", "noisy": "cifar_noise_only"}
DATA = {"quick": "digits_on_photos", "paper": "cifar10", "jpeg": "cifar10_jpeg"}
CONDITIONS: dict[str, Measure] = {
    "accuracy": student_teacher.evaluate,
    **{of_noise(sigma): partial(student_teacher.evaluate, sigma=sigma) for sigma in SIGMAS},
}
"""What is measured of a student: accuracy on clean images, and with noise."""

PLAIN = {name: value for name, value in QUICK.items() if not name.startswith("weight_pivot")}


def student(
    title: str, teacher: str = "", *, method: ModuleType = student_teacher, longer: int = 1, shown: bool = False, **changes
) -> Recipe:
    """A student of the ``clean`` or the ``noisy`` teacher, or of none.

    ``longer`` is by how much its training is. A student that the chapter has ``shown`` comes with weights, on digits.
    """
    presets = {}
    for name, on in DATA.items():
        own = dict(changes) if teacher else {"weight_teacher": 0.0}
        settings = method.Settings(**{**(PLAIN if name == "quick" else {}), **own})
        if longer > 1:
            settings = method.Settings(**{**vars(settings), "steps": longer * settings.steps})
        needs = {"teacher": Source(recipe=TEACHERS[teacher], preset=name)} if teacher else {}
        tests = {on: Labelled(metrics=CONDITIONS)}
        presets[name] = Preset(settings=settings, data=parts_of(on), tests=tests, needs=needs, ships=shown and name == "quick")
    return Recipe(title=title, chapter="17_distillation", method=method, network=method.Student, presets=presets, seeds=3)


RECIPES: dict[str, Recipe] = {
    "student_alone": student("Student alone: noisy images only"),
    "student_alone_longer": student("Student alone, twice as long: as many steps as teacher and student together", longer=2),
    "student_of_clean": student("Student-teacher learning: features of a clean teacher", "clean", shown=True),
    "student_of_noisy": student("Self-distillation: features of a noisy teacher, the same noise", "noisy", teacher_reads="same"),
    "student_of_noisy_fresh": student("Self-distillation, fresh noise: features of a noisy teacher", "noisy", teacher_reads="fresh"),
    "student_of_logits": student(
        "Logit distillation: logits of a noisy teacher, the same noise", "noisy", method=logit_distillation, teacher_reads="same"
    ),
    "student_of_clean_logits": student("Logit distillation, clean teacher", "clean", method=logit_distillation),
}
