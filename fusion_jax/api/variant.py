"""One row of a study that is one cell's: its numbers, tables and models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fusion_jax import zoo
from fusion_jax.analysis import Report, analyse
from fusion_jax.data import Dataset
from fusion_jax.model import Model
from fusion_jax.records import Batch, Context, Output
from fusion_jax.results import measured
from fusion_jax.results.restore import Restored, evaluated, restore
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from fusion_jax.study.tuning import untuned


class Variant:
    """A fusion, or a control, at one place on one data set, with all of its seeds.

    Attributes:
        row: its line of the table, `row.values[metric]` a number a seed.
        identity: what its folder is called; "" where nothing was stored.
    """

    def __init__(self, store: Store, row: Row, datasets: Mapping[str, Dataset]):
        self.store, self.row, self.datasets, self.identity = store, row, datasets, row.cell

    @property
    def label(self) -> str:
        return self.row.name

    @property
    def placement(self) -> str:
        return self.row.placement

    @property
    def data(self) -> str:
        return self.row.data

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The full config, every default filled in."""
        return self.store.config(self.identity)

    @property
    def is_control(self) -> bool:
        return bool(self.config["control"]["name"])

    @property
    def names(self) -> tuple[str, ...]:
        """What it can be asked for by: its label, with or without what that says of seeds and of tuning."""
        return tuple(dict.fromkeys((self.row.label, self.row.name, untuned(self.row.name))))

    @property
    def predictions(self) -> pd.DataFrame:
        """seed, row, part, target columns, prediction (a list of C numbers: logits of classes)."""
        return self.store.table(self.identity, "predictions")

    @property
    def history(self) -> pd.DataFrame:
        """seed, epoch, train_loss, val_loss, val_score."""
        return self.store.table(self.identity, "history")

    @property
    def metrics(self) -> pd.DataFrame:
        """seed, part, metric, value."""
        return self.store.table(self.identity, "metrics")

    def validation_score(self) -> tuple[float, ...]:
        """Mean over the seeds; larger is better."""
        found = measured.validation(self.store, self.identity, self.row.seeds)
        return tuple(map(float, np.mean(list(found.values()), axis=0)))

    @functools.cached_property
    def restored(self) -> Restored:
        """Plan, data, batches and models of all seeds.

        Raises:
            ValueError: a control, which has no model; or data that are not there any more.
        """
        return restore(self.store, self.identity, data=self.datasets.get(self.config["data"]["name"]))

    def model(self, seed: int | None = None) -> SeedModel:
        """The trained model of a seed; of the one with the best validation score if None."""
        cell = self.restored
        place = cell.place(seed)
        return SeedModel(cell.models[place], cell.batch(place), cell.context(place), cell.seeds[place], cell)

    def analyse(self, name: str, seed: int | None = None, **options: Any) -> Report:
        """What an analysis of a cell finds here; its sentence, tables and figures, also written into the row's folder.

        Args:
            name: such as "gcav", or the path of a file of your own.
            seed: whose model is looked at; the one with the best validation score if None.
            options: of the analysis.
        Raises:
            ValueError: unknown analysis or option, one of a whole study, a control, or what the analysis refuses.
        """
        return analyse(self.store, name, options, cell=self.restored, seed=seed)[0]

    def __repr__(self) -> str:
        values = self.row.values.get(self.row.primary)
        said = self.row.error if values is None else f"{self.row.primary} {np.mean(values):.3f}, {len(values)} seeds"
        return f"{self.label}, {self.placement}, {zoo.short(self.data)}: {said}"


@dataclasses.dataclass(frozen=True)
class SeedModel:
    """The trained model of one seed, called in evaluation: `model()` or `model(batch)` -> Output.

    It is also a pair: `model, batch = study.cell("gmu").model(0)`.

    Attributes:
        model: the module, with its parameters.
        batch: all nodes under the seed's scaler.
        context: what it knows in evaluation.
        seed: the number of the seed.
        cell: the restored cell it belongs to: `cell.data`, `cell.prepared.splits`, ...
    """

    model: Model
    batch: Batch
    context: Context
    seed: int
    cell: Restored

    def __call__(self, batch: Batch | None = None) -> Output:
        """What the model says of every node: prediction, attention, embeddings, hidden state, ..."""
        return evaluated(self.model, self.batch if batch is None else batch, self.context)

    @property
    def split(self):
        """Training, validation and test rows of the seed."""
        return self.cell.prepared.splits[self.cell.seeds.index(self.seed)]

    def prediction(self) -> np.ndarray:
        """[N, C], logits of classes, or values in the target's own units."""
        return self.cell.prediction(self.cell.seeds.index(self.seed))

    def __iter__(self) -> Iterator[Any]:
        return iter((self, self.batch))
