"""What displays have in common: which of them suits a terminal, and the words for a cell and for what became of it.

A display is a `Listener` named like its file and made with the console it prints to.
"""

from __future__ import annotations

from rich.console import Console

from fusion_jax import zoo
from fusion_jax.data import called
from fusion_jax.results.measured import primary_values
from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.progress import TuningProgress
from fusion_jax.study import Cell


def choices() -> list[str]:
    """What can be asked for."""
    return ["auto", *zoo.names("display")]


def chosen(name: str, console: Console) -> str:
    """The name of the display; of "auto" `line` in a notebook, `rich` on a terminal whose cursor can be moved, else
    `plain`."""
    if name != "auto":
        return name
    if console.is_jupyter:
        return "line"
    return "rich" if console.is_terminal and not console.is_dumb_terminal else "plain"


def placed(cell: Cell) -> str:
    """Where the fusion stands; "-" for a control, which has none."""
    return "-" if cell.plan.control.name else cell.plan.model.placement


def named(cell: Cell) -> str:
    """Label, placement and data set in a line of its own."""
    return f"{cell.label} {placed(cell)} {data_of(cell)}"


def described(cell: Cell) -> str:
    """Label, placement and data set, one below the other in lines of several cells."""
    return f"{cell.label:<34} {placed(cell):<11} {data_of(cell):<10}"


def data_of(cell: Cell) -> str:
    """The data set by the name that the tables give it."""
    part = cell.plan.data
    return called(part.name, part.options)


def became(outcome: Outcome) -> str:
    """Of a finished cell its score on test rows, its seconds if it was trained here, which seeds were lost and what was
    chosen by tuning; else the error."""
    if outcome.result is None:
        return f"FAILED {outcome.error}"
    store, identity = outcome.job.store, outcome.job.identity
    metric, values = primary_values(store, identity)
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    gone = store.diverged(identity)
    lost = f"  ({len(gone)} of {outcome.job.cell.seeds} seeds diverged)" if gone else ""
    chosen = ", ".join(f"{key}={value}" for key, value in outcome.job.cell.tuned.get("chosen", {}).items())
    took = f"{outcome.result['seconds']:5.1f} s" if is_ours(outcome) else "found finished"
    return f"{metric} {values.mean():.3f}{spread}  {took}{lost}  {chosen}".rstrip()


def is_ours(outcome: Outcome) -> bool:
    """Whether the cell was trained here; what another process, or row, had trained meanwhile is found finished."""
    return outcome.result is not None and bool(outcome.result["seeds"])


def summed(trained: int, failed: int, others: int) -> str:
    """How many cells were trained, failed and were found finished."""
    return f"{trained} cells trained, {failed} failed{f', {others} found finished' if others else ''}"


def tried(progress: TuningProgress) -> str:
    """How far a tuning is, and the best validation score so far."""
    best = f", best validation {progress.best[0]} {progress.best[1]:.3f}" if progress.best else ""
    return f"{progress.done} of {progress.trials} tuning trials{best}"


def left(elapsed: float, done: float, waiting: int) -> float | None:
    """Seconds until the last cell is finished, if those to come take as long as those done; None before the first.

    Args:
        elapsed: seconds since the first began.
        done: how many are done, a share of those that run among them.
        waiting: how many there were.
    """
    return elapsed * (waiting - done) / done if done >= 1 else None
