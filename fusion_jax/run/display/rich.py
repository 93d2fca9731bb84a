"""A view that is drawn anew while the study runs: how far it is, what runs now, and above it a line a finished cell."""

from __future__ import annotations

import threading
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fusion_jax.run.display.base import left, named
from fusion_jax.run.display.plain import Plain
from fusion_jax.run.listeners import Listener
from fusion_jax.run.progress import Progress, TuningProgress, tuning_name

NARROW, ROOMY = 72, 100  # columns below which there is no bar, and from which on words are spelt out


class Rich(Listener):
    """Cells done, running and failed, seconds left; of each running cell the epoch and the best validation so far."""

    def __init__(self, console: Console):
        self.console, self.lines, self.lock = console, Plain(console), threading.RLock()
        self.running: dict[str, Progress | TuningProgress] = {}
        self.start = time.monotonic()
        # Two frames a second: on two cores that train, more would be felt.
        self.live = Live(get_renderable=self.view, console=console, refresh_per_second=2, transient=True)

    def begin(self, cells, waiting):
        if not self.lines.waiting:  # else it begins again with more seeds: the seconds and the cells so far count on
            self.start = time.monotonic()
        self.lines.begin(cells, waiting)
        if waiting:
            self.live.start()

    def progress(self, progress):
        with self.lock:
            self.running.pop(tuning_name(progress.cell), None)
            self.running[progress.identity] = progress
        if not self.live.is_started:  # one cell by itself
            self.lines.cells = self.lines.waiting = 1
            self.live.start()

    tuning = progress

    def done(self, outcome, problem=""):
        with self.lock:  # not around printing, which waits for a frame that waits for this lock
            for name in (outcome.job.identity, tuning_name(outcome.job.cell)):
                self.running.pop(name, None)
        self.lines.done(outcome, problem)

    def interrupted(self):
        self.close()
        self.lines.interrupted()

    def end(self):
        self.close()
        self.lines.end()

    def close(self):
        with self.lock:
            self.running.clear()
        self.live.stop()

    def view(self) -> Group:
        """What stands below the lines now."""
        with self.lock:
            running = list(self.running.values())
        return Group(self._whole(running), self._cells(running))

    def _whole(self, running: list[Progress | TuningProgress]) -> Table:
        """One line on the study."""
        lines, elapsed = self.lines, time.monotonic() - self.start
        share = lines.count + sum(p.epoch / p.cell.plan.training.epochs for p in running if isinstance(p, Progress))
        rest = left(elapsed, share if lines.count else 0, lines.waiting)
        words = Text(f"{lines.count}/{lines.waiting} cells")
        words.append(f", {len(running)} running" if running else "")
        words.append(f", {lines.failed} failed" if lines.failed else "", style="red")
        times = f"{clock(elapsed)}, {f'about {clock(rest)} left' if rest is not None else 'time left not known yet'}"
        if self.console.width < NARROW:
            return self._grid([[words], [times]])
        return self._grid([[words, ProgressBar(total=lines.waiting or 1, completed=share), times]], wide=1)

    def _cells(self, running: list[Progress | TuningProgress]) -> Table:
        """A line a running cell."""
        return self._grid([[named(p.cell), *self._stand(p)] for p in running])

    def _grid(self, rows: list[list], wide: int = 0) -> Table:
        """Lines that are cut where the terminal ends; the column `wide` takes what the others leave."""
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        overflow = "crop" if self.console.options.ascii_only else "ellipsis"
        for column in range(len(rows[0]) if rows else 0):
            table.add_column(no_wrap=True, overflow=overflow, ratio=1 if column == wide else None)
        for row in rows:
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
        return table

    def _stand(self, p: Progress | TuningProgress) -> tuple[str, str]:
        """The epoch and the validation of a cell, or its trials and the best of them; shorter where there is little
        room."""
        if isinstance(p, TuningProgress):
            return self._trials(p)
        if p.cell.plan.control.name or not p.epoch:
            return ("fits" if p.cell.plan.control.name else "compiles"), ""
        epochs = f"{p.epoch}/{p.cell.plan.training.epochs}"
        score = f"{p.validation[0]} {p.validation[1]:.3f}" if p.validation else ""
        if self.console.width < NARROW:
            return epochs, score.rpartition(" ")[2]
        if self.console.width < ROOMY:
            return f"epoch {epochs}", score
        seeds = f", {p.training} of {len(p.seeds)} seeds train" if p.training < len(p.seeds) else ""
        return f"epoch {epochs}{seeds}", f"validation {score}" if score else ""

    def _trials(self, p: TuningProgress) -> tuple[str, str]:
        score = f"{p.best[0]} {p.best[1]:.3f}" if p.best else ""
        if self.console.width < NARROW:
            return f"tunes {p.done}/{p.trials}", score.rpartition(" ")[2]
        if self.console.width < ROOMY:
            return f"trial {p.done}/{p.trials}", score
        return f"{p.done} of {p.trials} tuning trials", f"best validation {score}" if score else ""


def clock(seconds: float) -> str:
    """12 s, 3:05 or 2:03:05."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        return f"{whole} s"
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
