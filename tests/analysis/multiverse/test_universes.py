"""Which rows stand in one universe, and what its choices are called."""

import numpy as np
import pytest

from fusion_jax.analysis.multiverse.universes import placed_rows, universes_of
from fusion_jax.results import tables
from fusion_jax.results.row import Row
from fusion_jax.results.store import Store
from tests.cells import tiny_cell


@pytest.fixture
def placed(monkeypatch, tmp_path):
    """Lists cells, which have scores without having been trained."""

    def place(*changes, values=(0.5, 0.6), **about):
        cells = [tiny_cell(**change) for change in changes]
        names = [cell.identity(str(i)) for i, cell in enumerate(cells)]
        store = Store(tmp_path, create=True)
        store.write_study(list(zip(names, cells, strict=True)), "test")
        rows = [
            Row(
                f"{cell.plan.model.fusion.name}, row {i}",
                "before",
                "d",
                "honest",
                "t",
                {"accuracy": np.array(values)},
                1,
                1.0,
                cell=name,
                fusion=cell.plan.model.fusion.name,
                **about,
            )
            for i, (name, cell) in enumerate(zip(names, cells, strict=True))
        ]
        monkeypatch.setattr(tables, "rows", lambda store: rows)
        return placed_rows(store, "")

    return place


def both(**changes):
    return [dict(model__fusion__name=fusion, **changes) for fusion in ("lmf", "mean")]


def test_cells_that_differ_in_the_fusion_and_its_options_alone_stand_in_one_universe(placed):
    lone = dict(model__fusion__name="lmf", model__dim=6)
    options = dict(model__fusion__name="concat_mlp", model__fusion__options=dict(hidden=8), seeds=3)
    rows = placed(*both(), *both(data__scale="column"), lone, options)
    found, halves = universes_of(rows, "lmf", "mean")
    assert [(u.better.fusion, u.than.fusion) for u in found] == [("lmf", "mean")] * 2 and halves == 1
    assert found[1].choices == {"data.scale": "column"} and list(found[0].choices) == ["data.scale"]
    found, _ = universes_of(rows, "concat_mlp", "mean")
    assert [u.better.fusion for u in found] == ["concat_mlp"]


def test_what_tuning_chose_is_no_choice(placed, monkeypatch, tmp_path):
    placed(*both(), dict(model__fusion__name="lmf", optimizer__learning_rate=0.5))
    store = Store(tmp_path)
    entries = store.read_study()["cells"]
    entries[2]["tuned"] = dict(chosen={"optimizer.learning_rate": 0.5})
    entries[1]["tuned"] = dict(chosen={"optimizer.learning_rate": 0.1})
    monkeypatch.setattr(store, "read_study", lambda: dict(cells=entries))
    rows = placed_rows(store, "")
    assert rows[1][1] == rows[2][1] != rows[0][1]


def test_a_layer_is_told_with_its_options_and_with_what_follows_from_it(placed):
    """Two layers where the layer is gcn and only there; sgc has an option that varies, gat's options go without saying,
    as they have one value."""
    sgc = dict(model__layer__name="sgc", model__layers=1)
    rows = placed(
        *both(model__layer__name="gcn", model__layers=2),
        *both(model__layer__name="gat", model__layers=1),
        *both(**sgc, model__layer__options=dict(hops=2)),
        *both(**sgc, model__layer__options=dict(hops=3)),
        *both(**sgc, model__layer__options=dict(hops=3), data__scale="none"),
    )
    found, _ = universes_of(rows, "lmf", "mean")
    assert list(found[0].choices) == ["data.scale", "model.layer"]
    layers = [u.choices["model.layer"] for u in found]
    sgc = ["sgc, hops=2, layers=1", "sgc, hops=3, layers=1", "sgc, hops=3, layers=1"]
    assert layers == ["gcn, layers=2", "gat, layers=1", *sgc]


def test_several_rows_of_a_side_in_one_universe_are_refused(placed):
    twice = dict(model__fusion__name="lmf", model__fusion__options=dict(rank=3))
    rows = placed(*both(), twice)
    with pytest.raises(ValueError, match="better='lmf' stands for several rows of one universe, 'lmf, row 0' and"):
        universes_of(rows, "lmf", "mean")
    found, _ = universes_of(rows, "lmf, row 0", "mean")
    assert len(found) == 1
    with pytest.raises(ValueError, match="are both the row 'lmf, row 0'"):
        universes_of(rows, "lmf", "lmf, row 0")


def test_rows_without_a_score_stand_in_no_universe(placed):
    with pytest.raises(ValueError, match="no finished row of a fusion has a score"):
        placed(*both(), values=(np.nan, np.nan))
