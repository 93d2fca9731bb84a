"""One point of a study without its seed: its full config, its name in tables, and what names it in the store."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from fusion_jax import plan
from fusion_jax.data.base import Dataset
from fusion_jax.study import identity


@dataclasses.dataclass(frozen=True)
class Cell:
    """One point of a study without its seed.

    Attributes:
        config: plain nested dict, every default filled in.
        label: the row's name.
        seeds: how many trials are wanted.
    """

    config: dict[str, Any]
    label: str
    seeds: int

    def identity(self, data: Dataset | str) -> str:
        """16 hex digits, see `study.identity`; `data` may be a text that stands for the data set."""
        return identity.identity(self.config, data)

    @functools.cached_property
    def plan(self) -> plan.Plan:
        """The config as the records that the rooms below read."""
        return plan.of(self.config)
