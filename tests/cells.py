"""Tiny finished cells, for what works on results: a store, and cells of it trained in seconds."""

from __future__ import annotations

import contextlib
from typing import Any

import jax

from configs.base import get_config
from experiments.train import run_cell
from fusion_jax import data, study
from fusion_jax.results.store import Store


@contextlib.contextmanager
def as_users_run():
    """JAX as outside of tests: 32 bits, standard promotion (optimisers of optax need it)."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


def tiny_cell(seeds: int = 2, **changes: Any) -> study.Cell:
    """Three epochs of width 8 on 120 planted nodes; `changes` are config keys with __ for the dots."""
    config = get_config("data=synthetic")
    with config.data.options.unlocked():
        config.data.options.update(nodes=120, modalities=3, missing=0.2)
    config.seeds, config.model.dim, config.model.layers = seeds, 8, 1
    config.training.epochs = config.training.chunk = 3
    for key, value in changes.items():
        study.set_key(config, key.replace("__", "."), value)
    return study.resolve(config)


def train_cells(folder, cells: list[study.Cell]) -> tuple[Store, list[str]]:
    """A store in `folder` with the cells, finished; and their identities."""
    store, found = Store(folder, create=True), []
    for cell in cells:
        loaded = data.load(cell.config["data"]["name"], **cell.config["data"]["options"])
        found.append(run_cell(cell, store, loaded)["identity"])
    store.write_study(list(zip(found, cells, strict=True)), "test")
    return store, found
