"""One picture that explains why a study's winner won.

A headline with the winner over five panels (`report/panels.py`). Matplotlib is imported when a chart is drawn, and
never opens a window.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.report import panels
from tuner.report.panels import GRID, INK, LOOKS, SOFT, WIN
from tuner.report.trials import params_text, samples_seen, searched, state_word, trials_table
from tuner.store.files import write_bytes
from tuner.store.records import StudyRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["study_chart", "trials_table"]

STYLE: dict[str, Any] = {
    "font.size": 11,
    "axes.edgecolor": "#b5bcc4",
    "axes.labelcolor": INK,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 10,
}


def study_chart(record: StudyRecord, path: Path) -> None:
    """Draw a study, finished or not, as a PNG of 1600 x 1000 pixels. Raises StoreError when it cannot be written."""
    with picture(path, 16, 10) as figure:
        top = figure.add_gridspec(1, 2, left=0.055, right=0.975, top=0.835, bottom=0.525, wspace=0.14)
        low = figure.add_gridspec(1, 3, left=0.055, right=0.975, top=0.395, bottom=0.09, wspace=0.32)
        _headline(figure, record)
        panels.search_panel(figure.add_subplot(top[0]), record)
        panels.curves_panel(figure.add_subplot(top[1]), record)
        panels.plane_panel(figure.add_subplot(low[0]), record)
        panels.importance_panel(figure.add_subplot(low[1]), record)
        panels.rerun_panel(figure.add_subplot(low[2]), record)


@contextlib.contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A page in the project's style to draw on, in hundreds of pixels, saved as a PNG when the context ends. Raises
    StoreError when it cannot be written."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn with boxes: no reason to bother a user.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
    write_bytes(path, buffer.getvalue())


def _headline(figure: Figure, record: StudyRecord) -> None:
    winner = record.winner
    numbers = {trial.trial_id: trial.number for trial in record.trials}
    if winner is None:
        figure.text(0.055, 0.949, f"{record.name}: no winner yet", fontsize=21, weight="bold")
    else:
        spread = f" ({winner.interval[0]:.3f} to {winner.interval[1]:.3f})" if winner.interval else ""
        mean = f"mean score {winner.score:.3f}" if math.isfinite(winner.score) else "mean score that is not known"
        seeds = f"{mean}{spread} over {winner.seeds} seed{'s' if winner.seeds != 1 else ''}"
        number = numbers.get(winner.trial_id, "?")
        figure.text(0.055, 0.949, f"Trial {number} won with a {seeds}", fontsize=21, weight="bold")
        figure.text(0.055, 0.92, params_text(winner.params, searched(record)), fontsize=13, color=WIN, weight="bold")
    counts = {state: sum(trial.state == state for trial in record.trials) for state in LOOKS}
    states = ", ".join(f"{count} {state_word(state)}" for state, count in counts.items() if count)
    rows = sum(samples_seen(trial) for trial in record.trials)
    facts = [f"study {record.name}", f"{record.task} on {record.base_model}"]
    facts += [f"{len(record.trials)} trials: {states}"] * bool(states)
    facts += [f"{rows:,} training rows seen in the search"] * bool(rows)
    figure.text(0.055, 0.892, "   |   ".join(facts), fontsize=11, color=SOFT)
