"""What surrounds a program: output that may fail, and signals that ask it to end.

What is printed is never worth more than what was computed: a closed pipe, a full disk or a terminal that is gone ends no work.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a program to end, by Ctrl-C, at the end of a job's time, and by a closed terminal or connection."""


FAILING = (OSError, ValueError, AttributeError)
"""What writing to a stream may end in; ``ValueError`` where it is closed, ``AttributeError`` where it is no file."""


class Stopped(KeyboardInterrupt):
    """The program was asked to end by a signal, whose ``number`` it keeps."""

    def __init__(self, number: int):
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.number = number


class Careful:
    """A text stream around another one, or none, to which writing never fails: what cannot be written is left out; ``lost`` says why.

    Characters that the stream does not have, such as σ in a file of code page 1252, are written as others.
    """

    def __init__(self, stream):
        self.stream, self.lost = stream, None

    def write(self, text: str) -> int:
        """Write ``text``, or as much of it as can be written; returns its length."""
        if self.stream is not None and self.lost is None:
            try:
                self.stream.write(text)
            except UnicodeEncodeError as error:
                self.stream.write(text.replace("σ", "sigma").encode(error.encoding, "replace").decode(error.encoding))
            except FAILING as error:
                self.lost = error
        return len(text)

    def flush(self) -> None:
        """Hand on what waits in the stream."""
        if self.stream is not None and self.lost is None:
            try:
                self.stream.flush()
            except FAILING as error:
                self.lost = error

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


@contextmanager
def careful_output() -> Iterator[Careful]:
    """Make standard output and standard error streams to which writing never fails; yields the first."""
    before = sys.stdout, sys.stderr
    careful = [Careful(stream) for stream in before]
    sys.stdout, sys.stderr = careful
    try:
        yield careful[0]
    finally:
        sys.stdout, sys.stderr = before
        for stream in careful:
            stream.flush()
            if stream.lost:
                _lead_nowhere(stream)


def _lead_nowhere(stream) -> None:
    """Lead what still waits in a stream nowhere, or Python would fail once more when it ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except FAILING:
        pass  # not a file of the operating system


class Interruption:
    """What :func:`interruption` yields: has somebody asked to stop, and by which signal?"""

    def __init__(self):
        self.number, self._heeded = 0, False

    def is_set(self) -> bool:
        """Has a signal asked to stop?"""
        return bool(self.number)

    def heed(self) -> int:
        """Say that the request is met; returns the number of the signal, 0 where another process was asked."""
        self._heeded = True
        return self.number

    def repeat(self) -> None:
        """Ask once more, by the handler that is set now, where the request came too late to be met."""
        if self.number and not self._heeded:
            signal.raise_signal(self.number)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Yield an :class:`Interruption` that the first signal to end sets; a second Ctrl-C stops at once.

    Signals to end are Ctrl-C (or the notebook's stop button), SIGTERM and SIGHUP; systems send the latter two more than once. A
    program that was told not to care for them, as by ``nohup``, still does not. An error in the middle of an update would leave
    some layers updated and others not.

    Raises:
        Stopped: a ``KeyboardInterrupt``, at the second Ctrl-C.
    """
    asked = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set signal handlers, and only it receives Ctrl-C
        return

    def on_signal(number, frame):
        if asked.is_set() and number == signal.SIGINT:
            raise Stopped(number)
        asked.number = asked.number or number

    before = {number: signal.getsignal(number) for number in STOPPING}
    before = {n: h for n, h in before.items() if h is not None and (n == signal.SIGINT or h is not signal.SIG_IGN)}
    for number in before:
        signal.signal(number, on_signal)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    asked.repeat()


@contextmanager
def stopping() -> Iterator[None]:
    """Within, the first SIGTERM or SIGHUP raises :class:`Stopped`, as Ctrl-C raises ``KeyboardInterrupt``, where nobody else handles it."""

    def on_signal(number, frame):
        for each in chosen:
            signal.signal(each, signal.SIG_IGN)  # another one must not disturb the end
        raise Stopped(number)

    main = threading.current_thread() is threading.main_thread()
    chosen = [number for number in STOPPING if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in chosen:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number in chosen:
            signal.signal(number, signal.SIG_DFL)
