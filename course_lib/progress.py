"""What someone at the keyboard sees of a training, a bar that leaves one finished line behind, and of an evaluation, a bar."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from course_lib.terminal import Careful


def in_notebook() -> bool:
    """Does this code run in a Jupyter kernel?"""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class _NotebookBar(tqdm):
    """tqdm drawing into one display that is updated in place: no widget to lose, and nothing on stderr."""

    def __init__(self, *args, **kwargs):
        from IPython.display import display

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)
        super().__init__(*args, **kwargs)

    def display(self, msg=None, pos=None):
        self._handle.update({"text/plain": str(self) if msg is None else msg}, raw=True)
        return True

    def clear(self, nolock=False):
        pass


def bar(total: int, label: str, unit: str, *, done: int = 0) -> tqdm:
    """A bar that a terminal shows until it is closed, and nothing else does: no line in a file, nothing in a notebook."""
    return tqdm(total=total, initial=done, desc=label, unit=unit, ncols=110, leave=False, disable=None, file=Careful(sys.stderr))


class Progress:
    """Context manager around a tqdm bar: ``show(done, values)`` moves it, its end leaves one line.

    Args:
        total: number of steps.
        start: steps done before, for a resumed run.
        label: what is trained where.
        show: False for no output at all.
    """

    def __init__(self, total: int, start: int, label: str, show: bool):
        self.label, self.done, self.values = label, start, {}
        self.total, self.start, self.visible = total, start, show
        self.bar = None

    def __enter__(self) -> Progress:
        self.began = time.perf_counter()
        if self.visible:
            if in_notebook():
                self.bar = _NotebookBar(total=self.total, initial=self.start, desc=self.label, unit="step", ncols=110)
            else:
                self.bar = bar(self.total, self.label, "step", done=self.start)
        return self

    def show(self, done: int, values: dict[str, float]) -> None:
        """Move the bar to ``done`` steps and put ``values`` behind it."""
        if self.bar is not None:
            self.bar.set_postfix_str(shown(values), refresh=False)
            self.bar.update(done - self.done)
        self.done, self.values = done, values

    def __exit__(self, *error) -> None:
        if self.bar is None:
            return
        seconds = time.perf_counter() - self.began
        pace = f", {(self.done - self.start) / seconds:.1f} steps/s" if self.done > self.start else ""
        line = f"{self.label}: {self.done} of {self.total} steps in {seconds:.1f} s{pace}"
        line += f", {shown(self.values)}" if self.values else ""
        if isinstance(self.bar, _NotebookBar):
            self.bar.display(line)
            self.bar.disable = True  # closing would draw the bar once more
        self.bar.close()
        if not isinstance(self.bar, _NotebookBar):
            print(line, file=Careful(sys.stdout), flush=True)


def shown(values: dict[str, float]) -> str:
    """``loss 0.0123, psnr 28.7``"""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
