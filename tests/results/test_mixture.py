"""A report says where the rows of one table come from different revisions, widths or contents of the data."""

import dataclasses

import pytest

from fusion_jax.results import mixture, report, tables
from fusion_jax.results import store as stores
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from tests import tiny


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two rows of one width, a control and a wider one of a later revision, on changed data."""
    store, data = Store(tmp_path_factory.mktemp("mixed"), create=True), tiny.dataset()
    first = [tiny.cell(seeds=1, training__epochs=2), tiny.cell(seeds=1, control__name="rbf_svm")]
    wide = tiny.cell(seeds=1, training__epochs=2, model__dim=12)
    changed = dataclasses.replace(data, class_names=("a", "b"))
    with pytest.MonkeyPatch.context() as patch, tiny.as_users_run():
        patch.setattr(stores, "environment", lambda: dict(git_revision="a" * 40, git_dirty=False))
        found = [(run_cell(cell, store, data)["identity"], cell) for cell in first]
        patch.setattr(stores, "environment", lambda: dict(git_revision="b" * 40, git_dirty=True))
        found.append((run_cell(wide, store, changed)["identity"], wide))
    store.write_study(found, "test")
    return store


def test_each_difference_is_a_sentence(trained):
    assert mixture.notes(trained, tables.rows(trained)) == [
        "Rows were trained at 2 revisions of the code: aaaaaaaaaa (2 rows), bbbbbbbbbb with changed files (1 rows).",
        "Models differ in their width D: 8 (1 rows), 12 (1 rows).",
        "Rows were trained on 2 data sets of this name, with other contents each.",
    ]
    assert "Models differ in their width D" in report.write(trained)


def test_rows_alike_say_nothing(trained):
    assert mixture.notes(trained, tables.rows(trained)[:2]) == []


def test_outside_a_checkout_the_version_counts():
    assert mixture.revision(dict(git_revision=None, versions={"fusion_jax": "0.2.0"})) == "version 0.2.0"
    assert mixture.revision({}) == "version unknown"
