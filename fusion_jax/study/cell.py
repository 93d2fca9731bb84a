"""One point of a study without its seed: its full config, its name in tables, and what names it in the store."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from fusion_jax import plan
from fusion_jax.data.base import Dataset
from fusion_jax.study import identity
from fusion_jax.study.tuning import Tuning


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a study without its seed.

    Attributes:
        config: plain nested dict, every default filled in.
        label: the row's name.
        seeds: how many trials are wanted.
        tuning: how values of the config are still to be chosen; None where they stand.
        tuned: how they were chosen, where they were (`run.tuning`); {} else. The config has the chosen values, and the
            cell is the one it would be had they been set by hand.
    """

    config: dict[str, Any]
    label: str
    seeds: int
    tuning: Tuning | None = None
    tuned: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def identity(self, data: Dataset | str) -> str:
        """16 hex digits, see `study.identity`; `data` may be a text that stands for the data set.

        Of a cell that is still to be tuned those of its tuning: it has another identity once values are chosen.
        """
        own = identity.identity(self.config, data)
        return own if self.tuning is None else self.tuning.name(own)

    @functools.cached_property
    def plan(self) -> plan.Plan:
        """The config as the records that the rooms below read."""
        return plan.of(self.config)
