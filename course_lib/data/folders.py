"""Data sets that are folders of images, in the layout of ``data/README.md``: no loader brings them."""

from __future__ import annotations

from pathlib import Path

import torch

from course_lib.data.dataset import Dataset, Request, folder_files, together
from course_lib.data.pictures import decoded

FOLDERS = {  # name: folder below the data root, PIL mode, what it is
    "bsd400": ("BSD400", "L", "BSD400, the 400 gray training images of DnCNN"),
    "bsd68": ("BSD68", "L", "BSD68, the 68 gray test images"),
    "set12": ("Set12", "L", "Set12, the 12 classic gray test images"),
    "set5": ("Set5", "RGB", "Set5, the 5 classic super-resolution test images"),
    "cbsd432": ("CBSD432", "RGB", "CBSD432, BSDS500 in colour less the 68 test images"),
    "bsd432": ("CBSD432", "L", "CBSD432 in gray, BSDS500 less the 68 test images"),
    "cbsd68": ("CBSD68", "RGB", "CBSD68, the 68 test images in colour"),
}


def folder(asked: Request) -> Dataset:
    """One of ``FOLDERS``."""
    below, mode, source = FOLDERS[asked.name]
    files = folder_files(asked.root, below)
    images = [decoded(content, mode) for content in files.values()]
    return Dataset(asked.name, together(images), source, tuple(Path(file).stem for file in files))


def cc15(asked: Request) -> Dataset:
    """Fifteen noisy photographs of real cameras, with the mean over many shots as their truth."""
    files = folder_files(asked.root, "CC15")
    scenes = [file.removesuffix("_real.png") for file in files if file.endswith("_real.png")]
    noisy = torch.stack([decoded(files[f"{scene}_real.png"], "RGB") for scene in scenes])
    truth = torch.stack([decoded(files[f"{scene}_mean.png"], "RGB") for scene in scenes])
    source = "CC15, camera noise of Nam et al. (CVPR 2016); truth is the mean over many shots"
    return Dataset(asked.name, noisy, source, tuple(scenes), truth=truth)
