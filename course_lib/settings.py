"""Settings as text and over time: what a command line changes, and what a checkpoint or record has stored."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

S = TypeVar("S")


def meant(word: str, known: Iterable[str]) -> str:
    """``" (did you mean depth?)"``, or nothing if no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def override(settings: S, changes: Mapping[str, str]) -> S:
    """Settings with single fields changed, given as text, as from a command line: ``{"depth": "8", "sigma_255": "0,55"}``.

    Raises:
        ValueError: for an unknown name (with the nearest known one) or a value of the wrong type.
    """
    kinds = get_type_hints(type(settings))
    values = {}
    for name, text in changes.items():
        if name not in kinds:
            known = ", ".join(field.name for field in dataclasses.fields(settings))
            raise ValueError(f'unknown setting "{name}"{meant(name, kinds)}; the settings are {known}.')
        try:
            values[name] = _parsed(text, kinds[name])
        except ValueError:
            raise ValueError(f'{name} = "{text}" is not understood: a value such as {getattr(settings, name)!r} is expected.') from None
    return dataclasses.replace(settings, **values)


def stored(kind: type[S], values: Mapping[str, Any]) -> S:
    """Settings of a class from what a file has of them: fields that are newer than the file get their defaults.

    A new field's default therefore has to mean what was done before there was the field. Lists become tuples again, and a single
    value where a field has since become a tuple is its only entry.

    Raises:
        ValueError: for names that the class does not have, or values that make no sense.
    """
    kinds = get_type_hints(kind)
    unknown = [name for name in values if name not in kinds]
    if unknown:
        raise ValueError(f"there is no setting {', '.join(unknown)} among {', '.join(kinds)}.")
    return kind(**{name: _entry(value, kinds[name]) for name, value in values.items()})


def plain(value):
    """Lists as tuples, however deep, so that settings compare equal after a round trip through a file."""
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def _entry(value, kind):
    value = plain(value)
    return (value,) if get_origin(kind) is tuple and not isinstance(value, tuple) else value


def _parsed(text: str, kind):
    if get_origin(kind) is tuple:
        return tuple(get_args(kind)[0](part) for part in text.split(","))
    if kind is bool or bool in get_args(kind):
        if text.lower() in ("true", "yes", "1", "false", "no", "0"):
            return text.lower() in ("true", "yes", "1")
        raise ValueError(text)
    return kind(text) if kind in (int, float, str) else text
