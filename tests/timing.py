"""How tests compare speeds: by the fastest of several runs, in processor time of this process, which other programs hardly change."""

import time


def fastest(function, repetitions: int = 15) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(repetitions):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)
