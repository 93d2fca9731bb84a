"""A study of survival from end to end."""

import dataclasses

import numpy as np
import pytest

from configs.ablations import survival as study_file
from fusion_jax import data, study
from fusion_jax.results import report, tables
from fusion_jax.results.store import Store
from fusion_jax.run.sweep import run
from tests import tiny
from tests.metrics import made


def test_a_study_from_config_to_table(tmp_path):
    """Three cells of the study: Cox by time, by risk, and with the VAE; then their table."""
    config = study_file.get_config("quick")
    config.training.epochs, config.training.chunk, config.model.dim = 4, 4, 8
    wanted = ("concat_mlp, by time", "concat_mlp, by risk", "biofusionnet, VAE encoder, by time")
    cells = {c.label: c for c in study.expand(config, study_file.sweep)}
    for label, cell in cells.items():  # every row says what its risk sets are ordered by, and says it rightly
        assert label.endswith(f", by {cell.plan.loss.options.get('order', 'time')}")
    store = Store(tmp_path, create=True)
    with tiny.as_users_run():
        assert run([cells[name] for name in wanted], store, "test") == 0
    found = tables.rows(store)
    assert [r.label for r in found] == list(wanted) and {r.task for r in found} == {"survival"}
    for row in found:
        assert {m: v.shape for m, v in row.values.items()} == {"c_index": (2,), "auc": (2,)}
        assert all(((v > 0) & (v < 1)).all() for v in row.values.values())
    text = report.write(store)
    assert "| C-index | AUC |" in text and "FAILED" not in text
    # the stored predictions give the stored metrics
    identity = cells[wanted[0]].identity(data.load("breast_cancer"))
    kept = store.table(identity, "predictions")
    test = kept[(kept.part == "test") & (kept.seed == 0)]
    risk = np.array([p[0] for p in test.prediction])
    rows = made.survival(risk, test.time.to_numpy(), test.event.to_numpy())
    stored = store.table(identity, "metrics").query("part == 'test' and seed == 0 and metric == 'c_index'").value.item()
    assert made.value("c_index", rows) == found[0].values["c_index"][0] == stored


@pytest.mark.parametrize("unit", [1e-7, 1e7])
def test_neither_training_nor_metrics_depend_on_the_unit_of_time(unit):
    """The partial likelihood and the metrics read the order of times only."""
    whole = data.load("breast_cancer")
    target = dataclasses.replace(whole.target, time=np.asarray(whole.target.time, np.float64) * unit)
    other = dataclasses.replace(whole, target=target)
    plan = tiny.cell(
        data__name="breast_cancer", data__options={}, data__scale="column", training__epochs=4, seeds=1
    ).plan
    with tiny.as_users_run():
        a, b = (tiny.trained(plan, d, (0,)).prediction[0, :, 0] for d in (whole, other))
    np.testing.assert_array_equal(a, b)
    for name in ("c_index", "auc"):
        own, others = (made.survival(r, t.time, t.event) for r, t in ((a, whole.target), (b, target)))
        assert made.value(name, own) == made.value(name, others)
