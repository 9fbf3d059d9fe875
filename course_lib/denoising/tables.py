"""The tables of denoising."""

from __future__ import annotations

from collections.abc import Sequence

from course_lib import plots, results


def comparisons(records: Sequence[dict]):
    """The table "paper / recorded / gap" of recorded runs, in dB: a row for each figure that both have."""
    rows = [
        [record["title"], row.data, row.metric, f"{row.paper:.2f}", f"{row.recorded:.2f}", f"{row.gap:+.2f}",
         "preset laptop" if row.preset == "laptop" else "short run" if record["short"] else "full"]
        for record in records
        for row in results.compare(record)
    ]  # fmt: skip
    return plots.table(["run", "data", "metric", "paper (dB)", "recorded (dB)", "gap (dB)", "budget"], rows)
