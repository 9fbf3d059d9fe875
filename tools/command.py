"""How a tool ends: what a person can mend is one line, not a traceback, and Ctrl-C is no error."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path

FORESEEN = ("course_lib.", "pages", "pdf")
"""Modules whose own errors say what to do."""


def run(main: Callable[[], int | None]) -> int:
    """The exit code of ``main``: what it returns, 1 for an error that a person can mend, which is told in one line, or 130 for Ctrl-C."""
    try:
        return main() or 0
    except KeyboardInterrupt:
        print(f"{_name()}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        told = foreseen(error)
        if not told:
            raise
        print(f"{_name()}: error: {told}", file=sys.stderr)
        return 1


def foreseen(error: Exception) -> str:
    """What to say of an error that is not one of the program; empty for one that is."""
    if isinstance(error, OSError) and error.strerror:
        full = "disk full" if error.errno == errno.ENOSPC else error.strerror
        return f"{error.filename}: {full}: name another place" if error.filename else full
    return str(error) if type(error).__module__.startswith(FORESEEN) or isinstance(error, ValueError) else ""


def count(text: str) -> int:
    """A number of things on a command line: a whole one, at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}, but a whole number of at least 1 is expected")
    return int(text)


def _name() -> str:
    return Path(sys.argv[0]).name
