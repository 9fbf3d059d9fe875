"""The sliders of the book: one cell, alive in JupyterLab with a kernel and on the static page without one."""

from course_lib.widgets.lab import (
    LARGEST_BUDGET,
    MOST_FRAMES,
    PAGE_PHOTOS,
    PAGE_QUALITIES,
    Drawing,
    degradation_lab,
    figure_lab,
    noise_lab,
    restoration_lab,
)

__all__ = [
    "LARGEST_BUDGET", "MOST_FRAMES", "PAGE_PHOTOS", "PAGE_QUALITIES", "Drawing", "degradation_lab", "figure_lab", "noise_lab",
    "restoration_lab",
]  # fmt: skip
