"""Time that a person gives (``2h30m``) and reads (2 h 30 min), and a stopwatch that stands while the process does."""

from __future__ import annotations

import math
import re
import signal
import threading
import time
from collections.abc import Collection

UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> float:
    """Seconds of a duration as people write it: ``150m``, ``2h30m``, ``1.5h``, ``90s``.

    Raises:
        ValueError: for anything else, such as a number without a unit, or a duration of 0.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([hms])", text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != re.sub(r"\s", "", text):
        raise ValueError(f'"{text}" is no duration: give hours, minutes or seconds with their letter, such as 2h30m, 150m or 90s.')
    found = sum(float(number) * UNITS[unit] for number, unit in parts)
    if not 0 < found < math.inf:
        raise ValueError(f'"{text}" is no time to work in: give more than that, such as 10m.')
    return found


def words(duration: float) -> str:
    """A duration in seconds as people read it: ``40 s``, ``12 min``, ``2 h 30 min``."""
    if duration < 60:
        return f"{duration:.0f} s"
    minutes = round(duration / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def span(durations: Collection[float]) -> str:
    """The shortest and the longest of some durations in seconds, once where they read the same: ``6–9 min``, ``50 min – 1 h 10 min``."""
    first, last = (words(end) for end in (min(durations), max(durations)))
    if first == last:
        return last
    if {first.count(" "), last.count(" ")} == {1} and first.split()[1] == last.split()[1]:  # one unit is enough
        return f"{first.split()[0]}–{last}"
    return f"{first} – {last}"


class Stopwatch:
    """Seconds of a block in which this process ran: those in which SIGSTOP (or Ctrl-Z) held it do not count.

    A process that is held cannot look at a clock. But it is told when it goes on, by SIGCONT, and the time since the last ``tick`` is
    what it missed, up to the time between two ticks. Where there is no such signal, or in another thread than the main one, all time
    counts.

    Example:
        >>> with Stopwatch() as watch:
        ...     for step in range(3):
        ...         watch.tick()
        >>> watch.seconds < 1
        True
    """

    def __init__(self):
        self.missed, self._began, self._ended = 0.0, None, None

    def __enter__(self) -> Stopwatch:
        self._began = self._last = time.perf_counter()
        self._told = hasattr(signal, "SIGCONT") and threading.current_thread() is threading.main_thread()
        if self._told:
            self._before = signal.signal(signal.SIGCONT, self._goes_on)
        return self

    def __exit__(self, *error) -> None:
        self._ended = time.perf_counter()
        if self._told:
            signal.signal(signal.SIGCONT, self._before if self._before is not None else signal.SIG_DFL)

    def _goes_on(self, number, frame) -> None:
        now = time.perf_counter()
        self.missed += now - self._last
        self._last = now
        if callable(self._before):  # another stopwatch around this one
            self._before(number, frame)

    def tick(self) -> None:
        """Say that the process runs: to be called often, at least in every step of a training."""
        self._last = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the block began, or that it took, without those that were missed; 0 before it begins."""
        if self._began is None:
            return 0.0
        return (time.perf_counter() if self._ended is None else self._ended) - self._began - self.missed
