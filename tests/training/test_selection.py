"""The scores that select an epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.records import Output, Target
from fusion_jax.tasks.classes import accuracy_then_loss
from fusion_jax.training.selection import readable
from tests import tiny


def score_of(rows, loss, weight=None):
    prediction = jnp.stack([jnp.ones(rows), jnp.zeros(rows)], 1).astype(jnp.float32)
    target = Target("classes", labels=jnp.zeros(rows, jnp.int32), num_outputs=2)
    weight = jnp.ones(rows) if weight is None else weight
    score = accuracy_then_loss(lambda *_: jnp.float32(loss))
    return jax.jit(lambda p: score(Output(p, None, None, None, None), target, weight, 0))(prediction)


@pytest.mark.parametrize("rows", [1, 100, 1000, 20_000, 1_000_000])
@pytest.mark.parametrize(("low", "high"), [(0.599, 0.6), (1e-9, 2e-9), (1000.0, 1000.1), (-1.0, 0.5)])
def test_of_equally_many_right_rows_the_lower_loss_is_better(rows, low, high):
    assert bool(score_of(rows, low) > score_of(rows, high)) and not bool(score_of(rows, high) > score_of(rows, low))
    assert not bool(score_of(rows, low) > score_of(rows, low))


def test_more_right_rows_are_better_whatever_the_loss_and_no_number_is_never_better():
    fewer = jnp.ones(1000).at[0].set(0)
    assert bool(score_of(1000, 1e9) > score_of(1000, 1e-9, fewer))
    nan = score_of(1000, float("nan"))
    assert not bool(nan > score_of(1000, 5.0, fewer)) and not bool(nan > jnp.array(-jnp.inf, nan.dtype))


def test_training_keeps_the_epoch_of_the_lower_loss_where_one_number_would_tie():
    with tiny.as_users_run():
        trained = tiny.train(
            tiny.dataset(nodes=400),
            (1, 2),
            model__rate=0.0,
            optimizer__learning_rate=1e-6,
            training__epochs=12,
            training__patience=12,
        )
    history = trained.history["val_score"], trained.history["val_loss"]
    for score, loss, best in zip(*history, trained.best_epoch, strict=True):
        assert len(set(np.floor(score))) == 1 and len(set(score)) < len(set(loss)) == 12, "counts are equal, sums tie"
        assert best == np.argmin(loss)


def test_the_history_shows_a_score_as_one_number():
    assert float(readable(score_of(10, 0.25))) == pytest.approx(10.8)
    assert float(readable(jnp.float32(-0.5))) == -0.5
