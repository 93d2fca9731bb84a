"""Tiny finished cells, for what works on results: a store, and cells of it trained in seconds."""

from __future__ import annotations

from typing import Any

from fusion_jax import data, study
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny


def tiny_cell(**changes: Any) -> study.Cell:
    """Three epochs on 120 planted nodes with three modalities; see `tiny.cell`."""
    options = dict(nodes=120, modalities=3, classes=3, dim=9, missing=0.2)
    usual = dict(data__options=options, training__epochs=3, model__fusion__name="concat_mlp")
    return tiny.cell(**{**usual, **changes})


def train_cells(folder, cells: list[study.Cell]) -> tuple[Store, list[str]]:
    """A store in `folder` with the cells, finished; and their identities."""
    store, found = Store(folder, create=True), []
    for cell in cells:
        loaded = data.load(cell.plan.data.name, **cell.plan.data.options)
        found.append(run_cell(cell, store, loaded)["identity"])
    store.write_study(list(zip(found, cells, strict=True)), "test")
    return store, found
