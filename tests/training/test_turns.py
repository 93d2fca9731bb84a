"""Seeds in turn: rows and back, as many at a time as there are cores, and a failure that is told."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.training import turns
from fusion_jax.training.flat import stacked


def tree(seeds):
    return {"x": jnp.arange(6.0).reshape(seeds, -1), "keys": jax.random.split(jax.random.key(0), seeds)}


def test_rows_are_those_of_every_seed():
    held = tree(3)
    found = turns.rows(held)
    assert len(found) == 3 and found[1]["x"].tolist() == [2.0, 3.0]
    np.testing.assert_array_equal(jax.random.key_data(found[2]["keys"]), jax.random.key_data(held["keys"][2]))
    np.testing.assert_array_equal(stacked([row["x"] for row in found]), held["x"])


def test_a_row_may_be_given_away():
    held = tree(3)
    give = jax.jit(lambda x: x + 1, donate_argnums=0)
    assert [give(row["x"]).tolist() for row in turns.rows(held)] == [[1, 2], [3, 4], [5, 6]]
    np.testing.assert_array_equal(held["x"], jnp.arange(6.0).reshape(3, 2))


def counting(seeds, together):
    """The most programs that ran at a time, of so many seeds, and what came of them."""
    lock, running, most, meet = threading.Lock(), [], [], threading.Event()

    def program(i):
        with lock:
            running.append(i)
            most.append(len(running))
            if len(running) > 1:
                meet.set()
        meet.wait(0.2)  # so long does one wait for another to come
        with lock:
            running.remove(i)
        return {"i": np.int32(i)}

    found = turns.in_turn(program, [(i,) for i in range(seeds)], together)
    assert found["i"].tolist() == list(range(seeds)), "in their order"
    return max(most)


def test_as_many_at_a_time_as_there_are_cores():
    assert counting(5, True) == min(turns.CORES, 5)
    assert counting(3, False) == 1


def test_a_failure_of_one_is_told():
    def program(i):
        if i == 1:
            raise ValueError("the second")
        return np.int32(i)

    with pytest.raises(ValueError, match="the second"):
        turns.in_turn(program, [(i,) for i in range(4)])
