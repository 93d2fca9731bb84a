"""Studies of the tiny data set with predictions that are made up."""

from __future__ import annotations

import numpy as np

from fusion_jax.results.recorded import metric_table, prediction_table
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, resolve
from tests import tiny

SAME = {"per_seed": ("init", "dropout")}


def study(tmp_path, cells, cost=None, tuned=None):
    """A store with made-up predictions of the tiny data set, [S, N, C] a cell, as `experiments.train` writes them."""
    store, data, entries = Store(tmp_path, create=True), tiny.dataset(), []
    for i, (label, seeds, changes) in enumerate(cells):
        cell = resolve(tiny.config(**changes))
        ready = tiny.prepared(cell.plan, data, tuple(range(seeds)))
        logits = np.random.default_rng(i).normal(size=(seeds, 60, 2)) + np.eye(2)[data.target.labels]
        lost = [s for s, *_ in (cost or {}).get(label, ())]
        parts = dict(metrics=metric_table(logits, data, ready), predictions=prediction_table(logits, data, ready))
        parts = {name: table[~table.seed.isin(lost)] for name, table in parts.items()}
        entry = (f"{i:016x}", Cell(cell.config, label, seeds, tuned=(tuned or {}).get(label, {})))
        about = dict(parameters=9, seconds=1.0, seeds=seeds, diverged=(cost or {}).get(label, []))
        store.write_part(*entry, tuple(range(seeds)), parts, about)
        entries.append(entry)
    store.write_study(entries, "made by hand")
    return store
