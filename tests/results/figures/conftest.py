"""A study with learning curves."""

import pandas as pd
import pytest

from fusion_jax.results.store import Store
from fusion_jax.study import Cell, resolve
from tests import tiny
from tests.rows import noisy


@pytest.fixture
def stored(tmp_path):
    """A study of two cells with histories; seed 1 stops after four epochs of eight."""
    store, entries = Store(tmp_path, create=True), []
    for i, label in enumerate(("concat_mlp", "gmu")):
        cell = Cell(resolve(tiny.config(model__fusion__name=label)).config, label, 3)
        entries.append((f"{i:016x}", cell))
        lengths = (8, 4, 4)
        history = [
            dict(seed=s, epoch=e, train_loss=10.0 * i + s + e, val_loss=1.0, val_score=float(s))
            for s, n in enumerate(lengths)
            for e in range(n)
        ]
        lines = [(s, "test", "accuracy", v) for s, v in enumerate(noisy(0.7, seeds=3, draw=i))]
        table = pd.DataFrame(lines, columns=["seed", "part", "metric", "value"])
        cost_of = dict(parameters=9, seconds=1.0, seeds=3)
        store.write_part(*entries[-1], (0, 1, 2), dict(metrics=table, history=pd.DataFrame(history)), cost_of)
    store.write_study(entries, "made by hand")
    return store
