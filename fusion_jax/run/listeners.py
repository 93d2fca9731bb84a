"""Who hears of a study while it runs: what shows it in a terminal (`run.display`), what writes it (`run.writers`)."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence

from fusion_jax.run.engines.base import Outcome
from fusion_jax.run.progress import Progress, TuningProgress


class Listener:
    """Hears of a study while it runs. A subclass says what it does then; here that is nothing."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return type(self).__module__.rpartition(".")[2]

    def begin(self, cells: int, waiting: int) -> None:
        """So many cells, of which so many are to be run."""

    def progress(self, progress: Progress) -> None:
        """A cell has begun, or is further; called in whichever thread trains it."""

    def tuning(self, progress: TuningProgress) -> None:
        """A cell begins to be tuned, or a batch of its trials is done; likewise."""

    def done(self, outcome: Outcome, problem: str = "") -> None:
        """A cell is finished or has failed, and why its failure could not be recorded ("" where it was)."""

    def interrupted(self) -> None:
        """Ctrl-C; what runs is not waited for."""

    def end(self) -> None:
        """All cells were run."""

    def close(self) -> None:
        """Nothing more will come, whatever the reason."""


class Listeners(Listener):
    """Several as one, one call at a time.

    One that fails is said to have failed in a warning and hears no more: what shows or copies results stops none.
    """

    def __init__(self, listeners: Sequence[Listener]):
        self.listeners, self.lock = list(listeners), threading.RLock()

    def _all(self, call: str, *args) -> None:
        with self.lock:
            for listener in list(self.listeners):
                try:
                    getattr(listener, call)(*args)
                except Exception as error:
                    self.listeners.remove(listener)
                    warnings.warn(f"{listener.name} is told no more: {type(error).__name__}: {error}", stacklevel=3)

    def begin(self, cells, waiting):
        self._all("begin", cells, waiting)

    def progress(self, progress: Progress | TuningProgress):
        self._all("tuning" if isinstance(progress, TuningProgress) else "progress", progress)

    def done(self, outcome, problem=""):
        self._all("done", outcome, problem)

    def interrupted(self):
        with self.lock:
            self._all("interrupted")
            self.close()

    def end(self):
        self._all("end")

    def close(self):
        """Threads that still train are not heard any more."""
        with self.lock:
            self._all("close")
            self.listeners.clear()
