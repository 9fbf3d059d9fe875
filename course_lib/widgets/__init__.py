"""The sliders of the book: one cell, alive in JupyterLab with a kernel and on the static page without one.

A function for each kind makes a :class:`~course_lib.widgets.lab.Lab`, in which a choice and a position of the slider lead to
a frame.
"""

from course_lib.widgets.frames import ERROR_GAIN, Drawing, error_picture
from course_lib.widgets.lab import Lab
from course_lib.widgets.page import LARGEST_BUDGET, MOST_FRAMES
from course_lib.widgets.pattern import GaussianNoise
from course_lib.widgets.photos import PAGE_PHOTOS, degradation_lab, noise_lab
from course_lib.widgets.rows import figure_lab, restoration_lab

__all__ = [
    "ERROR_GAIN", "LARGEST_BUDGET", "MOST_FRAMES", "PAGE_PHOTOS",
    "Drawing", "GaussianNoise", "Lab", "degradation_lab", "error_picture", "figure_lab", "noise_lab", "restoration_lab",
]  # fmt: skip
