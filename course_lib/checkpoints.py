"""Checkpoints of a running training: written as a whole or not at all, and checked before use.

(``weights.py`` is for the small finished networks that the course ships.)
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import torch
from torch import nn

from course_lib import project


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, is damaged, or belongs to another run; the message says which."""


def state(model: nn.Module, optimizer, step: int, settings: dict, seed: int, history: dict) -> dict:
    """Everything from which a run goes on after ``step`` updates."""
    tensors = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return {
        "network": type(model).__name__,
        **tensors,
        "sha256": digest(tensors),
        "step": step,
        "settings": settings,
        "seed": seed,
        "precision": history["precision"],
        "history": history,
        "source_hash": project.source_hash(),
    }


def digest(content) -> str:
    """SHA-256 of all tensors and numbers in nested dictionaries and lists, in order."""
    found = hashlib.sha256()

    def enter(value) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                found.update(str(key).encode())
                enter(entry)
        elif isinstance(value, list | tuple):
            for entry in value:
                enter(entry)
        elif isinstance(value, torch.Tensor):
            found.update(str(tuple(value.shape)).encode())
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        else:
            found.update(str(value).encode())

    enter(content)
    return found.hexdigest()


def write(fabric, path: str | Path, content: dict) -> None:
    """Write to a file beside ``path``, then rename: a crash or a full disk leaves the checkpoint before it intact.

    The first process writes; all of them learn whether it could.

    Raises:
        CheckpointError: if the disk is full, read-only, or the folder cannot be made.
    """
    path = Path(path)
    problem = ""
    if fabric.is_global_zero:
        unfinished = path.with_name(path.name + ".unfinished")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            problem = f"the checkpoint {path} could not be written ({error})."
            try:
                unfinished.unlink(missing_ok=True)
            except OSError:
                pass  # the folder cannot be reached; there is nothing of ours in it
    problem = fabric.broadcast(problem)
    if problem:
        raise CheckpointError(problem)


def open_file(path: str | Path) -> dict:
    """The content of a checkpoint, checked to be whole.

    Raises:
        CheckpointError: if it is missing, truncated, altered, or no checkpoint of the course.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"there is no file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load itself does not compare the check sums
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"wrong check sum in {damaged}")
        found = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"network", "model", "optimizer", "sha256", "step", "settings", "seed", "precision", "history"} - set(found)
        if missing:
            raise KeyError(f"no entry {', '.join(sorted(missing))}")
        if digest({"model": found["model"], "optimizer": found["optimizer"]}) != found["sha256"]:
            raise ValueError("its tensors do not have the SHA-256 that was written with them")
    except Exception as error:  # whatever zipfile, pickle or torch meet first in a damaged file
        raise CheckpointError(
            f"{path} is truncated, altered or not a checkpoint of the course ({error}). Train again without resuming, or "
            "give another file; this one is left as it is."
        ) from error
    return found


def require_free(path: str | Path) -> None:
    """Raise ``CheckpointError`` where a new run would write over a checkpoint of another one."""
    path = Path(path)
    step = open_file(path)["step"] if path.exists() else 0
    if step:  # one that was written before the first step has nothing in it to lose
        raise CheckpointError(
            f"{path} exists already, with {step:,} steps: resume from it if the run was interrupted (--resume), give another file "
            "(--checkpoint), or delete it to train anew."
        )


def read(path: str | Path, network: str, settings: dict, seed: int, resume: bool) -> dict | None:
    """The content of the checkpoint at ``path`` if it fits the run; None if there is no such file.

    Raises:
        CheckpointError: if there is one although ``resume`` is False, or it is truncated or altered, or of another network,
            other settings or another seed.
    """
    path = Path(path)
    if not resume:
        require_free(path)
        return None
    if not path.exists():
        return None
    found = open_file(path)
    differences = [
        f"{name}: {was!r} in the checkpoint, {now!r} now"
        for name, was, now in [
            ("network", found["network"], network),
            ("seed", found["seed"], seed),
            *((key, found["settings"].get(key), settings.get(key)) for key in sorted({*found["settings"], *settings})),
        ]
        if as_plain(was) != as_plain(now)
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to another run ({'; '.join(differences)}). Use the same settings to go on, or another file."
        )
    return found


def as_plain(value):
    """Lists as tuples, so that settings compare equal after a round trip through a file."""
    return tuple(map(as_plain, value)) if isinstance(value, list | tuple) else value


def restore(model: nn.Module, content: dict) -> None:
    """Load the network's tensors; ``CheckpointError`` if they are those of another architecture."""
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another architecture: {error}") from error
