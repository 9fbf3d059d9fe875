"""Settings: read by a library that has since got new ones, given in other types, and what is said of files that hold them."""

import json
import math
import os
import re
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib import checkpoints, devices, project, settings, training
from course_lib.denoising import dncnn


@dataclass(frozen=True, kw_only=True)
class Chosen:
    steps: int
    drop_at: tuple[float, ...] = (0.6,)
    scales: tuple[tuple[int, int], ...] = ()
    schedule: str = "cosine"


def test_what_is_newer_than_the_file_has_its_default():
    assert settings.stored(Chosen, {"steps": 3}) == Chosen(steps=3)


def test_lists_become_tuples_again():
    found = settings.stored(Chosen, {"steps": 3, "drop_at": [0.3, 0.6], "scales": [[1, 2], [3, 4]]})
    assert found == Chosen(steps=3, drop_at=(0.3, 0.6), scales=((1, 2), (3, 4)))


def test_a_number_where_there_may_now_be_several():
    assert settings.stored(Chosen, {"steps": 3, "drop_at": 0.5}).drop_at == (0.5,)


def test_a_name_that_there_is_not_is_an_error():
    with pytest.raises(ValueError, match="there is no setting dropat among steps, drop_at, scales, schedule"):
        settings.stored(Chosen, {"steps": 3, "dropat": 0.5})


def test_a_round_trip():
    plan = dncnn.Settings(sigma_255=(0.0, 55.0), scales=(1.0,))
    assert settings.stored(dncnn.Settings, asdict(plan)) == plan
    assert settings.stored(dncnn.Settings, {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(plan).items()}) == plan


def test_a_stored_value_that_makes_no_sense():
    with pytest.raises(ValueError, match="depth = 1"):
        settings.stored(dncnn.Settings, {**asdict(dncnn.Settings()), "depth": 1})


# --- values of other types: plain ones of Python, or refused by name before anything is saved ----------------------------------

ACCEPTED = {
    # setting, value -> what it becomes
    "integer of NumPy": ("depth", np.int64(3), 3),
    "integer of PyTorch": ("depth", torch.tensor(3), 3),
    "array without axes": ("depth", np.array(3), 3),
    "float without a fraction": ("steps", 1e3, 1000),
    "float of NumPy": ("learning_rate", np.float32(0.25), 0.25),
    "double of NumPy": ("learning_rate", np.float64(0.25), 0.25),
    "float of PyTorch": ("learning_rate", torch.tensor(0.25, dtype=torch.bfloat16), 0.25),
    "a parameter": ("learning_rate", torch.nn.Parameter(torch.tensor(0.25)), 0.25),
    "an integer where a float is": ("learning_rate", 1, 1.0),
    "truth value of NumPy": ("batch_norm", np.bool_(False), False),
    "truth value of PyTorch": ("compile", torch.tensor(True), True),
    "none of it": ("compile", None, None),
    "text of NumPy": ("schedule", np.str_("cosine"), "cosine"),
    "a list": ("sigma_255", [0, 55], (0.0, 55.0)),
    "an array": ("sigma_255", np.array([0, 55]), (0.0, 55.0)),
    "a tensor": ("sigma_255", torch.tensor([0.0, 55.0]), (0.0, 55.0)),
    "numbers of NumPy in a tuple": ("factors", (np.int32(2), np.float64(3)), (2, 3)),
    "a generator": ("scales", (1.0 for _ in range(1)), (1.0,)),
}

REFUSED = {
    "text for an integer": ("depth", "8", 'depth = "8", but a whole number is expected'),
    "a fraction": ("steps", 2.5, "steps = 2.5, but a whole number is expected"),
    "NaN for an integer": ("steps", math.nan, "steps = nan, but a whole number is expected"),
    "infinity for an integer": ("steps", math.inf, "steps = inf, but a whole number is expected"),
    "a truth value for an integer": ("depth", True, "depth = True, but a whole number is expected"),
    "an array for an integer": ("depth", np.array([3, 4]), r"depth = array\(\[3, 4\]\), but a whole number is expected"),
    "None for an integer": ("depth", None, "depth = None, but a whole number is expected"),
    "text for a float": ("learning_rate", "1e-3", 'learning_rate = "1e-3", but a number is expected'),
    "a complex number": ("learning_rate", 1j, "learning_rate = 1j, but a number is expected"),
    "NaN": ("weight_decay", math.nan, "weight_decay = nan, but it must be finite"),
    "infinity": ("learning_rate", math.inf, "learning_rate = inf, but it must be finite"),
    "NaN in a tuple": ("scales", (1.0, math.nan), "scales = "),
    "text for a truth value": ("batch_norm", "False", 'batch_norm = "False", but True or False is expected'),
    "an integer for a truth value": ("compile", 1, "compile = 1, but True or False or None is expected"),
    "a number for a text": ("optimizer", 3, "optimizer = 3, but one of adam, sgd, muon is expected"),
    "one number for two": ("sigma_255", 25.0, "sigma_255 = 25.0, but a tuple of 2 numbers, a lowest and a highest, is expected"),
    "three numbers for two": ("sigma_255", (1, 2, 3), r"sigma_255 = \(1, 2, 3\), but a tuple of 2 numbers, a lowest"),
    "text for several": ("factors", "2,3", 'factors = "2,3", but a tuple of one or more whole numbers is expected'),
    "text among several": ("factors", (2, "3"), "factors = .*whole numbers is expected"),
    "a dictionary": ("factors", {2: 3}, "factors = .*whole numbers is expected"),
    "a negative final rate": ("final_learning_rate", -1e-4, "final_learning_rate = -0.0001, but it must be at least 0"),
    "a negative rate": ("learning_rate", -1e-4, "learning_rate = -0.0001, but it must be at least 0"),
    "negative decay": ("weight_decay", -0.1, "weight_decay = -0.1, but it must be at least 0"),
    "a negative rate of Muon": ("muon_learning_rate", -0.1, "muon_learning_rate = -0.1, but it must be at least 0"),
    "a drop after the end": ("drop_at", (0.5, 1.5), r"drop_at = \(0\.5, 1\.5\): .*between 0 and 1"),
    "a drop before the start": ("drop_at", (-0.5, 0.5), r"drop_at = \(-0\.5, 0\.5\): .*between 0 and 1"),
    "a drop that is no number": ("drop_at", (math.nan,), "drop_at = "),
}


@pytest.mark.parametrize(("name", "value", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_values_become_those_of_python(name, value, expected):
    found = getattr(dncnn.Settings(**{name: value}), name)
    assert found == expected and type(found) is type(expected)
    if isinstance(found, tuple):
        assert [type(entry) for entry in found] == [type(entry) for entry in expected]
    assert json.loads(json.dumps(found)) == (list(expected) if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize(("name", "value", "told"), REFUSED.values(), ids=REFUSED)
def test_values_that_are_refused(name, value, told):
    with pytest.raises(ValueError, match=told):
        dncnn.Settings(**{name: value})
    with pytest.raises(ValueError, match=told):  # the same by another way
        replace(dncnn.Settings(), **{name: value})


def test_a_rate_that_falls_by_a_factor_begins_above_0():
    for changes in ({"schedule": "exponential"}, {"schedule": "drop", "drop_at": (0.3, 0.6)}):
        with pytest.raises(ValueError, match="learning_rate = 0.0, but a rate that falls by a factor must begin above 0"):
            dncnn.Settings(learning_rate=0.0, final_learning_rate=1e-4, **changes)


def train(folder, seed=0, about=None, **changes):
    plan = dncnn.Settings(**{"depth": 2, "width": 4, "patch_size": 16, "scales": (1.0,), "batch_size": 2, "steps": 2,
                             "precision": "32-true", **changes})  # fmt: skip
    pool = dncnn.prepare([torch.zeros(1, 32, 32, dtype=torch.uint8)], plan)
    options = {"seed": seed, "about": about, "checkpoint": folder / "a.ckpt", "resume": True, "progress": False}
    return training.fit(dncnn.DnCNN(plan), pool, dncnn, plan, **options)


def test_a_checkpoint_of_such_settings_is_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    of_numpy = {"steps": np.int64(2), "learning_rate": np.float64(1e-3), "sigma_255": np.array([0, 55])}
    about = {"data": {"train": np.str_("zeros"), "share": np.float32(0.5)}, "sizes": [np.int64(3), torch.tensor(4)]}
    train(tmp_path, seed=np.int64(3), about=about, **of_numpy)
    found = checkpoints.open_file(tmp_path / "a.ckpt")
    assert (found["step"], found["seed"]) == (2, 3)
    assert found["about"] == {"data": {"train": "zeros", "share": 0.5}, "sizes": [3, 4]}
    train(tmp_path, seed=3, about=about, steps=2, learning_rate=1e-3, sigma_255=(0.0, 55.0))  # is the same run


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": "3"}, 'seed = "3", but a whole number is expected'),
        ({"seed": 0.5}, "seed = 0.5, but a whole number is expected"),
        ({"about": {"data": {"path": Path("x")}}}, r"about\.data\.path = .*but a number, a text"),
        ({"about": {"sizes": [np.zeros(3)]}}, r"about\.sizes\.0 = array.*but a number, a text"),
    ],
)
def test_what_a_file_cannot_keep_is_refused_before_anything_is_saved(tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        train(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


# --- messages about files: none is called damaged that is not, and the advice works ------------------------------------------


def of_numpy(path):
    """As an older version of the library saved it: whole, but with a number that only a pickle can bring back."""
    content = torch.load(path, weights_only=True)
    content["settings"]["learning_rate"] = np.float64(1e-3)
    torch.save(content, path)


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_device(path):
    path.unlink()
    path.symlink_to(os.devnull)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


CHECKPOINTS = {
    # what was done to it -> what is said, is it called damaged?
    "numbers of NumPy": (of_numpy, "is whole, but not a checkpoint of the course: it holds something else than tensors", False),
    "a folder": (a_folder, "is a folder, not a file: give the path of a file", False),
    "a device": (a_device, "is a device, not a file: give the path of a file", False),
    "truncated": (truncated, "is truncated, altered or not a checkpoint of the course", True),
}


@pytest.mark.parametrize(("spoil", "told", "damaged"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_what_is_said_of_a_checkpoint(tmp_path, monkeypatch, spoil, told, damaged):
    monkeypatch.setattr(devices, "default", lambda: torch.device("cpu"))
    train(tmp_path)
    spoil(path := tmp_path / "a.ckpt")
    for attempt in (checkpoints.open_file, lambda path: train(tmp_path)):
        with pytest.raises(checkpoints.CheckpointError, match=told) as error:
            attempt(path)
        assert ("truncated" in str(error.value)) is damaged
    assert path.exists() and not path.with_name("a.ckpt.lock").exists()
    path.rename(tmp_path / "away")  # "move this one away to train anew"
    assert train(tmp_path).steps == [2]


def test_a_file_that_nobody_may_read_is_not_called_damaged(tmp_path, monkeypatch):
    (path := tmp_path / "a.ckpt").write_bytes(b"sound")

    def forbidden(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", forbidden)
    with pytest.raises(checkpoints.CheckpointError, match=r"a\.ckpt cannot be read .*Permission denied") as error:
        checkpoints.open_file(path)
    assert "truncated" not in str(error.value)


def test_the_advice_to_restore_a_file_works(tmp_path):
    folder = tmp_path / "a clone"
    folder.mkdir()
    (file := folder / "dncnn_s.safetensors").write_text("weights")
    assert project.restoring(file) == "restore it from where it came from, or make it again (git does not have it)"
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    file.unlink()
    advice = re.fullmatch("restore it by `(.*)`", project.restoring(file))[1]
    subprocess.run(advice, shell=True, check=True, cwd="/")
    assert file.read_text() == "weights"
