"""The script that damages every file of a study: what it reads of a whole one, and what it makes of a file."""

import numpy as np
import pytest

from experiments import stress_damage
from fusion_jax.folders import Damaged
from fusion_jax.results.store import Store
from fusion_jax.run.sweep import run
from tests import tiny


def test_all_that_a_user_reads_is_compared_and_what_is_damaged_is_named(tmp_path):
    store = Store(tmp_path, create=True)
    assert run([tiny.cell(training__snapshots=2)], store, "test") == 0
    found, (cell,) = stress_damage.read(store), store.read_study()["cells"]
    kinds = {name.removeprefix(cell["id"]).split()[0] for name in found}
    assert kinds == {"metrics", "predictions", "history", "predictor", "seed", "epoch"}
    assert all(found.values()) and stress_damage.read(store) == found
    path = tmp_path / "cells" / cell["id"] / "seeds-0000-0001" / "predictions.parquet"
    path.write_bytes(stress_damage.damaged(path.read_bytes(), "flipped", np.random.default_rng(0)))
    with pytest.raises(Damaged, match="predictions.parquet is damaged"):
        stress_damage.read(store)
