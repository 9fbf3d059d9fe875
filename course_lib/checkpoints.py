"""Checkpoints of a running training: written as a whole or not at all, and checked before use.

(``weights.py`` is for the small finished networks that the course ships.)
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import nn

from course_lib import devices, files, project, settings
from course_lib.history import History, TrainingError


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, is damaged, or belongs to another run; the message says which."""


class Parts:
    """The tensors of a training: its network, its optimisers, and the average of its weights where there is one.

    Args:
        model: the network.
        optimizers: as Fabric has set them up.
        average: torch's ``AveragedModel`` of the network, or None.
    """

    def __init__(self, model: nn.Module, optimizers: Sequence, average=None):
        self.model, self.optimizers, self.average = model, optimizers, average

    def content(self, step: int, identity: dict, history: History) -> dict:
        """Everything from which a run goes on after ``step`` updates; ``identity`` has network, settings, seed and about."""
        tensors = {"model": self.model.state_dict(), "optimizer": [optimizer.state_dict() for optimizer in self.optimizers]}
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        return {
            **identity,
            **tensors,
            "sha256": digest(tensors),
            "step": step,
            "precision": history.precision,
            "history": asdict(history),
            "source_hash": project.source_hash(),
        }

    def restore(self, content: dict | None) -> int:
        """Load what :meth:`content` gave, and return its step; 0 for None. ``CheckpointError`` if it is of another architecture."""
        if content is None:
            return 0
        restore(self.model, {"model": content["model"]})
        for optimizer, state in zip(self.optimizers, content["optimizer"], strict=True):
            optimizer.load_state_dict(state)
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        return content["step"]

    def require_numbers(self, step: int) -> None:
        """Raise ``TrainingError`` where a weight is NaN or infinite after ``step`` updates."""
        if not all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values()):
            raise TrainingError(f"after step {step - 1} weights are no longer numbers, although the loss was: its gradient was not.")

    def finish(self) -> None:
        """Leave the network in evaluation mode, with the averaged weights where there are any."""
        self.model.eval()
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())


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


@contextmanager
def held(path: str | Path | None) -> Iterator[None]:
    """Keep the checkpoint at ``path`` for this training while the block runs; of several processes that train together one does.

    Raises:
        CheckpointError: if another training has it (the message says which process), or nothing can be written there.
    """
    with ExitStack() as stack:
        if path is not None and devices.rank() == 0:
            try:
                stack.enter_context(files.lock(path))
            except files.WriteError as error:
                raise CheckpointError(f"the checkpoint {error}") from error
        yield


def write(fabric, path: str | Path, content: dict, *, must: bool = True) -> None:
    """Write a checkpoint, as a whole or not at all. The first process writes; all of them learn whether it could.

    Raises:
        CheckpointError: if the disk is full, read-only, or the folder cannot be made. A warning tells it where none ``must`` be
            written now.
    """
    problem = ""
    if fabric.is_global_zero:
        whole = io.BytesIO()
        torch.save(content, whole)
        try:
            files.write(path, whole.getbuffer())
        except files.WriteError as error:
            problem = f"the checkpoint {error}"
    problem = fabric.broadcast(problem)
    if problem and must:
        raise CheckpointError(problem)
    if problem:
        warnings.warn(f"{problem} Training goes on; the checkpoint before this one is kept.", stacklevel=3)


def open_file(path: str | Path) -> dict:
    """The content of a checkpoint, checked to be whole.

    Raises:
        CheckpointError: if it is missing, cannot be read, is truncated or altered, or is no checkpoint of the course.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"there is no file {path}.")
    what_to_do = "Give another file, or move this one away to train anew; it is left as it is."
    try:
        files.require_regular(path)
        with open(path, "rb") as file:
            file.read(1)
    except files.WriteError as error:
        raise CheckpointError(f"{error} So it is not a checkpoint of the course.") from error
    except OSError as error:  # not ours, or a disk that is gone: nothing is said of its content
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load itself does not compare the check sums
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"wrong check sum in {damaged}")
        found = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"network", "model", "optimizer", "sha256", "step", "settings", "seed", "about", "precision", "history"} - set(found)
        if missing:
            raise KeyError(f"no entry {', '.join(sorted(missing))}")
        unknown = set(found["history"]) - {field.name for field in fields(History)}
        if unknown:
            raise ValueError(f"its history has {', '.join(sorted(unknown))}, of which this version of course_lib knows nothing")
        if digest({name: found[name] for name in ("model", "optimizer", "average") if name in found}) != found["sha256"]:
            raise ValueError("its tensors do not have the SHA-256 that was written with them")
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:  # its check sums are right: it was written like that
        raise CheckpointError(
            f"{path} is whole, but not a checkpoint of the course: it holds something else than tensors, plain numbers and text "
            f"({str(error).splitlines()[0]}). {what_to_do}"
        ) from error
    except Exception as error:  # whatever zipfile, pickle or torch meet first in a damaged file
        raise CheckpointError(f"{path} is truncated, altered or not a checkpoint of the course ({error}). {what_to_do}") from error
    return found


def require_free(path: str | Path, elsewhere: str = "give another file (--checkpoint), ") -> None:
    """Raise ``CheckpointError`` where a new run would write over a checkpoint of another one; its message says how to run ``elsewhere``."""
    path = Path(path)
    step = open_file(path)["step"] if path.exists() else 0
    if step:  # one that was written before the first step has nothing in it to lose
        raise CheckpointError(
            f"{path} exists already, with {step:,} steps: resume from it if the run was interrupted (--resume), {elsewhere}or delete it to "
            "train anew."
        )


def read(path: str | Path | None, kind: type, identity: dict, resume: bool) -> dict | None:
    """The content of the checkpoint at ``path`` if it fits the run; None if there is no such file, or no path.

    Args:
        path: of the file.
        kind: class of the settings, whose defaults stand for what the file does not know yet.
        identity: network, settings, seed and about of the run.
        resume: may the run go on from it?

    Raises:
        CheckpointError: if there is one although ``resume`` is False, or it is truncated or altered, or of another network,
            other settings, another seed, or about another run.
    """
    if path is not None and not resume:
        require_free(path)
    if path is None or not resume or not Path(path).exists():
        return None
    found = open_file(path)
    try:
        was = asdict(settings.stored(kind, found["settings"]))
    except (ValueError, TypeError):  # of another method, whose settings have other names
        was = found["settings"]
    was, now = ({"network": c["network"], "seed": c["seed"], **c["about"], **chosen}
                for c, chosen in ((found, was), (identity, identity["settings"])))  # fmt: skip
    differing = differences(was, now)
    if differing:
        raise CheckpointError(
            f"{path} belongs to another run ({'; '.join(differing)}). Use the same settings to go on, or another file."
        )
    return found


def differences(was: dict, now: dict) -> list[str]:
    """What differs between two nested dictionaries, that of a checkpoint and that of now, an entry in words for each."""
    was, now = flat(was), flat(now)
    return [
        f"{name}: {was.get(name)!r} in the checkpoint, {now.get(name)!r} now"
        for name in dict.fromkeys((*was, *now))
        if settings.plain(was.get(name)) != settings.plain(now.get(name))
    ]


def flat(nested: dict, before: str = "") -> dict:
    """A nested dictionary as one, its keys joined by dots: ``{"data": {"train": 1}}`` gives ``{"data.train": 1}``."""
    found = {}
    for key, value in nested.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def restore(model: nn.Module, content: dict) -> None:
    """Load the network's tensors, averaged ones where there are any; ``CheckpointError`` if they are of another architecture."""
    averaged = {name.removeprefix("module."): t for name, t in content.get("average", {}).items() if name != "n_averaged"}
    try:
        model.load_state_dict(averaged or content["model"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint is of another architecture: {error}") from error
