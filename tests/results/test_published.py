"""Rows that others have published: checked, kept in the study, shown beside ours and never compared."""

import types

import numpy as np
import pandas as pd
import pytest

from configs import base
from fusion_jax import study
from fusion_jax.results import report, tables
from fusion_jax.results.store import Store
from tests import tiny

VALUES = dict(accuracy=(0.99, 0.01), auc=(1.0, 0.0))
ROW = dict(label="A_B", source="Someone, 2021, Table 2", data="digits", values=VALUES)


def table(values):
    rows = [(s, "test", metric, v + s / 100) for metric, v in values.items() for s in range(2)]
    return pd.DataFrame(rows, columns=["seed", "part", "metric", "value"])


@pytest.fixture
def store(tmp_path):
    """Two protocols of one cell, 0.5 and 0.4 accurate, and a published row that beats both."""
    found = Store(tmp_path, create=True)
    cells = []
    for protocol, accuracy in (("paper", 0.5), ("honest", 0.4)):
        config = base.get_config()
        config.protocol, config.seeds = protocol, 2
        cell = study.resolve(config)
        cells.append((cell.identity(""), cell))
        metrics = {"metrics": table(dict(accuracy=accuracy, auc=accuracy))}
        found.write_part(cells[-1][0], cell, (0, 1), metrics, dict(seconds=1.0, seeds=2, parameters=3))
    other = dict(ROW, label="C", source="Another, 2022", values=dict(accuracy=(0.99, None)))
    found.write_study(cells, "here", study.published(types.SimpleNamespace(PUBLISHED=(ROW, other))))
    return found


def test_a_row_is_shown_with_its_citation_and_is_never_the_best(store):
    text = report.write(store)
    lines = text.splitlines()
    assert "| A_B [published, 1] | - | 0.990 ± 0.010 | 1.000 ± 0.000 | - | - | - |" in lines
    assert "| C [published, 2] | - | 0.990 | - | - | - | - |" in lines
    assert "Published rows are copied, not run: 1: Someone, 2021, Table 2; 2: Another, 2022." in lines
    assert lines[2] == "| variant | placement | digits [paper] | digits [honest] |"
    assert "### digits; protocol honest and paper; setting default" in lines
    assert text.count("**0.505 ± 0.007**") == 3 and text.count("**0.405 ± 0.007**") == 3  # the best of each protocol
    tex = (store.root / "report" / "table.tex").read_text()
    assert r"A\_B [published, 1] & -- & 0.990 $\pm$ 0.010" in tex and "Published: 1: Someone, 2021, Table 2" in tex
    csv = pd.read_csv(store.root / "report" / "table.csv").set_index("variant")
    assert csv.loc["A_B", "protocol"] == "published" and csv.loc["A_B", "source"] == ROW["source"]
    assert np.isnan(csv.loc["C", "accuracy_sd"]) and csv.loc["C", "accuracy_mean"] == 0.99
    assert csv.loc["A_B", "accuracy_sd"] == 0.01 and np.isnan(csv.loc["A_B", "accuracy_low"])


def test_a_study_without_published_rows_has_none(store):
    written = store.read_study()
    cells = [(c["id"], study.Cell(c["config"], c["label"], c["seeds"])) for c in written["cells"]]
    store.write_study(cells, "here")
    assert not any(row.published for row in tables.rows(store))
    assert "ublished" not in report.write(store)


def test_rows_are_checked():
    def check(**changed):
        return study.published(types.SimpleNamespace(PUBLISHED=({**ROW, **changed},)))

    assert check() == [ROW] and study.published(types.SimpleNamespace()) == []
    with pytest.raises(ValueError, match=r"accurracy.*did you mean 'accuracy'"):
        check(values=dict(accurracy=(0.5, 0.1)))
    with pytest.raises(ValueError, match="expected metric: "):
        check(values=dict(accuracy=(0.5,)))
    with pytest.raises(ValueError, match="has the fields"):
        check(year=2021)


def test_a_known_figure_is_shown_beside_what_is_run_and_is_no_protocol_of_its_own(store):
    written = store.read_study()
    entry = next(c for c in written["cells"] if c["config"]["protocol"] == "honest")
    cells = [(entry["id"], study.Cell(entry["config"], entry["label"], entry["seeds"]))]
    known = dict(label="optimum", source="arithmetic", data="digits", values=dict(accuracy=0.75))
    module = types.SimpleNamespace(PUBLISHED=(ROW,), KNOWN=(known,))
    store.write_study(cells, "here", study.published(module))
    text = report.write(store)
    assert "| optimum [known, 2] | - | 0.750 | - | - | - | - |" in text.splitlines()
    assert "not run: 1: Someone, 2021, Table 2. Known rows are calculated, not run: 2: arithmetic." in text
    assert "| concat_mlp | before | **0.405 ± 0.007** |" in text  # one protocol is run: rows need not name it
    assert "Table 2. Calculated: 2: arithmetic.}" in (store.root / "report" / "table.tex").read_text()
    with pytest.raises(ValueError, match=r"KNOWN, optimum: accuracy=\(0\.75, 0\.1\); expected metric: number"):
        study.published(types.SimpleNamespace(KNOWN=({**known, "values": dict(accuracy=(0.75, 0.1))},)))


def test_a_known_figure_of_one_variant_stands_beside_it_alone_and_not_in_a_study_of_another(tmp_path):
    variants = [dict(nodes=60), dict(nodes=80)]
    rows = tuple(
        dict(
            label=f"optimum {v}", source="arithmetic", data=f"synthetic (nodes={v['nodes']})", values=dict(accuracy=0.7)
        )
        for v in variants
    )
    for kept in (variants, variants[1:]):
        found = Store(tmp_path / str(len(kept)), create=True)
        cells = [tiny.cell(data__name="synthetic", data__options=v) for v in kept]
        found.write_study(
            [(f"{i:016x}", cell) for i, cell in enumerate(cells)],
            "here",
            study.published(types.SimpleNamespace(KNOWN=rows)),
        )
        groups = tables.grouped(tables.rows(found))
        assert len(groups) == len(kept)
        told = [[row.label for row in group if row.published] for group in groups.values()]
        assert told == [[f"optimum {v}"] for v in kept]


def test_an_encoder_that_reads_edges_is_not_without_graph(tmp_path):
    changes = {}, dict(model__layers=0), dict(model__layers=0, model__encoder__name="gcn")
    store = Store(tmp_path, create=True)
    store.write_study([(f"{i:016x}", tiny.cell(**c)) for i, c in enumerate(changes)], "test")
    assert [row.placement for row in tables.rows(store)] == ["before", "before (no graph)", "before"]
