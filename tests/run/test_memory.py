"""Out of memory: seeds go by as many as fit, what has finished is stored, and one that does not fit says so."""

import re

import jax
import numpy as np
import pytest

from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.run.memory import in_parts
from fusion_jax.training import turns
from tests import tiny

SAID = "RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes."


def fits(most, error=None):
    def train(some):
        if len(some) > most:
            raise jax.errors.JaxRuntimeError(error or SAID)
        return sum(some)

    return train


@pytest.mark.parametrize(("most", "sizes"), [(11, [11]), (10, [6, 5]), (5, [3, 3, 3, 2]), (2, [2, 2, 2, 2, 2, 1])])
def test_all_go_by_in_order_as_many_as_fit(most, sizes):
    with pytest.warns(UserWarning) if most < 11 else tiny.as_users_run():
        found = list(in_parts(fits(most), range(11), "cell", "seed"))
    assert [len(some) for some, _ in found] == sizes
    assert [i for some, _ in found for i in some] == list(range(11))
    assert [total for _, total in found] == [sum(some) for some, _ in found]


def test_what_else_goes_wrong_is_raised_as_it_is():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        list(in_parts(fits(1, "INTERNAL: a bug"), range(4), "cell", "seed"))


@pytest.fixture
def memory(monkeypatch):
    """memory(n): a training runs out of memory above n seeds, as on a device that has only so much."""
    real, asked = turns.in_turn, []

    def limited(most):
        def in_turn(program, arguments, together):
            asked.append(len(arguments))
            if len(arguments) > most:
                raise jax.errors.JaxRuntimeError(SAID)
            return real(program, arguments, together)

        monkeypatch.setattr(turns, "in_turn", in_turn)
        return asked

    return limited


def test_a_cell_is_trained_in_halves_each_a_part_of_its_own(memory, tmp_path):
    with tiny.as_users_run():
        data, cell = tiny.dataset(), tiny.cell(seeds=5)
        whole, halves = Store(tmp_path / "whole", create=True), Store(tmp_path / "halves", create=True)
        identity = run_cell(cell, whole, data)["identity"]
        memory(3)
        with pytest.warns(UserWarning, match="5 seeds do not fit into memory together, 3 at a time are tried"):
            assert run_cell(cell, halves, data)["seeds"] == (0, 1, 2, 3, 4)
    assert [seeds for _, seeds in halves.parts(identity)] == [[0, 1, 2], [3, 4]]
    for table in ("metrics", "history"):
        one, other = (store.table(identity, table) for store in (whole, halves))
        assert one.equals(other), table
    one, other = (np.stack(store.table(identity, "predictions").prediction) for store in (whole, halves))
    np.testing.assert_array_equal(one, other)
    assert not [p.name for p in halves.cell(identity).iterdir() if p.name.startswith(".")]


def test_what_has_finished_stays_where_a_seed_does_not_fit(memory, tmp_path, monkeypatch):
    with tiny.as_users_run():
        data, cell, store = tiny.dataset(), tiny.cell(seeds=2), Store(tmp_path, create=True)
        asked = memory(1)
        with pytest.warns(UserWarning, match="2 seeds do not fit"):
            run_cell(cell, store, data, only={0, 1})
        assert asked[0] == 2 and set(asked[1:]) == {1}
        memory(0)
        more = tiny.cell(seeds=3)
        with pytest.raises(MemoryError, match=re.escape(f"{more.label}: one seed by itself does not fit into")):
            run_cell(more, store, data)
    [identity] = [p.name for p in (store.root / "cells").iterdir()]
    assert store.finished_seeds(identity) == (0, 1)
