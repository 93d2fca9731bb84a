"""A cell is read again when its record or what is asked of it changes, and not before."""

import os

import pandas as pd
import pytest

from fusion_jax.results import memo, tables
from fusion_jax.results.row import UNFINISHED
from fusion_jax.results.store import Store
from tests import tiny


def write(store, cell, seed, accuracy):
    table = pd.DataFrame([(seed, "test", "accuracy", accuracy)], columns=["seed", "part", "metric", "value"])
    store.write_part("0" * 16, cell, (seed,), dict(metrics=table), dict(parameters=1, seconds=1.0, seeds=1))


def test_a_cell_is_read_anew_when_its_record_or_the_key_changes(tmp_path):
    store, cell, reads = Store(tmp_path, create=True), tiny.cell(), []

    def read():
        reads.append(len(reads))
        return reads[-1]

    write(store, cell, 0, 0.5)
    assert [memo.once(store, "0" * 16, "a", read) for _ in range(3)] == [0, 0, 0]
    assert memo.once(store, "0" * 16, "b", read) == 1, "asked otherwise"
    write(store, cell, 1, 0.6)
    assert memo.once(store, "0" * 16, "b", read) == 2, "another part"
    store.write_failure("0" * 16, cell, "no", "no")
    assert memo.once(store, "0" * 16, "b", read) == 3
    assert memo.once(Store(tmp_path), "0" * 16, "b", read) == 4, "another store"


@pytest.mark.parametrize("name", ["record.json", "failure.json"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)], ids=["fifo", "folder", "zero"]
)
def test_what_is_no_file_is_said_and_not_waited_for(tmp_path, name, make):
    store, cell = Store(tmp_path, create=True), tiny.cell(seeds=1)
    store.write_study([("0" * 16, cell)], "test")
    write(store, cell, 0, 0.5)
    (store.cell("0" * 16) / name).unlink(missing_ok=True)
    make(store.cell("0" * 16) / name)
    (row,) = tables.rows(store)
    assert f"{name} is no plain file" in row.error


def test_rows_follow_a_study_that_grows(tmp_path):
    store, cell = Store(tmp_path, create=True), tiny.cell(seeds=2)
    store.write_study([("0" * 16, cell)], "test")
    assert tables.rows(store)[0].error == UNFINISHED
    write(store, cell, 0, 0.5)
    assert tables.rows(store)[0].values["accuracy"].tolist() == [0.5]
    write(store, cell, 1, 0.75)
    (row,) = tables.rows(store)
    assert row.values["accuracy"].tolist() == [0.5, 0.75] and tables.rows(store)[0].values is row.values
