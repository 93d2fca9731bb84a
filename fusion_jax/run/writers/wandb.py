"""Runs for Weights & Biases: --wandb=offline, files in the folder `wandb` of the results; `wandb sync` uploads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from fusion_jax.run.writers.base import Log, Trial, Trials

PROJECT = "fusion_jax"


def wandb(value: str, root: os.PathLike) -> Trials:
    """Writes a run a trial, those of a cell as one group. Nothing is sent anywhere.

    Args:
        value: "offline".
        root: the results folder.
    Raises:
        ImportError: wandb is not installed. ValueError: another value.
    """
    if value != "offline":
        raise ValueError(f"--wandb={value!r}, expected 'offline': files that `wandb sync` uploads when you want it to")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would report its own errors over the network
    try:
        import wandb as client
    except ImportError as error:
        raise ImportError("--wandb needs wandb: pip install 'fusion_jax[wandb]'") from error
    return Trials("wandb", lambda trial: Run(client, os.fspath(root), trial))


class Run(Log):
    """One run."""

    def __init__(self, client: Any, folder: str, trial: Trial):
        quiet = client.Settings(
            silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True, disable_code=True
        )
        self.run = client.init(
            project=PROJECT,
            group=trial.group,
            name=f"{trial.cell.label}, seed {trial.seed}",
            dir=folder,
            config=trial.config,
            mode="offline",
            reinit="create_new",  # cells train side by side, and so do their seeds
            settings=quiet,
        )

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=epoch)

    def final(self, metrics: Mapping[str, float]) -> None:
        self.run.summary.update(dict(metrics))

    def close(self) -> None:
        self.run.finish()
