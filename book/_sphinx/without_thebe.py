"""For every page: no Thebe, which would let a reader run cells on a server elsewhere.

Jupyter Book loads its extension even where it is switched off. The extension then writes one constant into each page twice, which
every browser reports as an error.
"""

from __future__ import annotations

from collections.abc import Iterator

EVENT = "env-before-read-docs"


def its_writers(app) -> Iterator[int]:
    """The numbers of the listeners by which Thebe writes its scripts."""
    for listener in app.events.listeners.get(EVENT, ()):
        if (listener.handler.__module__, listener.handler.__name__) == ("sphinx_thebe", "init_thebe_core"):
            yield listener.id


def leave_out(app):
    """Let Thebe write nothing."""
    for number in list(its_writers(app)):
        app.disconnect(number)


def setup(app):
    app.connect("builder-inited", leave_out)
    return {"parallel_read_safe": True}
