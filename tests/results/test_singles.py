"""The best single modality: of which rows it is made, and what it is called."""

import numpy as np

from fusion_jax.results import tables
from fusion_jax.results.singles import SINGLE, SINGLE_PAPER
from tests.results.predicted import study


def single(name, fusion="mean", **changes):
    return (f"single: {name}", 3, {"data__modalities": (name,), "model__fusion__name": fusion, **changes})


def test_the_best_single_modality_is_of_one_model(tmp_path):
    found = tables.rows(study(tmp_path, [single("m0"), single("m1"), single("m0", "sum"), single("m1", "sum")]))
    assert [r.label for r in found] == [
        "single: m0",
        "single: m1",
        f"{SINGLE}, model.fusion.name=mean",
        "single: m0",
        "single: m1",
        f"{SINGLE}, model.fusion.name=sum",
    ]
    found = tables.rows(study(tmp_path / "other", [single("m0"), single("m1", "sum")]))
    assert not any(SINGLE in r.label for r in found), "two models, one modality each"


def test_under_protocol_paper_the_best_single_modality_was_selected_on_test(tmp_path):
    cells = [single(m, protocol=p) for p in ("paper", "honest") for m in ("m0", "m1")]
    found = {r.label: r for r in tables.rows(study(tmp_path, cells)) if not r.cell}
    assert {label: r.protocol for label, r in found.items()} == {SINGLE_PAPER: "paper", SINGLE: "honest"}
    assert SINGLE_PAPER == "best single modality (selected on test)"


def test_the_best_single_modality_carries_what_its_choice_carries(tmp_path):
    cost = {"single: m1": [[1, 0, "loss"]]}
    store = study(tmp_path, [single("m0", per_seed=("init",)), single("m1", per_seed=("init",))], cost)
    m0, m1, best = tables.rows(store)
    assert best.label == f"{SINGLE} (2 of 3 seeds)" and best.seeds == (0, 2)
    for i, seed in enumerate(best.seeds):
        values = {r.by_seed("accuracy")[seed]: r for r in (m0, m1)}
        chosen = values[best.values["accuracy"][i]]
        np.testing.assert_array_equal(best.influence["auc"][i], chosen.influence["auc"][chosen.seeds.index(seed)])


def test_the_best_single_modality_of_a_tuned_study(tmp_path):
    """What tuning chose differs from modality to modality; the number of trials does not."""
    chosen = {f"m{i}": {"optimizer.learning_rate": 0.01 / (i + 1), "model.rate": i / 5} for i in range(2)}
    cells = [single(m, **{key.replace(".", "__"): v for key, v in own.items()}) for m, own in chosen.items()]
    tuned = {label: dict(chosen=chosen[m], trials=6) for m, (label, *_) in zip(chosen, cells, strict=True)}
    *_, best = found = tables.rows(study(tmp_path / "tuned", cells, tuned=tuned))
    assert len(found) == 3 and best.label == best.name == SINGLE and best.trials == 6 and best.chosen == {}
    assert len(tables.rows(study(tmp_path / "by hand", cells))) == 2, "values that were set make other variants"
    unequal = {label: about | dict(trials=6 + i) for i, (label, about) in enumerate(tuned.items())}
    assert len(tables.rows(study(tmp_path / "unequal", cells, tuned=unequal))) == 2


def test_of_splits_with_few_training_rows_the_best_single_modality_has_the_influence_of_its_choice(tmp_path):
    m0, m1, best = tables.rows(study(tmp_path, [single("m0"), single("m1")]))
    np.testing.assert_array_equal(best.met, m0.met)
    chosen = [next(r for r in (m0, m1) if r.by_seed("accuracy")[s] == best.by_seed("accuracy")[s]) for s in best.seeds]
    each = [r.met_influence["auc"][i] for i, r in enumerate(chosen)]
    np.testing.assert_array_equal(best.met_influence["auc"], np.stack(each))
    assert best.train_rows == m0.train_rows and best.name == SINGLE
