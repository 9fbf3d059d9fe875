"""Settings as text and over time: what a command line changes, what a checkpoint or record has stored, and which values they take."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import types
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

S = TypeVar("S")


def meant(word: str, known: Iterable[str]) -> str:
    """``" (did you mean depth?)"``, or nothing if no known word is near, in whatever case."""
    words = {one.lower(): one for one in known}
    near = difflib.get_close_matches(word.lower(), words, n=1)
    return f" (did you mean {words[near[0]]}?)" if near else ""


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


def check(settings) -> None:
    """Make every field of a dataclass of settings what its annotation says, in Python's own types, in place.

    Numbers of NumPy and PyTorch become Python's, an integer becomes a float where one is expected, and a float without a fraction
    an integer; lists and arrays become tuples. So everything that a file stores of settings can be read again.

    Raises:
        ValueError: for a value of another type, such as text for a number; the message names the field.
    """
    for name, kind in _hints(type(settings)).items():
        value = getattr(settings, name)
        try:
            object.__setattr__(settings, name, _of_kind(value, kind))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{name} = {_shown(value)}, but {_words(kind)} is expected.") from None


def check_finite(settings) -> None:
    """``ValueError`` for a field that is, or has in it, NaN or an infinite number."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not all(math.isfinite(number) for number in _floats(value)):
            raise ValueError(f"{field.name} = {value}, but it must be finite.")


def integer(name: str, value) -> int:
    """``value`` as a Python integer; ``ValueError`` with its ``name`` for anything else than a whole number."""
    try:
        return _of_kind(value, int)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} = {_shown(value)}, but a whole number is expected.") from None


def plain_entries(entries: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A nested dictionary with numbers of NumPy and PyTorch as Python's, as a file can keep and give back.

    Raises:
        ValueError: for entries that are no numbers, texts, or lists and dictionaries of them.
    """
    found = {}
    for key, value in entries.items():
        value = _scalar(value)
        if isinstance(value, Mapping):
            found[str(key)] = plain_entries(value, f"{name}.{key}")
        elif isinstance(value, list | tuple):
            found[str(key)] = type(value)(plain_entries(dict(enumerate(value)), f"{name}.{key}").values())
        elif value is None or type(value) in (bool, int, float, str):
            found[str(key)] = value
        else:
            raise ValueError(f"{name}.{key} = {_shown(value)}, but a number, a text, or a list or dictionary of them is expected.")
    return found


_hints = cache(get_type_hints)


def _scalar(value):
    """A number, truth value or text of NumPy or PyTorch (or an array of one without axes) as Python's; anything else as it is."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    return str(value) if isinstance(value, str) else value


def _of_kind(value, kind):
    """``value`` as one of the type ``kind``; ``TypeError`` or ``ValueError`` where it is none."""
    value = _scalar(value)
    if get_origin(kind) is tuple:
        if isinstance(value, str) or not hasattr(value, "__iter__") or isinstance(value, Mapping | set):
            raise TypeError
        inner = get_args(kind)
        entries = list(value)
        inner = inner[:1] * len(entries) if inner[-1] is Ellipsis else inner
        return tuple(_of_kind(entry, one) for entry, one in zip(entries, inner, strict=True))
    if get_origin(kind) in (Union, types.UnionType):
        for one in get_args(kind):
            try:
                return _of_kind(value, one)
            except (TypeError, ValueError, OverflowError):
                pass
        raise TypeError
    if get_origin(kind) is Literal:
        kind = type(get_args(kind)[0])  # which of them is allowed is said where the setting is explained
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if kind is int and isinstance(value, numbers.Real) and not isinstance(value, bool) and value == int(value):
        return int(value)
    if kind in (float, int) or isinstance(kind, type) and not isinstance(value, kind):
        raise TypeError
    return value


def _floats(value) -> Iterable[float]:
    if isinstance(value, tuple):
        for entry in value:
            yield from _floats(entry)
    elif isinstance(value, float):
        yield value


def _shown(value) -> str:
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _words(kind) -> str:
    """What a value of the type is, for a person."""
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        kinds = "whole numbers" if inner[0] is int else "numbers" if inner[0] is float else "values"
        if inner[-1] is Ellipsis:
            return f"a tuple of one or more {kinds}"
        return f"a tuple of {len(inner)} {kinds}" + (", a lowest and a highest," if len(inner) == 2 else "")  # those of settings are ranges
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_words, get_args(kind)))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return {int: "a whole number", float: "a number", bool: "True or False", str: "a text", type(None): "None"}.get(kind, str(kind))


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
