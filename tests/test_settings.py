"""Settings that a file has stored are read by a library that has since got new ones."""

from dataclasses import asdict, dataclass

import pytest

from course_lib import settings
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
