"""Event files for TensorBoard: --tensorboard=DIR, a folder a cell and in it one a seed; `tensorboard --logdir=DIR`."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from fusion_jax.folders import expand
from fusion_jax.run.writers.base import Log, Trial, Trials


def tensorboard(value: str, root: os.PathLike) -> Trials:
    """Writes the losses and the validation score of every epoch, then metrics and config (the tab HParams).

    Args:
        value: the folder; made where it is not there.
    Raises:
        ImportError: tensorboardX is not installed.
        ValueError: no folder is named. OSError: it cannot be made.
    """
    del root
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("--tensorboard needs tensorboardX: pip install 'fusion_jax[tensorboard]'") from error
    if not value:
        raise ValueError("--tensorboard='', expected a folder")
    folder = pathlib.Path(expand(value))
    folder.mkdir(parents=True, exist_ok=True)

    def events(trial: Trial) -> Events:
        return Events(SummaryWriter(str(folder / trial.group / f"seed-{trial.seed}")), trial)

    return Trials("tensorboard", events)


class Events(Log):
    """The event file of one trial."""

    def __init__(self, writer: Any, trial: Trial):
        self.writer, self.config = writer, trial.config

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)

    def flush(self) -> None:
        self.writer.flush()

    def final(self, metrics: Mapping[str, float]) -> None:
        from tensorboardX.summary import hparams

        # not `add_hparams`, which makes another run of them, in a folder of its own
        for summary in hparams(self.config, dict(metrics)):
            self.writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            self.writer.add_scalar(name, value)

    def close(self) -> None:
        self.writer.close()
